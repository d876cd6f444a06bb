"""The page of each method: every citation of it names a heading that exists, and its table names code that exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "vos_zoo"
PAGES = REPOSITORY / "docs" / "methods"
METHODS = sorted(path.name for path in (SOURCE / "methods").iterdir() if (path / "__init__.py").is_file())
METHODS = [name for name in METHODS if not name.startswith("_")]
TEXTS = ("*.py", "*.yaml", "*.md", "*.toml", "*.ipynb", "*.json")
FOLDERS = ("src", "configs", "docs", "model_cards", "benchmarks", "tests", "notebooks")

NAMES = "LWL|JOINT|LLB|GIEL|PCVOS"
NOTES = re.compile(rf"fact[ -]sheet|\b(?:{NAMES})(?:'s)? sheet|\bsheet[,:]? (?:\d|§|sec|eq)", re.IGNORECASE)
CITED = re.compile(r'docs/methods/(\w+)\.md(?:, "([^"]+)"(?: and "([^"]+)")?)?')
LINKED = re.compile(r'\]\((?:methods/)?(\w+)\.md\), "([^"]+)"')

pytestmark = pytest.mark.skipif(not PAGES.is_dir(), reason="the tests run outside the repository: no pages")


def _texts() -> Iterator[tuple[Path, str]]:
    """Every text of the repository but this one, with its lines and comments joined."""
    paths = {path for folder in FOLDERS for kind in TEXTS for path in (REPOSITORY / folder).rglob(kind)}
    paths |= set(REPOSITORY.glob("*.md"))
    for path in sorted(paths - {Path(__file__).resolve()}):
        text = path.read_text(encoding="utf-8")
        yield path.relative_to(REPOSITORY), re.sub(r"\s*\n\s*(?:# ?)?", " ", text)


def _headings(method: str) -> set[str]:
    text = (PAGES / f"{method}.md").read_text(encoding="utf-8")
    return {line.lstrip("# ") for line in text.splitlines() if line.startswith("## ")}


def test_every_method_has_its_page_and_every_page_its_method() -> None:
    pages = sorted(path.stem for path in PAGES.glob("*.md"))
    assert pages == METHODS


def test_no_text_cites_notes_that_a_reader_cannot_open() -> None:
    found = {f"{path}: {match[0]}" for path, text in _texts() for match in NOTES.finditer(text)}
    assert not found, sorted(found)


@pytest.mark.parametrize("text", ["(LWL fact sheet 5.4)", "the sheet, sec. 7", "(sheet 2.5)", "PCVOS's sheet"])
def test_a_citation_of_notes_is_recognised(text: str) -> None:
    assert NOTES.search(text)


def test_every_citation_of_a_page_names_a_heading_of_it() -> None:
    cited = 0
    for path, text in _texts():
        links = LINKED.finditer(text) if path.suffix == ".md" else ()
        for match in [*CITED.finditer(text), *links]:
            method, *headings = match.groups()
            assert method in METHODS, f"{path} cites docs/methods/{method}.md"
            for heading in filter(None, headings):
                assert heading in _headings(method), f'{path} cites "{heading}" of docs/methods/{method}.md'
                cited += 1
    assert cited > 20


@pytest.mark.parametrize("method", METHODS)
def test_the_table_from_paper_to_code_names_what_exists(method: str) -> None:
    text = (PAGES / f"{method}.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^## From the paper to the code\n\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    named = 0
    for row in table.splitlines()[2:]:
        module = ""
        for code in re.findall(r"`([^`]+)`", row.split("|")[2]):
            if code.endswith(".py"):
                module = (SOURCE / code).read_text(encoding="utf-8")
            elif module and re.fullmatch(r"[A-Z_a-z.]+", code) and not code.startswith(("model.", "track.")):
                for name in code.split("."):
                    assert re.search(rf"^ *(?:class |def )?{name}\b", module, re.MULTILINE), f"{row}: no {name}"
                named += 1
    assert named >= 6
