"""Hand-written text files: lists of names in the encodings of common editors and shells."""

from __future__ import annotations

import codecs
import re
from pathlib import Path, PurePosixPath

from vos_zoo.types import UsageError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # starts with the bytes of UTF-16's mark
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FIRST_PICTURE = re.compile(r"\S.*?\.(?:jpe?g|png|bmp|webp|tiff?)(?=\s|$)", re.IGNORECASE)


def read_text(path: str | Path) -> str:
    """A text file in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    Raises:
        UsageError: the file cannot be read, or is in another encoding.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = content.decode(_encoding(content))
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UsageError(f"{path}: is not text in UTF-8 or UTF-16; save it as UTF-8")
    return text


def _encoding(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    if b"\0" not in content:
        return "utf-8"
    even, odd = content[::2].count(0), content[1::2].count(0)  # most characters of names fit in one byte
    return "utf-16-le" if odd > even else "utf-16-be"


def read_list(path: str | Path) -> list[str]:
    """Names of sequences from a list, in order and without repetition.

    A line is a name, which may hold spaces, or, as in the original DAVIS 2016 archive, a path of an image (and one of
    its mask) "/JPEGImages/480p/SEQ/00000.jpg /Annotations/480p/SEQ/00000.png", whose folder is the name.

    Raises:
        UsageError: the file cannot be read, is not text, or holds no name.
    """
    names = dict.fromkeys(_name(line.strip()) for line in read_text(path).splitlines() if line.strip())
    if not names:
        raise UsageError(f"{path}: the list is empty; write one name of a sequence per line")
    return list(names)


def _name(line: str) -> str:
    if "/" not in line:
        return line
    picture = _FIRST_PICTURE.match(line)
    parts = PurePosixPath(picture[0] if picture else line).parts
    return parts[-2] if len(parts) > 1 and parts[-2] != "/" else parts[-1]
