"""What the pages promise in code runs: their snippets, in order, in one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from vos_zoo.video.masks import davis_palette

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the tests run outside the repository: no pages")


def snippets(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_class_of_the_page_on_data_sets_is_evaluated_and_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for code in snippets("adding-a-data-set.md"):
        exec(compile(code.replace("\n\nclass", "\nclass"), "adding-a-data-set.md", "exec"), names)
    out = capsys.readouterr().out
    assert re.search(r"^first +1 +8 ", out, re.MULTILINE) and re.search(r"^all +2 +16 ", out, re.MULTILINE)
    assert "query" in out.splitlines()[-1]


def test_the_snippet_on_masks_copies_the_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vos_zoo.video.masks import read_mask, write_mask

    monkeypatch.chdir(tmp_path)
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_mask("mask.png", labels)
    (code,) = snippets("palette-and-ids.md")
    exec(compile(code, "palette-and-ids.md", "exec"), {})
    assert np.array_equal(read_mask("copy.png"), labels)


def test_the_colours_of_the_page_are_those_we_write() -> None:
    named = {"black": (0, 0, 0), "dark red": (128, 0, 0), "green": (0, 128, 0), "olive": (128, 128, 0)}
    named |= {"blue": (0, 0, 128), "purple": (128, 0, 128), "teal": (0, 128, 128), "grey": (128, 128, 128)}
    text = (DOCS / "palette-and-ids.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| colour \| (.*) \|$", text, re.MULTILINE)
    for identity, colour in enumerate(row.split(" | ")):
        assert tuple(davis_palette()[3 * identity : 3 * identity + 3]) == named[colour]


def test_the_index_names_every_page_and_every_page_is_short() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for page in DOCS.glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, f"docs/README.md does not list {page.name}"
        assert len(page.read_text(encoding="utf-8").splitlines()) < 320, page.name
