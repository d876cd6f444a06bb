"""COCO run-length video JSON in YouTube-VIS's form: ``videos``, ``annotations`` with one RLE or null per frame.

An object's name is `object_id` of its annotation (a key of ours), `track_id` or `instance_id`; a file of one video may
do without, its annotations' `id` then names the object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vos_zoo.files.text import read_text
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.formats.rle import compress, decode, from_coco
from vos_zoo.video.formats.track_masks import TrackMasks

_NAMES = ("object_id", "track_id", "instance_id")


def to_youtube_vis(videos: Iterable[TrackMasks], names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The content of a file for these videos; ids count from 1, absent objects are null.

    Args:
        videos: the videos.
        names: object -> name, its category; None: all objects are of the category "object".
    """
    called = {} if names is None else names
    categories: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, video in enumerate(videos, 1):
        height, width = video.size
        files = [f"{video.name}/{frame}.jpg" for frame in video.frames]
        about = {"id": number, "width": width, "height": height, "length": len(files), "file_names": files}
        entries.append({**about, "name": video.name})
        for name in video.objects:
            category = categories.setdefault(called.get(name, "object"), len(categories) + 1)
            annotations.append(_annotation(video, name, len(annotations) + 1, number, category))
    known = [{"id": number, "name": name} for name, number in (categories or {"object": 1}).items()]
    return {"videos": entries, "categories": known, "annotations": annotations}


def _annotation(video: TrackMasks, name: str, number: int, video_number: int, category: int) -> dict[str, Any]:
    segmentations: list[Any] = []
    areas: list[float | None] = []
    boxes: list[list[float] | None] = []
    for frame in video.frames:
        runs = video.objects[name].get(frame)
        if runs is None:
            segmentations.append(None)
            areas.append(None)
            boxes.append(None)
            continue
        rows, columns = np.nonzero(decode(runs, video.size))
        segmentations.append({"size": list(video.size), "counts": compress(runs)})
        areas.append(float(len(rows)))
        left, top = int(columns.min()), int(rows.min())
        boxes.append([float(left), float(top), float(columns.max() - left + 1), float(rows.max() - top + 1)])
    return {
        "id": number,
        "video_id": video_number,
        "category_id": category,
        "segmentations": segmentations,
        "areas": areas,
        "bboxes": boxes,
        "iscrowd": 0,
        "object_id": int(name) if name.isdecimal() and str(int(name)) == name else name,
    }


def from_youtube_vis(content: Any, source: str = "COCO JSON") -> list[TrackMasks]:
    """The videos of a file's content.

    Args:
        content: the parsed JSON.
        source: where it comes from, for messages.

    Raises:
        VOSError: it is of another form, a video has no names of frames, an annotation does not say which object of its
            video it is, or a mask is broken.
    """
    try:
        videos = {about["id"]: _video(about, source) for about in content["videos"]}
        for annotation in content["annotations"]:
            video = videos[annotation["video_id"]]
            name = _object_name(annotation, len(videos) == 1, source)
            if name in video.objects:
                raise VOSError(f"{source}: object {name} of video {video.name} has two annotations; join them")
            segments = annotation["segmentations"]
            if len(segments) != len(video.frames):
                raise VOSError(
                    f"{source}: object {name} of video {video.name} has {len(segments)} masks for "
                    f"{len(video.frames)} frames; write null where it is absent"
                )
            video.objects[name] = {}
            for frame, segment in zip(video.frames, segments, strict=True):
                if segment is not None:
                    video.add(name, frame, from_coco(segment))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VOSError(f"{source}: is no video JSON in YouTube-VIS's form ({error!r})") from error
    return list(videos.values())


def _video(about: Mapping[str, Any], source: str) -> TrackMasks:
    files = about.get("file_names")
    if not files:
        raise VOSError(f"{source}: video {about['id']} has no file_names, so its masks belong to no known frames")
    paths = [PurePosixPath(str(file)) for file in files]
    folders = {path.parent.name for path in paths}
    name = str(about.get("name") or (folders.pop() if len(folders) == 1 else ""))
    if not name:
        raise VOSError(f"{source}: video {about['id']} has no name, and its file_names no common folder; add a name")
    return TrackMasks(name, (int(about["height"]), int(about["width"])), tuple(path.stem for path in paths))


def _object_name(annotation: Mapping[str, Any], alone: bool, source: str) -> str:
    for key in _NAMES:
        if annotation.get(key) is not None:
            return str(annotation[key])
    if alone:
        return str(annotation["id"])
    raise VOSError(
        f"{source}: annotation {annotation.get('id')} does not say which object of its video it is; add object_id"
    )


def read_youtube_vis(path: str | Path) -> list[TrackMasks]:
    """The videos of a file; see `from_youtube_vis`.

    Raises:
        UsageError: the file cannot be read or is no JSON.
        VOSError: see `from_youtube_vis`.
    """
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: is no JSON ({error})") from error
    return from_youtube_vis(content, str(path))
