"""The documentation site builds without a network and without a warning."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "mkdocs.yml").is_file(), reason="the tests run outside the repository: no pages"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a link to a missing page or heading is a warning, and `strict` makes it an error."""
    mkdocs = pytest.importorskip("mkdocs.commands.build", reason="mkdocs is not installed: pip install -e '.[dev]'")
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(folder), strict=True)
    try:
        mkdocs.build(config)
    finally:
        shutil.rmtree(REPOSITORY / ".cache", ignore_errors=True)
    return folder


def test_the_site_has_the_pages_the_notebooks_and_the_reference(site: Path) -> None:
    for page in (
        "index.html",
        "docs/tutorial.html",
        "docs/methods/lwl.html",
        "docs/api/model.html",
        "model_cards/lwl.html",
    ):
        assert (site / page).is_file(), page
    assert "from_pretrained" in (site / "docs/api/model.html").read_text(encoding="utf-8")
    assert len(list((site / "notebooks").rglob("*.html"))) > 4


def test_the_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"(https?:[^\"]+)|<link[^>]+stylesheet[^>]+href=\"(https?:[^\"]+)"
    )
    for page in site.rglob("*.html"):
        if "notebooks" not in page.parts:
            assert loaded.findall(page.read_text(encoding="utf-8")) == [], page.relative_to(site)
