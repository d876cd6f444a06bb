"""SA-V's training JSON: ``masklet[frame][object]`` as COCO RLE, every fourth video frame, absent objects as zeros."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from vos_zoo.types import VOSError
from vos_zoo.video.formats.rle import compress, from_coco
from vos_zoo.video.formats.track_masks import TrackMasks

STEP = 4
"""Annotated frames (6 per second) are so many video frames (24 per second) apart."""
_RATE = 24
_SMALL, _MEDIUM = 32**2, 96**2


def to_sa_v(video: TrackMasks) -> dict[str, Any]:
    """The content of ``VIDEO_manual.json``; unknown entries (the environment) are empty.

    Objects are numbered from 0 in their order; `object_names`, a key of ours, keeps their names.
    """
    height, width = video.size
    empty = [height * width]
    names = list(video.objects)
    frames = (len(video.frames) - 1) * STEP + 1
    areas = [[sum(runs[1::2]) for runs in (video.objects[n].get(f, empty) for f in video.frames)] for n in names]
    shown = [[area > 0 for area in one] for one in areas]
    sizes = [float(np.mean([area for area in one if area] or [0])) for one in areas]
    return {
        "video_id": video.name,
        "video_duration": len(video.frames) * STEP / _RATE,
        "video_frame_count": float(frames),
        "video_height": float(height),
        "video_width": float(width),
        "video_resolution": float(height * width),
        "video_environment": "",
        "video_split": "",
        "masklet": [
            [{"size": [height, width], "counts": compress(video.objects[n].get(frame, empty))} for n in names]
            for frame in video.frames
        ],
        "masklet_id": list(range(len(names))),
        "masklet_size_rel": [size / (height * width) for size in sizes],
        "masklet_size_abs": sizes,
        "masklet_size_bucket": ["small" if s < _SMALL else "medium" if s < _MEDIUM else "large" for s in sizes],
        "masklet_visibility_changes": [_changes(one) for one in shown],
        "masklet_first_appeared_frame": [float(one.index(True)) if any(one) else 0.0 for one in shown],
        "masklet_frame_count": [len(video.frames)] * len(names),
        "masklet_edited_frame_count": [len(video.frames)] * len(names),
        "masklet_type": ["manual"] * len(names),
        "masklet_stability_score": [None] * len(names),
        "masklet_num": len(names),
        "object_names": names,
    }


def _changes(shown: list[bool]) -> int:
    """How often an object vanishes or comes back, once it has been visible."""
    start = shown.index(True) if any(shown) else len(shown)
    return sum(one != other for one, other in pairwise(shown[start:]))


def from_sa_v(content: Any, frames: Sequence[str] = (), source: str = "SA-V JSON") -> TrackMasks:
    """The video of a file's content.

    Args:
        content: the parsed JSON.
        frames: names of the annotated frames; every fourth number with five digits unless given.
        source: where it comes from, for messages.

    Raises:
        VOSError: it is of another form, or a mask is broken.
    """
    try:
        masklets = content["masklet"]
        names = [
            str(one) for one in content.get("object_names") or [f"{int(one):03d}" for one in content["masklet_id"]]
        ]
        titles = tuple(frames) or tuple(f"{STEP * index:05d}" for index in range(len(masklets)))
        size = int(content["video_height"]), int(content["video_width"])
        video = TrackMasks(str(content["video_id"]), size, titles, {name: {} for name in names})
        for frame, masks in zip(titles, masklets, strict=True):
            for name, mask in zip(names, masks, strict=True):
                video.add(name, frame, from_coco(mask))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VOSError(f"{source}: is no SA-V annotation ({error!r})") from error
    return video
