"""Properties of MP4, Matroska and AVI files that the decoding libraries do not report, read from their structure."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_MP4_STARTS = (b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_ZEROS = 128
"""A file with this many zeros at its end is considered incomplete."""
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


class _Box(NamedTuple):
    """A box of an MP4: its kind and the position of it, its content and its declared end."""

    kind: bytes
    place: int
    start: int
    end: int


def is_cut_off(path: str | Path) -> bool:
    """Whether a file is shorter than its structure declares, as after an interrupted download or recording.

    MP4 and MOV, Matroska and WebM, and AVI declare their length, unless they were written as a stream. A file that
    ends with zeros is cut off, too: some programs reserve the space of a download first.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(12)
            file.seek(-min(size, _ZEROS), os.SEEK_END)
            if not any(file.read()):
                return size > 0
            if head[4:8] in _MP4_STARTS:
                boxes = list(_boxes(file, 0, size))
                end = boxes[-1].end if boxes else 0
                return not {b"moov", b"mdat"} <= {box.kind for box in boxes} or end > size or 0 < size - end < 8
            if head.startswith(_EBML):
                return _matroska_end(file) > size
            if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
                return _riff_end(file, size) > size
    except OSError:
        pass
    return False


def _boxes(file: BinaryIO, place: int, end: int) -> Iterator[_Box]:
    """The boxes between two positions, as far as they are valid."""
    while place + 8 <= end:
        file.seek(place)
        head = file.read(16)
        size, kind, start = int.from_bytes(head[:4], "big"), head[4:8], place + 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), place + 16
        elif size == 0:  # up to the end of the file
            size = end - place
        if size < start - place or not kind.isalnum():
            return
        yield _Box(kind, place + 4, start, place + size)
        place += size


def _matroska_end(file: BinaryIO) -> int:
    """Declared end of the segment; 0 if there is none."""
    file.seek(4)
    header = _ebml_size(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    size = _ebml_size(file)
    return 0 if size is None else file.tell() + size


def _ebml_size(file: BinaryIO) -> int | None:
    """A size in EBML's form; None if it is unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    bits = 7 * width
    value = int.from_bytes(first + file.read(width - 1), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _riff_end(file: BinaryIO, size: int) -> int:
    """Declared end of the last RIFF chunk; 0 if one has none."""
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF":
            break
        if length in (0, 0xFFFFFFFF):
            return 0
        place += 8 + length
    return place


def leading_covers(path: str | Path) -> list[int]:
    """Positions of the names of cover images ("covr") in an MP4 that has them before its first track."""
    places: list[int] = []
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(8)[4:] not in _MP4_STARTS:
            return []
        for part in (box for top in _boxes(file, 0, size) if top.kind == b"moov" for box in _boxes(file, *top[2:])):
            if part.kind == b"trak":
                return places
            metas = [box for box in _boxes(file, *part[2:]) if box.kind == b"meta"] if part.kind == b"udta" else []
            lists = [box for meta in metas for box in _boxes(file, meta.start + 4, meta.end) if box.kind == b"ilst"]
            places += [tag.place for tags in lists for tag in _boxes(file, *tags[2:]) if tag.kind == b"covr"]
    return places


class HiddenBoxes(io.BufferedIOBase):
    """A file in which the boxes whose names are at `places` are renamed to "free", so that readers skip them."""

    def __init__(self, path: str | Path, places: list[int]) -> None:
        super().__init__()
        self._file, self._places = io.BufferedReader(io.FileIO(path)), places

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        start = self._file.tell()
        content = bytearray(self._file.read(size))
        for place in self._places:
            for index, letter in enumerate(b"free", place - start):
                if 0 <= index < len(content):
                    content[index] = letter
        return bytes(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to a position."""
        return self._file.seek(offset, whence)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
