"""Scores masks of any origin by a protocol: pairs them with the ground truth, lists missing masks, computes digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Literal, TypeVar

import numpy as np

from vos_zoo.evaluation.referee.ahead import ReadAhead, reading_threads
from vos_zoo.evaluation.referee.protocols import ScoringProtocol
from vos_zoo.evaluation.referee.results import FolderResults, MaskResults, label_map_of
from vos_zoo.evaluation.referee.truth import Truth, TruthSettings
from vos_zoo.files.names import natural_key
from vos_zoo.labels import VOID
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.score_report import ScoreReport
from vos_zoo.metrics.scoring import object_ids_in
from vos_zoo.types import LabelMap, UsageError, VOSError

Missing = Literal["refuse", "empty"]
"""What happens where masks are missing: an error that lists them, or they count as empty and the report says so."""
_NAMED = 12
Found = TypeVar("Found")


@dataclass
class _Digest:
    """SHA-256 of the masks that were read, each once, in the order of reading."""

    hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    known: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, key: tuple[str, str, str], labels: LabelMap) -> None:
        if key not in self.known:
            self.known.add(key)
            self.hash.update(repr((key, labels.shape)).encode())
            self.hash.update(np.ascontiguousarray(labels).tobytes())


@dataclass
class _Reading:
    """What is noted while masks are read: (video, object) -> frames without a mask; the digests; the threads."""

    missing: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    truth: _Digest = field(default_factory=_Digest)
    masks: _Digest = field(default_factory=_Digest)
    pool: ThreadPoolExecutor | None = None

    def ahead(self, read: Callable[[str], Found], frames: Sequence[str]) -> Callable[[str], Found]:
        """`read`, some frames ahead in threads while masks are scored."""
        return read if self.pool is None else ReadAhead(read, frames, self.pool)


@dataclass(frozen=True)
class ScoredMasks:
    """The outcome of scoring.

    Attributes:
        report: the scores.
        truth_digest: SHA-256 of the ground truth that was read.
        mask_digest: SHA-256 of the masks that were scored; two equal ones are the same results.
        missing: what was not there, one line per video or object.
        videos: number of videos.
        frames: number of different frames in which something was scored.
    """

    report: ScoreReport
    truth_digest: str
    mask_digest: str
    missing: tuple[str, ...]
    videos: int
    frames: int


def score_masks(
    protocol: ScoringProtocol,
    settings: TruthSettings,
    truth: Truth,
    results: MaskResults,
    *,
    official: bool = False,
    missing: Missing = "refuse",
) -> ScoredMasks:
    """Score masks by a protocol.

    Args:
        protocol: one of `PROTOCOLS`.
        settings: what the command line says of the data.
        truth: what `protocol.find` gives for the settings.
        results: the masks.
        official: reproduce the official program's quirks.
        missing: what happens where masks are missing.

    Raises:
        UsageError: the protocol has no official program, or a meta file does not fit.
        VOSError: masks are missing (all are named), broken, or of another size; there is nothing to score.
    """
    reading = _Reading()
    names, remarks = list(truth.videos), list(results.remarks)
    absent = [name for name in names if name not in results.videos]
    if official and protocol.skips_missing_videos and absent:
        names = [name for name in names if name in results.videos]
        remarks.append(f"the official program leaves out videos without results: {', '.join(absent)}")
    lone = official and protocol.by_position and isinstance(results, FolderResults) and len(results.videos) == 1
    if lone:
        remarks.append("the official program takes a lone folder for the root of the results, so no video is found")
    if official and protocol.by_position:
        truth.masks.converted = True
        if isinstance(results, FolderResults):
            results.converted = True
    strays = official and protocol.skips_missing_videos
    with reading_threads() as pool:
        reading.pool = pool
        videos = [video for name in names for video in _videos(name, truth, results, reading, official, lone, strays)]
        report = protocol.score(videos, truth, settings, official)
    lines = tuple(_missing_lines(truth, reading))
    if lines and missing == "refuse":
        more = f"; and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
        raise VOSError(
            f"masks are missing: {'; '.join(lines[:_NAMED])}{more}; write every frame's mask, empty ones too, or count "
            "them as empty with --missing empty"
        )
    if not report.objects:
        raise VOSError(f"{truth.title}: there is no object to score ({'; '.join(report.notes()) or 'no video'})")
    remarks += [f"missing, counted as empty: {line}" for line in lines]
    extra = sorted({*results.videos} - {*truth.videos})
    if extra:
        remarks.append(f"videos that are not in {truth.title}, and not scored: {', '.join(extra[:_NAMED])}")
    frames = {(one.video, frame) for one in report.objects for frame in one.frames}
    return ScoredMasks(
        replace(report, remarks=(*remarks, *report.remarks)),
        reading.truth.hash.hexdigest(),
        reading.masks.hash.hexdigest(),
        lines,
        len({video.name for video in videos}),
        len(frames),
    )


def _videos(
    name: str, truth: Truth, results: MaskResults, reading: _Reading, official: bool, lone: bool, strays: bool
) -> Iterator[MaskVideo]:
    """A video as the metrics take it; where the ground truth has a folder per object, one per object."""
    there = name in results.videos and not lone
    own = results.objects(name) if there else None
    objects = truth.masks.objects(name)
    if objects is None:
        yield _label_video(name, truth, results, reading, official, there, own is not None, strays)
        return
    if there and own is None and results.frames(name):
        raise VOSError(
            f"video {name}: the ground truth has a folder of masks per object ({', '.join(objects[:3])}, ...), results "
            "have label maps, which do not say which object is which; write VIDEO/OBJECT/FRAME.png"
        )
    for one in objects:
        theirs = same_object(one, own or ())
        yield _object_video(name, one, truth, results, reading, theirs, strays)


def same_object(name: str, names: tuple[str, ...]) -> str | None:
    """The object among `names` that is called `name`; "1", "01" and "001" are the same."""
    if name in names:
        return name
    equal = [other for other in names if name.isdecimal() and other.isdecimal() and int(other) == int(name)]
    return equal[0] if len(equal) == 1 else None


def _label_video(
    name: str,
    truth: Truth,
    results: MaskResults,
    reading: _Reading,
    official: bool,
    there: bool,
    apart: bool,
    strays: bool,
) -> MaskVideo:
    frames = _truth_frames(name, truth, None, strays)
    real = _truth_frames(name, truth)
    known = frozenset(real)
    stored = official or truth.lists_void(name)
    if apart:
        found = {frame for one in results.objects(name) or () for frame in results.frames(name, one)}
        predicted = tuple(sorted(found, key=natural_key)) if there else ()
    else:
        predicted = results.frames(name) if there else ()
    have = frozenset(predicted)
    one_object = cache(lambda: _one_object(name, truth))
    load_truth = reading.ahead(lambda frame: truth.masks.labels(name, frame, stored=stored), real)
    load_prediction = reading.ahead(
        lambda frame: label_map_of(results, name, frame) if apart else results.labels(name, frame, stored=True),
        [frame for frame in frames if frame in have],
    )

    @lru_cache(maxsize=2)  # a frame's truth is asked for by the protocol, and for its size
    def read_truth(frame: str) -> LabelMap:
        if frame not in known:  # a stray file that the official program takes for a frame
            return np.zeros_like(truth.masks.labels(name, real[0]))
        labels = load_truth(frame)
        reading.truth.add((name, "", frame), labels)
        return labels

    def read_prediction(frame: str) -> LabelMap:
        if frame not in have:
            reading.missing.setdefault((name, ""), []).append(frame)
            return np.zeros_like(read_truth(frame))
        labels = load_prediction(frame)
        if labels.max(initial=0) == VOID and not stored and not apart and one_object():
            labels = results.labels(name, frame)
        reading.masks.add((name, "", frame), labels)
        return _checked(labels, read_truth, name, frame, frames)

    return MaskVideo(name, frames, read_truth, read_prediction, predicted)


def _one_object(name: str, truth: Truth) -> bool:
    """Whether the ground truth has one object, id 1, so that 255 alone in the results means it."""
    return all(set(object_ids_in(truth.masks.labels(name, frame))) <= {1} for frame in truth.masks.frames(name))


def _object_video(
    name: str,
    one: str,
    truth: Truth,
    results: MaskResults,
    reading: _Reading,
    theirs: str | None,
    strays: bool,
) -> MaskVideo:
    frames = _truth_frames(name, truth, one, strays)
    real = _truth_frames(name, truth, one)
    known = frozenset(real)
    predicted = results.frames(name, theirs) if theirs is not None else ()
    have = frozenset(predicted)
    load_truth = reading.ahead(lambda frame: truth.masks.mask(name, one, frame), real)
    load_prediction = reading.ahead(
        lambda frame: results.mask(name, theirs or "", frame), [frame for frame in frames if frame in have]
    )

    @lru_cache(maxsize=2)  # a frame's truth is asked for by the protocol, and for its size
    def read_truth(frame: str) -> LabelMap:
        if frame not in known:
            return np.zeros_like(truth.masks.mask(name, one, real[0]), dtype=np.uint8)
        labels = load_truth(frame).astype(np.uint8)
        reading.truth.add((name, one, frame), labels)
        return labels

    def read_prediction(frame: str) -> LabelMap:
        if theirs is None or frame not in have:
            reading.missing.setdefault((name, one), []).append(frame)
            return np.zeros_like(read_truth(frame))
        labels = load_prediction(frame).astype(np.uint8)
        reading.masks.add((name, one, frame), labels)
        return _checked(labels, read_truth, name, frame, frames)

    return MaskVideo(name, frames, read_truth, read_prediction, predicted, {1: one})


def _truth_frames(name: str, truth: Truth, one: str | None = None, strays: bool = False) -> tuple[str, ...]:
    frames = truth.masks.entries(name, one) if strays else truth.masks.frames(name, one)
    if not frames:
        raise UsageError(
            f"{truth.masks.folder / name}: holds no mask of the ground truth; check data.root and data.split"
        )
    return frames


def _checked(
    labels: LabelMap, read_truth: Callable[[str], LabelMap], name: str, frame: str, frames: tuple[str, ...]
) -> LabelMap:
    """The labels, if they have the size of the ground truth."""
    shape = read_truth(frame if frame in frames else frames[0]).shape
    if labels.shape != shape:
        raise VOSError(
            f"video {name}, frame {frame}: the mask is {labels.shape[1]}x{labels.shape[0]}, the ground truth "
            f"{shape[1]}x{shape[0]} (width x height); resize it by nearest neighbour"
        )
    return labels


def _missing_lines(truth: Truth, reading: _Reading) -> Iterator[str]:
    for (video, one), frames in reading.missing.items():
        where = f"{video}/{one}" if one else video
        unique = list(dict.fromkeys(frames))
        wanted = len(truth.masks.frames(video, one or None))
        if len(unique) >= wanted - 2:
            yield f"{where} (all {len(unique)} frames)"
        else:
            yield f"{where} (frames {', '.join(unique[:5])}{', ...' if len(unique) > 5 else ''})"
