"""Result masks that authors share, by name: single files, and files of a folder on Google Drive."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import tests.helpers.toy_model as toy
from tests.downloads.test_drive import FOLDER
from tests.helpers.contract_settings import toy_installed
from tests.helpers.unruly_server import Site, serve
from vos_zoo.cli import main
from vos_zoo.downloads import drive
from vos_zoo.hub.result_masks import named_masks, published_masks
from vos_zoo.registry import PublishedFile, load_method

PUBLISHED = {"davis17": {"J&F": 99.0}}


@pytest.fixture
def site(online: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server that plays Google Drive, too; the toy method's masks are on it."""
    with toy_installed(), serve() as site:
        monkeypatch.setattr(drive, "SITE", site.address)
        facts = {"page": "https://example.org/toy", "licence": "MIT", "about": "the authors' masks"}
        one = PublishedFile(
            name="toy-masks", file="masks.zip", url=f"{site.address}/masks.zip", published=PUBLISHED, **facts
        )
        many = PublishedFile(
            name="toy-folder", file="", url=f"{site.address}/drive/folders/f-1", published=PUBLISHED, **facts
        )
        monkeypatch.setattr(toy, "METHOD", replace(toy.METHOD, masks=(one, many)))
        load_method.cache_clear()
        yield site


@pytest.fixture
def words(site: Site, tmp_path: Path) -> list[str]:
    """How to score by a made-up DAVIS 2017, whose true masks the server has."""
    counts = [f"data.synthetic.{split}_videos=1" for split in ("train", "val", "test")]
    videos = [*counts, "data.synthetic.frames=4", "data.synthetic.size=[48, 64]"]
    assert main(["make-data", "synthetic", "--output", str(tmp_path / "davis"), *videos]) == 0
    shutil.make_archive(str(tmp_path / "masks"), "zip", tmp_path / "davis" / "Annotations" / "480p")
    content = (tmp_path / "masks.zip").read_bytes()
    site.files = {"/masks.zip": content, "/uc?export=download&id=abc-1_2": content}
    site.pages["/embeddedfolderview?id=f-1"] = FOLDER.replace("model.pth", "d17.zip")
    return ["--data", "davis17", f"data.root={tmp_path / 'davis'}", "--output", str(tmp_path / "scored")]


@pytest.mark.parametrize("name", ["toy-masks", "toy-folder/d17.zip"])
def test_published_masks_are_scored_by_name_beside_the_published_number(
    name: str, words: list[str], site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", name, *words]) == 0, capsys.readouterr().err
    told = capsys.readouterr()
    assert "published: J&F 99.0 (reported by those who made the masks)" in told.out and "100.0" in told.out
    assert "licence: MIT" in told.err and "the first download is recorded" in told.err
    asked = len(site.asked)
    local = named_masks(name)
    assert local is not None and local.state == "ready" and local.file is not None
    assert local.file.with_name(f"{local.file.name}.lock.json").is_file()
    assert main(["weights", name.partition("/")[0]]) == 0
    assert "davis17: J&F 99.0" in capsys.readouterr().out
    assert len(site.asked) == asked


def test_the_name_of_a_folder_alone_says_what_is_in_it(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "toy-folder", *words]) == 2
    assert (
        "name one of them, as toy-folder/FILE (page: https://example.org/toy); it shows notes & more.txt, d17.zip"
        in (capsys.readouterr().err)
    )
    monkeypatch.setenv("VOS_ZOO_OFFLINE", "1")
    assert main(["score", "toy-folder", *words]) == 2
    assert "name one of them, as toy-folder/FILE" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["toy-folder/../x.zip", "toy-folder//x.zip", "toy-masks/x.zip", "nothing/x.zip"])
def test_other_paths_are_no_names(site: Site, name: str) -> None:
    assert named_masks(name) is None


def test_the_masks_of_three_groups_of_authors_are_listed() -> None:
    names = {each.known.name for each in published_masks()}
    assert {"pcvos-davis17-masks", "stcn-masks", "pytracking-masks"} <= names
