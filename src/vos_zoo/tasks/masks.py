"""`vos-zoo export-masks` and `vos-zoo import-masks`: between folders of PNGs and the formats of other tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vos_zoo.console import say
from vos_zoo.evaluation.referee.results import FolderResults
from vos_zoo.files.atomic import atomic_file, write_text
from vos_zoo.files.frames import read_frame
from vos_zoo.files.names import list_files, list_folders, list_pictures, natural_key
from vos_zoo.files.text import read_text
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.formats.alpha_video import read_alpha_video, write_alpha_video
from vos_zoo.video.formats.coco import read_youtube_vis, to_youtube_vis
from vos_zoo.video.formats.cvat import from_cvat, to_cvat
from vos_zoo.video.formats.label_studio import from_label_studio, to_label_studio
from vos_zoo.video.formats.rgba import from_rgba, to_rgba
from vos_zoo.video.formats.sa_v import from_sa_v, to_sa_v
from vos_zoo.video.formats.track_masks import TrackMasks, frame_names
from vos_zoo.video.formats.yolo import from_yolo, to_yolo
from vos_zoo.video.masks import write_mask


def run_export_masks(*, masks: str, form: str, output: str, frames: str | None = None) -> int:
    """Write masks in another tool's format.

    Args:
        masks: folder of one video (``FRAME.png``) or of several (``VIDEO/FRAME.png``, ``VIDEO/OBJECT/FRAME.png``).
        form: one of `vos_zoo.tasks.MASK_FORMATS`.
        output: the file (coco, label-studio) or folder (others) to write; nothing that exists is replaced.
        frames: for rgba, prores, vp9: folder with the frames, of one video or ``VIDEO/FRAME``; else plain colours.
    """
    target = _fresh(output)
    if frames is not None and form not in ("rgba", *_ENDINGS):
        raise UsageError(f"--frames: a {form} export holds no colours; leave it out")
    videos = list(read_tracks(Path(masks)))
    if form == "coco":
        _write_json(target, to_youtube_vis(videos))
    elif form == "label-studio":
        _write_json(target, [task for video in videos for task in to_label_studio(video)])
    else:
        for video in videos:
            _WRITERS[form](video, target, None if frames is None else Path(frames))
    objects = sum(len(video.objects) for video in videos)
    say(f"{len(videos)} videos, {objects} objects -> {target} ({form})")
    return 0


def run_import_masks(*, source: str, form: str, output: str, size: str | None = None, apart: bool = False) -> int:
    """Write masks of another tool's format as PNGs.

    Args:
        source: the file, or the folder of files.
        form: one of `vos_zoo.tasks.MASK_FORMATS`.
        output: folder to write ``VIDEO/FRAME.png`` into; nothing that exists is replaced.
        size: "HEIGHTxWIDTH" for YOLO text, which does not hold it.
        apart: write ``VIDEO/OBJECT/FRAME.png``, which objects that overlap or have names need.
    """
    target = _fresh(output)
    if (form == "yolo") != (size is not None):
        raise UsageError("--size HEIGHTxWIDTH goes with yolo, which does not hold it, and with nothing else")
    videos = list(_READERS[form](Path(source), size))
    if not videos:
        raise VOSError(f"{source}: holds no video in {form}'s form")
    for video in videos:
        _write_pngs(video, target, apart)
    say(f"{len(videos)} videos, {sum(len(video.objects) for video in videos)} objects -> {target}")
    return 0


def read_tracks(folder: Path) -> Iterator[TrackMasks]:
    """The videos in a folder of PNGs: the folder itself, or one per folder in it.

    Raises:
        UsageError: there is no PNG.
        VOSError: a mask cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder; give one with PNGs")
    results = FolderResults(folder.parent) if list_pictures(folder, (".png",)) else FolderResults(folder)
    names = [folder.name] if results.folder == folder.parent else list(results.videos)
    found = False
    for name in names:
        objects = results.objects(name)
        if objects is None and not results.frames(name):
            continue
        found = True
        yield _from_maps(results, name) if objects is None else _from_objects(results, name, objects)
    if not found:
        raise UsageError(
            f"{folder}: holds no PNG; give a folder with FRAME.png, VIDEO/FRAME.png or VIDEO/OBJECT/FRAME.png"
        )


def _from_maps(results: FolderResults, name: str) -> TrackMasks:
    return TrackMasks.from_labels(name, {frame: results.labels(name, frame) for frame in results.frames(name)})


def _from_objects(results: FolderResults, name: str, objects: Sequence[str]) -> TrackMasks:
    frames = sorted({frame for one in objects for frame in results.frames(name, one)}, key=natural_key)
    first = results.mask(name, objects[0], results.frames(name, objects[0])[0])
    tracks = TrackMasks(name, (first.shape[0], first.shape[1]), tuple(frames), {one: {} for one in objects})
    for one in objects:
        for frame in results.frames(name, one):
            tracks.add(one, frame, results.mask(name, one, frame))
    return tracks


def _fresh(output: str) -> Path:
    """The place to write; it must not exist, or be an empty folder."""
    path = Path(output)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"output {output}: exists; give a new name, nothing is replaced")
    return path


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content) + "\n")


def _write_sa_v(video: TrackMasks, target: Path, frames: Path | None) -> None:
    _write_json(target / f"{video.name}_manual.json", to_sa_v(video))


def _write_cvat(video: TrackMasks, target: Path, frames: Path | None) -> None:
    write_text(target / video.name / "annotations.xml", to_cvat(video))


