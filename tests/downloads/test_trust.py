"""Files without a published digest: the first download is recorded, and what differs from it is refused."""

from __future__ import annotations

import hashlib
import json
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.helpers.unruly_server import Site
from vos_zoo.downloads.published import check_zip
from vos_zoo.downloads.trust import fetch_trusted, lock_file
from vos_zoo.types import UsageError, VOSError

CONTENT = bytes(range(256)) * 500


@pytest.fixture(autouse=True)
def _file(site: Site) -> None:
    site.tags = True
    site.files["/w/model.pth"] = CONTENT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "model.pth"


def url(site: Site) -> str:
    return f"{site.address}/w/model.pth"


def kept(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir() if each.suffix != ".lock")


def test_the_first_download_is_recorded_and_not_repeated(site: Site, path: Path) -> None:
    assert fetch_trusted(url(site), path).read_bytes() == CONTENT
    first = json.loads(lock_file(path).read_text())
    assert (first["url"], first["size"]) == (url(site), len(CONTENT))
    assert first["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    fetch_trusted(url(site), path)
    assert len(site.asked) == 1 and kept(path) == ["model.pth", "model.pth.lock.json"]


def test_a_file_that_changed_on_the_server_is_refused(site: Site, path: Path) -> None:
    fetch_trusted(url(site), path).unlink()
    site.files["/w/model.pth"] = CONTENT[:-1] + b"x"
    with pytest.raises(VOSError, match=rf"the file changed: .*the first download \(20.*delete {lock_file(path)}$"):
        fetch_trusted(url(site), path)
    assert kept(path) == ["model.pth.lock.json"]
    lock_file(path).unlink()
    assert fetch_trusted(url(site), path).read_bytes()[-1:] == b"x"


def test_a_file_that_was_damaged_here_is_downloaded_again(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_trusted(url(site), path).write_bytes(CONTENT[:100])
    assert fetch_trusted(url(site), path).read_bytes() == CONTENT
    path.write_bytes(b"")
    monkeypatch.setenv("VOS_ZOO_OFFLINE", "1")
    with pytest.raises(UsageError, match="was damaged since its download, and downloads are switched off"):
        fetch_trusted(url(site), path)


def test_a_file_put_where_downloads_are_kept_has_no_record_and_is_not_believed(site: Site, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else")
    assert fetch_trusted(url(site), path).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["cut", "slow"])
def test_slow_and_broken_transfers_end_with_the_whole_file(site: Site, path: Path, fault: str) -> None:
    site.faults["/w/model.pth"] = [fault]
    assert fetch_trusted(url(site), path).read_bytes() == CONTENT
    assert [asked for _, asked in site.asked[1:]] == ([f"bytes={len(CONTENT) // 2}-"] if fault == "cut" else [])


def test_parts_of_two_versions_are_never_joined(site: Site, path: Path) -> None:
    site.faults["/w/model.pth"] = ["cut", 500, 500, 500]
    with pytest.raises(VOSError, match="next call continues"):
        fetch_trusted(url(site), path)
    changed = bytes(reversed(CONTENT))
    site.files["/w/model.pth"] = changed
    assert fetch_trusted(url(site), path).read_bytes() == changed


def test_a_part_that_is_longer_than_the_file_is_not_taken_for_it(site: Site, path: Path) -> None:
    site.tags = False
    site.faults["/w/model.pth"] = ["cut", 500, 500, 500]
    with pytest.raises(VOSError, match="next call continues"):
        fetch_trusted(url(site), path)
    site.files["/w/model.pth"] = CONTENT[:1000]
    assert fetch_trusted(url(site), path).read_bytes() == CONTENT[:1000]


def test_a_web_page_is_not_recorded(site: Site, path: Path) -> None:
    site.faults["/w/model.pth"] = ["page"]
    with pytest.raises(VOSError, match="sent a web page instead of the file"):
        fetch_trusted(url(site), path)
    assert kept(path) == []


def test_a_file_that_cannot_be_used_is_not_recorded(site: Site, path: Path) -> None:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("masks/00000.png", CONTENT)
    site.files["/w/model.pth"] = stream.getvalue()
    site.faults["/w/model.pth"] = ["short"]
    with pytest.raises(VOSError, match=r"the file is damaged or incomplete .*it was deleted, try again"):
        fetch_trusted(url(site), path, check_zip)
    assert kept(path) == []
    assert fetch_trusted(url(site), path, check_zip).read_bytes() == stream.getvalue()


def test_a_record_that_cannot_be_read_is_named(site: Site, path: Path) -> None:
    fetch_trusted(url(site), path)
    lock_file(path).write_text("{}")
    with pytest.raises(VOSError, match="is not the record of a download; delete it"):
        fetch_trusted(url(site), path)


def test_other_kinds_of_addresses_are_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="only http and https"):
        fetch_trusted("file:///etc/passwd", path)
