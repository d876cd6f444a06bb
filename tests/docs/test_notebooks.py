"""The notebooks as files: kept with the pictures they draw, without traces of a machine. nbmake runs them anew."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.skipif(not NOTEBOOKS, reason="the tests run outside the repository: no notebooks")


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def test_there_are_four_and_the_suite_runs_them() -> None:
    names = ["01_track_a_video", "02_train_on_your_own_data", "03_inside_a_target_model", "04_compare_methods"]
    assert [path.stem for path in NOTEBOOKS] == names
    options = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert "notebooks" in options["testpaths"] and "--nbmake" in options["addopts"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_has_run_in_order_and_pictures_are_kept(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)  # type: ignore[no-untyped-call]
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    messages = [output.text for output in outputs if output.get("name") == "stderr"]
    assert not any(output.output_type == "error" for output in outputs)
    assert not any(re.search(r"Traceback|Warning|/s\]", text) for text in messages), "no warnings, no progress bars"
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) >= 1
    assert path.stat().st_size < 700_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_no_trace_of_the_machine(path: Path) -> None:
    notebook = read(path)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata.language_info) == {"name"}, "the version of a run is not a fact of the notebook"
    for cell in notebook.cells:
        assert not cell.metadata, "cells carry no metadata (a tag could tell nbmake to skip them)"
        for output in cell.get("outputs", []):
            texts = [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
            shown = "\n".join(map(str, [output.get("text", ""), *texts]))
            assert not re.search(r"/(?:tmp|home|root|work|Users|usr)/", shown), shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_of_code_is_introduced_and_short(path: Path) -> None:
    cells = read(path).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    for cell in cells:
        if cell.cell_type == "code":
            ast.parse(cell.source)
            assert len(cell.source.splitlines()) <= 30 and max(map(len, cell.source.splitlines())) <= 120
    prose = sum(len(cell.source) for cell in cells if cell.cell_type == "markdown")
    assert prose > 900


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_and_files_that_a_notebook_names_exist(path: Path) -> None:
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        assert link.startswith("https://") or (path.parent / link).exists(), link
    for named in re.findall(r"`(docs/[a-z-]+\.md)`", text):
        assert (REPOSITORY / named).is_file(), named