def _write_yolo(video: TrackMasks, target: Path, frames: Path | None) -> None:
    for name, text in to_yolo(video).items():
        write_text(target / video.name / name, text)


def _write_rgba(video: TrackMasks, target: Path, frames: Path | None) -> None:
    for name in video.objects:
        for frame, picture in zip(video.frames, _pictures(video, name, frames), strict=True):
            with atomic_file(target / video.name / name / f"{frame}.png") as temporary:
                Image.fromarray(picture).save(temporary, format="PNG")


def _pictures(video: TrackMasks, name: str, frames: Path | None) -> Iterator[NDArray[np.uint8]]:
    """An object's pictures with alpha, uint8 ``(H, W, 4)``."""
    files = {} if frames is None else list_pictures(frames / video.name) or list_pictures(frames)
    for frame in video.frames:
        if frames is not None and frame not in files:
            raise VOSError(f"{frames}: has no frame {frame} of video {video.name}; give the folder of its frames")
        yield to_rgba(video.mask(name, frame), name, read_frame(files[frame]) if frames is not None else None)


def _write_alpha(ending: str) -> Callable[[TrackMasks, Path, Path | None], None]:
    def write(video: TrackMasks, target: Path, frames: Path | None) -> None:
        for name in video.objects:
            write_alpha_video(target / video.name / f"{name}{ending}", _pictures(video, name, frames))

    return write


_ENDINGS = {"prores": ".mov", "vp9": ".webm"}
"""Format -> ending of a video with alpha."""


_WRITERS: dict[str, Callable[[TrackMasks, Path, Path | None], None]] = {
    "sav": _write_sa_v,
    "cvat": _write_cvat,
    "yolo": _write_yolo,
    "rgba": _write_rgba,
    **{form: _write_alpha(ending) for form, ending in _ENDINGS.items()},
}


def _write_pngs(video: TrackMasks, target: Path, apart: bool) -> None:
    for frame in video.frames:
        if not apart:
            write_mask(target / video.name / f"{frame}.png", video.labels(frame))
            continue
        for name in video.objects:
            write_mask(target / video.name / name / f"{frame}.png", video.mask(name, frame).astype(np.uint8))


def _json_of(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise UsageError(f"{path}: is no JSON ({error})") from error


def _read_coco(path: Path, size: str | None) -> Iterator[TrackMasks]:
    yield from read_youtube_vis(path)


def _read_label_studio(path: Path, size: str | None) -> Iterator[TrackMasks]:
    yield from from_label_studio(_json_of(path), str(path))


def _read_sa_v(path: Path, size: str | None) -> Iterator[TrackMasks]:
    for file in list_files(path, (".json",)) if path.is_dir() else [path]:
        yield from_sa_v(_json_of(file), source=str(file))


def _read_cvat(path: Path, size: str | None) -> Iterator[TrackMasks]:
    files = sorted(path.rglob("*.xml")) if path.is_dir() else [path]
    for file in files:
        yield from_cvat(read_text(file), source=str(file))


def _read_yolo(path: Path, size: str | None) -> Iterator[TrackMasks]:
    height, cross, width = (size or "").partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise UsageError(f"--size: {size!r} is not HEIGHTxWIDTH, such as 480x854")
    folders = [path] if list_files(path, (".txt",)) else list_folders(path)
    for folder in folders:
        texts = {file.name: read_text(file) for file in list_files(folder, (".txt",))}
        if texts:
            yield from_yolo(texts, folder.name, (int(height), int(width)))


def _read_rgba(path: Path, size: str | None) -> Iterator[TrackMasks]:
    for video in list_folders(path):
        tracks: TrackMasks | None = None
        names = {name for one in list_folders(video) for name in list_pictures(one, (".png",))}
        frames = sorted(names, key=natural_key)
        for one in list_folders(video):
            for frame, file in list_pictures(one, (".png",)).items():
                mask = from_rgba(_picture(file), str(file))
                tracks = tracks or TrackMasks(video.name, (mask.shape[0], mask.shape[1]), tuple(frames))
                tracks.add(one.name, frame, mask)
        if tracks is not None:
            yield tracks


def _read_alpha(ending: str) -> Callable[[Path, str | None], Iterator[TrackMasks]]:
    def read(path: Path, size: str | None) -> Iterator[TrackMasks]:
        folders = [path] if list_files(path, (ending,)) else list_folders(path)
        for folder in folders:
            tracks: TrackMasks | None = None
            for file in list_files(folder, (ending,)):
                masks = list(read_alpha_video(file))
                if not masks:
                    raise VOSError(f"{file}: holds no frame; export it again")
                names = frame_names(len(masks))
                tracks = tracks or TrackMasks(folder.name, (masks[0].shape[0], masks[0].shape[1]), names)
                if names != tracks.frames:
                    raise VOSError(f"{file}: has {len(masks)} frames, another object's video {len(tracks.frames)}")
                for name, mask in zip(names, masks, strict=True):
                    tracks.add(file.stem, name, mask)
            if tracks is not None:
                yield tracks

    return read


def _picture(path: Path) -> Any:
    try:
        with Image.open(path) as image:
            return np.array(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise VOSError(f"{path}: cannot be read as an image ({error})") from error


_READERS: dict[str, Callable[[Path, str | None], Iterator[TrackMasks]]] = {
    "coco": _read_coco,
    "sav": _read_sa_v,
    "yolo": _read_yolo,
    "rgba": _read_rgba,
    **{form: _read_alpha(ending) for form, ending in _ENDINGS.items()},
    "cvat": _read_cvat,
    "label-studio": _read_label_studio,
}
