"""CVAT for video 1.1 XML: a track per object, a mask per frame as runs inside its box, row by row, zeros first."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np

from vos_zoo.types import VOSError
from vos_zoo.video.formats.rle import decode, encode
from vos_zoo.video.formats.track_masks import TrackMasks, frame_names

_LABEL = "object_"


def to_cvat(video: TrackMasks) -> str:
    """The content of ``annotations.xml``; the object's name is in the label, as CVAT has no ids of its own."""
    height, width = video.size
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    facts = {"id": "1", "name": video.name, "size": str(len(video.frames)), "mode": "interpolation"}
    for key, value in {**facts, "start_frame": "0", "stop_frame": str(len(video.frames) - 1)}.items():
        ElementTree.SubElement(task, key).text = value
    labels = ElementTree.SubElement(task, "labels")
    for name in video.objects:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = f"{_LABEL}{name}"
        ElementTree.SubElement(label, "type").text = "any"
        ElementTree.SubElement(label, "attributes")
    size = ElementTree.SubElement(task, "original_size")
    ElementTree.SubElement(size, "width").text = str(width)
    ElementTree.SubElement(size, "height").text = str(height)
    for index, name in enumerate(video.objects):
        track = {"id": str(index), "label": f"{_LABEL}{name}", "source": "manual"}
        _write_track(ElementTree.SubElement(root, "track", track), video, name)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _write_track(track: ElementTree.Element, video: TrackMasks, name: str) -> None:
    """The masks of an object; where it vanishes its last mask is repeated as "outside", which ends its visibility."""
    last: dict[str, str] | None = None
    for number, frame in enumerate(video.frames):
        mask = video.mask(name, frame)
        if mask.any():
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            last = {"rle": ", ".join(map(str, encode(box, "C"))), "left": str(columns[0]), "top": str(rows[0])}
            last |= {"width": str(box.shape[1]), "height": str(box.shape[0]), "z_order": "0"}
            about = {"frame": str(number), "keyframe": "1", "outside": "0", "occluded": "0"}
            ElementTree.SubElement(track, "mask", {**about, **last})
        elif last is not None:
            about = {"frame": str(number), "keyframe": "1", "outside": "1", "occluded": "0"}
            ElementTree.SubElement(track, "mask", {**about, **last})
            last = None


def from_cvat(text: str, frames: Sequence[str] = (), source: str = "CVAT XML") -> TrackMasks:
    """The video of an XML file.

    Masks hold for their own frame alone: between two keyframes CVAT shows the earlier one, so a file that leaves frames
    out is refused.

    Args:
        text: its content.
        frames: names of the frames; numbers with five digits unless given.
        source: where it comes from, for messages.

    Raises:
        VOSError: it is of another form, or leaves out frames in which an object is visible.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise VOSError(f"{source}: declares a document type, which annotations do not need; export it again")
    try:
        root = ElementTree.fromstring(text)
        task = root.find("meta/task")
        original = root.find("meta/task/original_size")
        if task is None or original is None:
            raise ValueError("there is no meta/task/original_size")
        size = int(original.findtext("height", "")), int(original.findtext("width", ""))
        titles = frame_names(int(task.findtext("size", "")), frames)
        video = TrackMasks(task.findtext("name", "") or source, size, titles)
        for track in root.iter("track"):
            _read_track(track, video, source)
    except (ElementTree.ParseError, KeyError, ValueError, IndexError) as error:
        raise VOSError(f"{source}: is no CVAT video annotation 1.1 ({error})") from error
    return video


def _read_track(track: ElementTree.Element, video: TrackMasks, source: str) -> None:
    name = track.attrib["label"].removeprefix(_LABEL)
    video.objects.setdefault(name, {})
    expected: int | None = None

    def check(number: int) -> None:
        if expected is not None and number != expected:
            raise VOSError(f"{source}: object {name} has no mask in frame {expected}; export all frames, not keyframes")

    for mask in track.iter("mask"):
        number = int(mask.attrib["frame"])
        check(number)
        if mask.attrib.get("outside") == "1":
            expected = None
            continue
        expected = number + 1
        left, top, width, height = (int(mask.attrib[key]) for key in ("left", "top", "width", "height"))
        box = decode([int(one) for one in mask.attrib["rle"].split(",")], (height, width), "C")
        whole = np.zeros(video.size, dtype=bool)
        whole[top : top + height, left : left + width] = box
        video.add(name, video.frames[number], whole)
    check(len(video.frames))
