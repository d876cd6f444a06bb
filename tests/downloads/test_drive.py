"""Google Drive, as its pages are: confirmation, quota, sign-in, folders; played by a server on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.unruly_server import Site
from vos_zoo.downloads import drive
from vos_zoo.downloads.trust import fetch_trusted
from vos_zoo.types import VOSError

CONTENT = bytes(range(256)) * 500
ASKED = "/uc?export=download&id=abc-1_2"
TARGET = "/download?id=abc-1_2&export=download&confirm=t&uuid=05f4"
FORM = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<form id="search" action="/search"><input type="hidden" name="q" value="no"></form>
<form id="download-form" action="{action}" method="get">
<input type="submit" id="uc-download-link" value="Download anyway"/>
<input type="hidden" name="id" value="abc-1_2"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" value="05f4"></form></body></html>"""
QUOTA = """<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>
<p class="uc-error-caption">Sorry, you can't view or download this file at this time.</p>
<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p></body></html>"""
FOLDER = """<html><body><div class="flip-entries">
<div class="flip-entry" id="entry-xyz" tabindex="0"><a href="https://drive.google.com/file/d/xyz/view">
<div class="flip-entry-title">notes &amp; more.txt</div></a></div>
<div class="flip-entry" id="entry-abc-1_2" tabindex="0"><a href="https://drive.google.com/file/d/abc-1_2/view">
<div class="flip-entry-title">model.pth</div></a></div></div></body></html>"""


@pytest.fixture(autouse=True)
def _drive(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive, "SITE", site.address)
    site.pages[ASKED] = FORM.format(action=f"{site.address}/download")
    site.files[TARGET] = CONTENT


def get(site: Site, folder: Path, link: str = "/file/d/abc-1_2/view?usp=sharing") -> bytes:
    return fetch_trusted(f"{site.address}{link}", folder / "model.pth").read_bytes()


def test_the_form_of_the_confirmation_page_is_followed(site: Site, tmp_path: Path) -> None:
    assert get(site, tmp_path) == CONTENT
    assert [path for path, _ in site.asked] == [ASKED, TARGET]


def test_a_small_file_comes_at_once(site: Site, tmp_path: Path) -> None:
    del site.pages[ASKED]
    site.files[ASKED] = CONTENT
    assert get(site, tmp_path, "/uc?export=download&id=abc-1_2") == CONTENT


def test_a_transfer_that_breaks_off_goes_on_behind_the_confirmation_page(site: Site, tmp_path: Path) -> None:
    site.faults[TARGET] = ["cut", 503]
    assert get(site, tmp_path) == CONTENT
    assert site.asked[-1] == (TARGET, f"bytes={len(CONTENT) // 2}-")


@pytest.mark.parametrize("page", [ASKED, TARGET])
def test_an_exceeded_quota_is_said_in_one_line(site: Site, tmp_path: Path, page: str) -> None:
    site.pages[page] = QUOTA
    with pytest.raises(VOSError, match="download quota for this file is exceeded; try again in 24 hours") as caught:
        get(site, tmp_path)
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("model.pth*json"))


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<html><head><title>Google Drive: Sign in</title></head></html>", "asks to sign in: the file is no longer"),
        ("<html><title>Page not\n found</title></html>", "sent the web page 'Page not found' instead of the file"),
        ("<html></html>", "sent the web page 'without a title' instead"),
    ],
)
def test_other_pages_are_named(site: Site, tmp_path: Path, page: str, message: str) -> None:
    site.pages[ASKED] = page
    with pytest.raises(VOSError, match=message):
        get(site, tmp_path)


def test_a_form_that_leads_elsewhere_is_not_followed(site: Site, tmp_path: Path) -> None:
    site.pages[ASKED] = FORM.format(action="https://example.org/download")
    with pytest.raises(VOSError, match=r"form leads to 'example\.org', which is none of its hosts"):
        get(site, tmp_path)


def test_a_file_is_found_in_a_shared_folder_by_its_name(site: Site, tmp_path: Path) -> None:
    site.pages["/embeddedfolderview?id=f-1"] = FOLDER
    assert get(site, tmp_path, "/drive/folders/f-1") == CONTENT
    site.pages["/embeddedfolderview?id=f-1"] = FOLDER.replace("model.pth", "renamed.pth")
    with pytest.raises(VOSError, match=r"has no 'model\.pth' \(it shows notes & more\.txt, renamed\.pth\)"):
        get(site, tmp_path / "other", "/drive/folders/f-1")


def test_a_file_is_found_in_a_folder_of_a_folder(site: Site, tmp_path: Path) -> None:
    site.pages["/embeddedfolderview?id=f-1"] = FOLDER.replace("abc-1_2", "f-2").replace("model.pth", "DAVIS 2017")
    site.pages["/embeddedfolderview?id=f-2"] = FOLDER
    assert get(site, tmp_path, "/drive/folders/f-1#DAVIS%202017/model.pth") == CONTENT
    with pytest.raises(VOSError, match=r"has no 'DAVIS' \(it shows notes & more\.txt, DAVIS 2017\)"):
        get(site, tmp_path / "other", "/drive/folders/f-1#DAVIS/model.pth")
