"""COCO's run-length encoding: runs of a mask column by column, the first one of zeros; as numbers and as text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.types import VOSError


def encode(mask: NDArray[Any], order: str = "F") -> list[int]:
    """Lengths of the runs of a mask, ``(H, W)``, zeros first.

    Args:
        mask: non-zero pixels are the object.
        order: "F" column by column (COCO), "C" row by row (CVAT).
    """
    flat = np.asarray(mask, dtype=bool).ravel(order="F" if order == "F" else "C")
    if not flat.size:
        return []
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat[0] else lengths


def decode(counts: list[int], size: tuple[int, int], order: str = "F") -> NDArray[np.bool_]:
    """The mask of runs, bool ``(H, W)``.

    Args:
        counts: lengths of the runs, zeros first.
        size: (height, width).
        order: see `encode`.

    Raises:
        VOSError: a length is negative, or the runs do not fill the picture.
    """
    lengths = np.asarray(counts, dtype=np.int64)
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise VOSError(f"RLE: its runs hold {lengths.sum()} pixels, the picture {size[0]}x{size[1]} (height x width)")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(size, order="F" if order == "F" else "C")


def compress(counts: list[int]) -> str:
    """COCO's text of run lengths: differences to the run before last, in groups of five bits."""
    text = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text.append(chr((bits | 32 if more else bits) + 48))
    return "".join(text)


def decompress(text: str | bytes) -> list[int]:
    """Run lengths of COCO's text.

    Raises:
        VOSError: it ends within a number, or has other characters.
    """
    codes = [code - 48 for code in (text.encode() if isinstance(text, str) else text)]
    counts: list[int] = []
    value = shift = 0
    for code in codes:
        if not 0 <= code < 64:
            raise VOSError(f"RLE: {text[:40]!r} is no compressed run-length text")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise VOSError(f"RLE: {text[:40]!r} ends within a number")
    return counts


def to_coco(mask: NDArray[Any]) -> dict[str, Any]:
    """A mask, ``(H, W)``, as COCO's ``{"size": [H, W], "counts": text}``."""
    return {"size": list(mask.shape), "counts": compress(encode(mask))}


def from_coco(entry: Any) -> NDArray[np.bool_]:
    """The mask of COCO's ``{"size", "counts"}``, compressed or not, bool ``(H, W)``.

    Raises:
        VOSError: it is of another form, or its runs do not fill the picture.
    """
    try:
        height, width = (int(one) for one in entry["size"])
        counts = entry["counts"]
    except (KeyError, TypeError, ValueError) as error:
        raise VOSError(f"RLE: {str(entry)[:60]!r} is not {{'size': [H, W], 'counts': ...}}") from error
    return decode(decompress(counts) if isinstance(counts, str | bytes) else list(counts), (height, width))
