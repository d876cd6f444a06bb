"""Files that say which videos a data set has: the lists of DAVIS, and the meta.json of YouTube-VOS, LVOS and MOSEv2."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vos_zoo.files.text import read_list, read_text
from vos_zoo.types import UsageError


def read_davis_list(root: str | Path, split: str, year: int, resolution: str) -> list[str]:
    """Names of the sequences of a DAVIS split, from either form of its lists.

    Args:
        root: the DAVIS folder.
        split: name of the list, such as "val".
        year: 2016 or 2017; ``ImageSets/<year>/<split>.txt`` has one name per line.
        resolution: ``ImageSets/<resolution>/<split>.txt``, the form of the original 2016 archive with one line of image
            and mask per frame, is read if the other is missing.

    Raises:
        UsageError: there is no list, or it is empty.
    """
    lists = Path(root) / "ImageSets"
    for folder in (str(year), resolution):
        path = lists / folder / f"{split}.txt"
        if path.is_file():
            return read_list(path)
    known = sorted(str(path.relative_to(lists)) for path in lists.glob("*/*.txt"))
    there = f"there are {', '.join(known)}" if known else "the folder must hold ImageSets with lists"
    raise UsageError(f"{lists / str(year) / f'{split}.txt'}: there is no such list; {there}")


def read_meta(path: str | Path) -> dict[str, Mapping[str, Any]]:
    """The entry "videos" of a ``meta.json``: video -> what the file says of it, ``{"objects": ...}``.

    Raises:
        UsageError: there is no such file, or it has another form.
    """
    if not Path(path).is_file():
        raise UsageError(f"{path}: there is no such file; it is part of the data set's archive")
    try:
        return {str(name): dict(video) for name, video in json.loads(read_text(path))["videos"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: is not of the form {{'videos': {{VIDEO: {{'objects': ...}}}}}} ({error!r}); restore it from the "
            "data set's archive"
        ) from error
