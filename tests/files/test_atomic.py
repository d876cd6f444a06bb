"""Atomic outputs: whole or not there, with the permissions of new files, and nothing left behind."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.files import atomic
from vos_zoo.files.atomic import (
    atomic_file,
    atomic_folder,
    publish,
    remove_temporaries,
    temporary_file,
    write_bytes,
    write_text,
)

PACKAGE = Path(atomic.__file__).resolve().parents[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half" and names(path.parent) == ["a.txt"]


def test_an_error_keeps_the_former_file_and_removes_the_new_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "former")
    with pytest.raises(OSError, match="full"), atomic_file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise OSError("full")
    assert (tmp_path / "a.txt").read_text() == "former" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_permissions_are_those_of_any_new_file_and_folder(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        (tmp_path / "plain.txt").touch()
        (tmp_path / "plain").mkdir()
        write_text(tmp_path / "a.txt", "")
        with atomic_file(tmp_path / "b.txt") as temporary:
            temporary.unlink()  # as a library that creates its file anew, for its owner alone
            temporary.touch(mode=0o600)
        with atomic_folder(tmp_path / "c"):
            pass
    finally:
        os.umask(before)
    modes = {name: (tmp_path / name).stat().st_mode for name in ("plain.txt", "a.txt", "b.txt", "plain", "c")}
    assert modes["a.txt"] == modes["b.txt"] == modes["plain.txt"] and modes["c"] == modes["plain"]


def test_content_is_on_disk_before_the_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append("sync") or sync(handle))
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("rename") or replace(*paths))
    write_bytes(tmp_path / "a", b"\0")
    assert done == ["sync", "rename"]


def test_a_folder_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    for number, replace in enumerate((False, False, True)):
        with atomic_folder(tmp_path / "a", replace=replace) as draft:
            (draft / str(number)).touch()
        assert names(tmp_path) == ["a"]
        assert names(tmp_path / "a") == ["2" if replace else "0"]


def test_a_folder_that_fails_keeps_the_former_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="full"), atomic_folder(tmp_path / "a", replace=True):
        raise OSError("full")
    assert names(tmp_path) == ["a"]


@given(name=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_temporary_names_are_hidden_new_and_short_enough(name: str) -> None:
    made = {atomic._hidden(Path("folder", f"x{name}"), ".tmp") for _ in range(3)}
    assert len(made) == 3 and all(one.startswith(".") and len(one.encode()) < 255 for one in made)


def test_temporaries_of_killed_processes_are_removed_and_those_of_other_files_kept(tmp_path: Path) -> None:
    temporary_file(tmp_path / "last.ckpt")
    other = temporary_file(tmp_path / "best.ckpt")
    remove_temporaries(tmp_path / "last.ckpt")
    assert names(tmp_path) == [other.name]
    publish(other, tmp_path / "best.ckpt")
    assert names(tmp_path) == ["best.ckpt"]


def test_files_are_renamed_in_one_module() -> None:
    ways = re.compile(r"os\.re(?:place|name)\(|mkstemp|mkdtemp|NamedTemporaryFile|umask")
    found = {path.name for path in PACKAGE.rglob("*.py") if ways.search(path.read_text(encoding="utf-8"))}
    assert found == {"atomic.py"}, "use vos_zoo.files.atomic"
