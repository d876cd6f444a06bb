"""Label Studio's brush masks: a list of tasks, one per frame; a mask is a bit stream of its RGBA pixels, row by row.

The stream has the number of values (32 bits), the word size minus one (5 bits), four run sizes minus one (4 bits each),
and then runs: a bit that says whether one value is repeated, two bits that choose the run size, the length minus one in
so many bits, and the value (once, or as often as the length says). The fourth of each pixel's four values is the mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.types import VOSError
from vos_zoo.video.formats.track_masks import TrackMasks

_WORD = 8
_SIZES = (3, 4, 8, 16)
_CHANNELS = 4


def encode_brush(mask: NDArray[Any]) -> list[int]:
    """A mask, ``(H, W)``, as the bytes of the stream."""
    values = np.repeat(np.where(np.asarray(mask, dtype=bool).ravel(), 255, 0), _CHANNELS)
    bits = [f"{len(values):032b}", f"{_WORD - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for value, members in groupby(values.tolist()):
        length = sum(1 for _ in members)
        while length:
            part = min(length, 1 << _SIZES[-1])
            index = next(number for number, size in enumerate(_SIZES) if part <= 1 << size)
            bits.append(f"1{index:02b}{part - 1:0{_SIZES[index]}b}{value:08b}")
            length -= part
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[start : start + 8], 2) for start in range(0, len(text), 8)]


def decode_brush(content: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of a stream, bool ``(H, W)``; a pixel is set where its fourth value is above zero.

    Raises:
        VOSError: the stream ends too early, or holds another number of values than the picture.
    """
    bits = "".join(f"{one:08b}" for one in content)
    place = 0

    def take(count: int) -> int:
        nonlocal place
        if place + count > len(bits):
            raise VOSError("brush mask: its stream ends too early")
        place += count
        return int(bits[place - count : place], 2)

    total, word = take(32), take(5) + 1
    if total != size[0] * size[1] * _CHANNELS:
        raise VOSError(f"brush mask: holds {total} values, the picture {size[0]}x{size[1]} pixels of four")
    sizes = [take(4) + 1 for _ in range(4)]
    parts: list[NDArray[np.int64]] = []
    found = 0
    while found < total:
        repeated, index = take(1), take(2)
        length = take(sizes[index]) + 1
        values = [take(word)] * length if repeated else [take(word) for _ in range(length)]
        parts.append(np.array(values, dtype=np.int64))
        found += length
    values_of_all = np.concatenate(parts)[:total] if parts else np.zeros(0, dtype=np.int64)
    return np.asarray(values_of_all.reshape(-1, _CHANNELS)[:, 3].reshape(size) > 0)


def to_label_studio(video: TrackMasks) -> list[dict[str, Any]]:
    """The tasks of a video, one per frame; absent objects have no result."""
    tasks = []
    for number, frame in enumerate(video.frames):
        results = [
            _result(video, name, frame, f"{video.name[:4]}{number:04d}{index:02d}")
            for index, name in enumerate(video.objects)
            if frame in video.objects[name]
        ]
        data = {"image": f"{video.name}/{frame}.jpg", "frame": number}
        tasks.append({"data": data, "annotations": [{"result": results}]})
    return tasks


def _result(video: TrackMasks, name: str, frame: str, identity: str) -> dict[str, Any]:
    height, width = video.size
    brush = {"format": "rle", "rle": encode_brush(video.mask(name, frame)), "brushlabels": [f"object_{name}"]}
    return {
        "id": identity,
        "type": "brushlabels",
        "from_name": "tag",
        "to_name": "image",
        "origin": "manual",
        "image_rotation": 0,
        "original_width": width,
        "original_height": height,
        "value": brush,
    }


def from_label_studio(tasks: Any, source: str = "Label Studio JSON") -> list[TrackMasks]:
    """The videos of tasks; the folder and the name of a task's picture are its video and its frame.

    Raises:
        VOSError: it is of another form, a video has no mask at all (its size is then not known), or a mask is broken.
    """
    try:
        frames: dict[str, list[str]] = {}
        masks: dict[str, list[tuple[str, str, NDArray[np.bool_]]]] = {}
        for task in tasks:
            path = PurePosixPath(str(task["data"]["image"]))
            frames.setdefault(path.parent.name, []).append(path.stem)
            for name, mask in _brushes(task):
                masks.setdefault(path.parent.name, []).append((name, path.stem, mask))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise VOSError(f"{source}: is no list of tasks with brush masks ({error!r})") from error
    videos = []
    for video, names in frames.items():
        if video not in masks:
            raise VOSError(f"{source}: video {video} has no mask, so its size is not known; leave it out")
        size = masks[video][0][2].shape
        tracks = TrackMasks(video, (size[0], size[1]), tuple(names))
        for name, frame, mask in masks[video]:
            known = tracks.objects.get(name, {}).get(frame)
            tracks.add(name, frame, mask if known is None else mask | tracks.mask(name, frame))
        videos.append(tracks)
    return videos


def _brushes(task: Any) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    for result in task["annotations"][0]["result"]:
        if result.get("type") == "brushlabels" and result["value"].get("format") == "rle":
            size = int(result["original_height"]), int(result["original_width"])
            label = str(result["value"]["brushlabels"][0]).removeprefix("object_")
            yield label, decode_brush(result["value"]["rle"], size)
