"""Downloads against a server that is slow, lies, breaks off or says no; nothing here leaves this machine."""

from __future__ import annotations

import hashlib
import socket
import threading
from pathlib import Path

import pytest

from tests.helpers.unruly_server import Site
from vos_zoo.downloads import transfer
from vos_zoo.downloads.fetching import cached_file, fetch, split_url
from vos_zoo.types import UsageError, VOSError

CONTENT = bytes(range(256)) * 3000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _file(site: Site) -> None:
    site.files["/w/model.bin"] = CONTENT


def url(site: Site) -> str:
    return f"{site.address}/w/model.bin"


def leftovers(site: Site) -> list[str]:
    folder = cached_file(url(site), DIGEST).parent
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".part")


def test_a_file_is_downloaded_once_and_found_afterwards(site: Site) -> None:
    path = fetch(url(site), DIGEST)
    assert path.read_bytes() == CONTENT and path.name == "model.bin"
    assert fetch(f"{url(site)}#sha256={DIGEST.upper()}") == path
    assert len(site.asked) == 1 and leftovers(site) == []


def test_a_file_that_was_damaged_on_this_machine_is_downloaded_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(url(site), DIGEST)
    path.write_bytes(CONTENT[:100])
    assert fetch(url(site), DIGEST).read_bytes() == CONTENT and len(site.asked) == 2
    path.write_bytes(b"")
    monkeypatch.setenv("VOS_ZOO_OFFLINE", "1")
    with pytest.raises(UsageError, match="was damaged since its download"):
        fetch(url(site), DIGEST)


@pytest.mark.parametrize("fault", ["cut", "hang"])
def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    site: Site, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "hang":
        monkeypatch.setattr(transfer, "TIMEOUT", 1.0)
    site.faults["/w/model.bin"] = [fault, fault]
    assert fetch(url(site), DIGEST).read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0 for _, asked in site.asked]
    assert len(starts) == 3 and 0 == starts[0] < starts[1] < starts[2]


def test_what_is_kept_serves_the_next_call(site: Site) -> None:
    site.faults["/w/model.bin"] = ["cut", 500, 500, 500]
    with pytest.raises(VOSError, match=r"failed 4 times.*500.*bytes are kept, and the next call continues"):
        fetch(url(site), DIGEST)
    assert leftovers(site) == ["model.bin.part"]
    assert fetch(url(site), DIGEST).read_bytes() == CONTENT
    assert site.asked[-1][1] == f"bytes={len(CONTENT) // 2}-"


def test_a_server_that_cannot_send_parts_is_asked_for_the_whole_again(site: Site) -> None:
    site.ranges = False
    site.faults["/w/model.bin"] = ["cut"]
    assert fetch(url(site), DIGEST).read_bytes() == CONTENT
    assert len(site.asked) == 2


def test_errors_that_may_pass_are_waited_out(site: Site) -> None:
    site.faults["/w/model.bin"] = [503, 500, 429]
    assert fetch(url(site), DIGEST).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_clear_no_is_taken_at_once(site: Site, status: int) -> None:
    site.faults["/w/model.bin"] = [status]
    with pytest.raises(VOSError, match=f"the server says {status}"):
        fetch(url(site), DIGEST)
    assert len(site.asked) == 1


def test_a_file_with_another_digest_is_thrown_away(site: Site) -> None:
    site.files["/w/model.bin"] = CONTENT[:-1] + b"x"
    with pytest.raises(VOSError, match=f"expected {DIGEST}; it was deleted"):
        fetch(url(site), DIGEST)
    assert len(site.asked) == 1 and leftovers(site) == []
    assert not cached_file(url(site), DIGEST).exists()


def test_a_web_page_instead_of_the_file_is_recognised(site: Site) -> None:
    site.faults["/w/model.bin"] = ["page"]
    with pytest.raises(VOSError, match="a web page instead of the file"):
        fetch(url(site), DIGEST)


@pytest.mark.parametrize("rubbish", [b"rubbish", CONTENT + b"more"], ids=["wrong start", "too long"])
def test_a_wrong_beginning_left_by_somebody_is_replaced(site: Site, rubbish: bytes) -> None:
    path = cached_file(url(site), DIGEST)
    path.parent.mkdir(parents=True)
    path.with_name("model.bin.part").write_bytes(rubbish)
    assert fetch(url(site), DIGEST).read_bytes() == CONTENT


def test_a_server_that_is_not_there_is_reported_in_one_line(site: Site) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(VOSError, match="failed 4 times") as caught:
        fetch(f"http://127.0.0.1:{port}/model.bin", DIGEST)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variable", ["VOS_ZOO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_only_what_is_here_is_used(site: Site, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(UsageError, match="downloads are switched off"):
        fetch(url(site), DIGEST)
    assert site.asked == []
    monkeypatch.setenv(variable, "0")
    path = fetch(url(site), DIGEST)
    monkeypatch.setenv(variable, "true")
    assert fetch(url(site), DIGEST) == path


@pytest.mark.parametrize(
    ("source", "digest", "message"),
    [
        ("https://example.org/model.bin", None, "nothing is downloaded without its digest"),
        ("https://example.org/model.bin#md5=1234", None, "nothing is downloaded without its digest"),
        ("https://example.org/model.bin", "1234", "is not a SHA-256"),
        ("file:///etc/passwd", DIGEST, "only http and https"),
        ("ftp://example.org/model.bin", DIGEST, "only http and https"),
        ("https:///model.bin", DIGEST, "only http and https"),
    ],
)
def test_addresses_that_are_not_followed(site: Site, source: str, digest: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fetch(source, digest)


def test_a_full_disk_is_a_failure_before_the_first_byte(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(VOSError, match=f"{len(CONTENT)} bytes are needed, 10 are free"):
        fetch(url(site), DIGEST)


def test_a_place_that_cannot_be_written_is_a_failure_in_one_line(site: Site, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(VOSError, match="cannot be kept in"):
        fetch(url(site), DIGEST)


def test_two_that_want_the_same_file_load_it_once(site: Site) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(url(site), DIGEST))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1 and len(site.asked) == 1


def test_a_digest_in_an_address_is_taken_off_it() -> None:
    assert split_url("https://h/x?y=1#sha256=ab") == ("https://h/x?y=1", "ab")
    assert split_url("https://h/x#other=ab") == ("https://h/x", None)
    assert split_url("https://h/x") == ("https://h/x", None)
