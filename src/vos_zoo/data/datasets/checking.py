"""Checks data sets for faults before a run starts."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from vos_zoo.data.datasets.sequence import PictureDataset, PictureSequence, Problem, describe
from vos_zoo.data.datasets.static_images import StaticImage
from vos_zoo.data.datasets.threads import in_threads
from vos_zoo.files.frames import JPEG_END, TAIL, frame_size, is_deep, read_frame_strictly
from vos_zoo.types import VideoDataset, VideoSequence, VOSError

_ENDINGS = {".jpg": JPEG_END, ".jpeg": JPEG_END, ".png": b"IEND"}


@dataclass
class DatasetReport:
    """What `vos-zoo check-data` says about a data set.

    Attributes:
        name: name of the data set.
        sequences: number of videos (without those whose frames or masks are missing altogether).
        frames: number of frames.
        annotated: number of frames with a mask.
        sizes: "WxH" -> number of videos.
        objects: number of objects.
        late_objects: "sequence/id" of objects that start after the first annotated frame.
        id_gaps: names of videos whose ids are not 1..K.
        without_truth: names of videos that cannot be scored, because not every frame has a complete mask.
        too_short: names of videos that cannot be scored, because they have no frame between the first and the last.
        notes: irregularities that are handled, such as objects that start later than listed.
        problems: everything broken, by file.
    """

    name: str
    sequences: int = 0
    frames: int = 0
    annotated: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    objects: int = 0
    late_objects: list[str] = field(default_factory=list)
    id_gaps: list[str] = field(default_factory=list)
    without_truth: list[str] = field(default_factory=list)
    too_short: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is broken."""
        return not self.problems

    def __str__(self) -> str:
        sizes = ", ".join(f"{size} ({count})" for size, count in self.sizes.most_common())
        short = bool(self.too_short)
        lines = [
            f"{self.name}: {self.sequences} sequences, {self.frames} frames, {self.annotated} with masks",
            f"sizes: {sizes or 'none'}",
            f"objects: {self.objects}, of which {len(self.late_objects)} start late{_names(self.late_objects)}",
            f"ids with gaps or not from 1: {len(self.id_gaps)}{_names(self.id_gaps)}",
            f"without complete ground truth (no scores): {len(self.without_truth)}{_names(self.without_truth)}",
            *([f"too short to be scored (fewer than 3 frames): {len(self.too_short)}{_names(self.too_short)}"] * short),
            *([f"notes: {len(self.notes)}", *(f"  {note}" for note in self.notes)] if self.notes else []),
            f"problems: {len(self.problems)}",
        ]
        return "\n".join(lines + [f"  {problem.where}: {problem.what}" for problem in self.problems])


def _names(names: Sequence[str], limit: int = 6) -> str:
    if not names:
        return ""
    return f" ({', '.join(names[:limit])}{', ...' if len(names) > limit else ''})"


def check_dataset(dataset: VideoDataset) -> DatasetReport:
    """Read every frame and every mask of a data set and report counts and everything broken, by file.

    Open the data set with `skip_broken=True`, so that sequences without frames or masks are reported as well.
    """
    report = DatasetReport(dataset.name, problems=list(getattr(dataset, "problems", ())))
    found = in_threads(lambda number: find_problems(dataset[number], decode=True), range(len(dataset)))
    for number, problems in enumerate(found):
        sequence = dataset[number]
        report.sequences += 1
        report.frames += len(sequence)
        report.problems += problems
        report.sizes[_size(sequence)] += 1
        report.annotated += sum(1 for index in range(len(sequence)) if _is_annotated(sequence, index))
        if not problems:
            _count_objects(report, sequence)
    return report


def _count_objects(report: DatasetReport, sequence: VideoSequence) -> None:
    ids = sequence.object_ids
    report.objects += len(ids)
    if sorted(ids) != list(range(1, len(ids) + 1)):
        report.id_gaps.append(sequence.name)
    report.notes += getattr(sequence, "notes", [])
    report.notes += sequence.doubts() if isinstance(sequence, PictureSequence) else []
    if len(sequence) < 3 and not isinstance(sequence, StaticImage):
        report.too_short.append(sequence.name)
    elif not sequence.has_truth and not isinstance(sequence, StaticImage):
        report.without_truth.append(sequence.name)
    prompts = sequence.prompts() if len(ids) > 1 else {}
    for index in sorted(prompts)[1:]:
        report.late_objects += [f"{sequence.name}/{identity}" for identity in ids if (prompts[index] == identity).any()]


def _is_annotated(sequence: VideoSequence, index: int) -> bool:
    if isinstance(sequence, PictureSequence):
        return sequence.mask_paths[index] is not None
    if isinstance(sequence, StaticImage):
        return True
    return sequence.labels(index) is not None


def _size(sequence: VideoSequence) -> str:
    try:
        if isinstance(sequence, StaticImage):
            height, width = sequence.size()
            return f"{width}x{height}"
        first = isinstance(sequence, PictureSequence) and frame_size(sequence.frame_paths[0])
        height, width = first or sequence.frame(0).shape[:2]
    except VOSError:
        return "unreadable"
    return f"{width}x{height}"


def find_problems(sequence: VideoSequence, *, decode: bool = False) -> list[Problem]:
    """Everything broken in a video: unreadable frames or masks, changing sizes, masks without a frame, no object.

    Args:
        sequence: the video; only videos of picture files and static images can be broken.
        decode: decode every frame; otherwise only its header and its end are looked at. Masks are always read.
    """
    if isinstance(sequence, StaticImage):
        return sequence.problems(decode)
    if not isinstance(sequence, PictureSequence):
        return []
    problems = [problem for path in sequence.frame_paths if (problem := _frame_problem(path, decode))]
    problems += [Problem(str(path), "is a mask without a frame of that name") for path in sequence.stray_masks]
    if not problems:
        sizes = {frame_size(path) for path in sequence.frame_paths}
        if len(sizes) > 1:
            shown = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
            problems.append(Problem(sequence.name, f"its frames differ in size ({shown}); bring them to one size"))
    masks = _mask_problems(sequence)
    if not masks and not problems and not sequence.object_ids:
        masks = [Problem(sequence.name, "all its masks are empty, so no object is known")]
    return problems + masks


def _frame_problem(path: Path, decode: bool) -> Problem | None:
    try:
        frame_size(path)
        if decode or not _ends_well(path) or is_deep(path):  # whether 8 bits can show it, its header does not say
            read_frame_strictly(path)
    except VOSError as error:
        return Problem(str(path), _without_name(error, path))
    return None


def _mask_problems(sequence: PictureSequence) -> list[Problem]:
    try:
        sequence.pixel_counts()  # reads every mask, and keeps the counts for the sampler
    except VOSError:
        return [problem for index in sequence.annotated if (problem := _mask_problem(sequence, index))]
    return []


def _mask_problem(sequence: PictureSequence, index: int) -> Problem | None:
    path = sequence.mask_paths[index]
    try:
        frame_size(sequence.frame_paths[index])
    except VOSError:
        return None  # already reported
    try:
        sequence.labels(index)
    except VOSError as error:
        return Problem(str(path), _without_name(error, path))
    return None


def _without_name(error: VOSError, path: Path | None) -> str:
    """The message without the file, which the report names in front of it."""
    return str(error).split(f"{path}: ", 1)[-1]


def _ends_well(path: Path) -> bool:
    """Whether the file ends as its kind does; a file cut short does not."""
    ending = _ENDINGS.get(path.suffix.lower())
    if ending is None:
        return False
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - TAIL, 0))
        return ending in file.read()


class Selection(VideoDataset):
    """Some videos of a data set, opened when asked for.

    Args:
        dataset: the data set.
        numbers: which of its videos, in which order.
    """

    def __init__(self, dataset: VideoDataset, numbers: Sequence[int]) -> None:
        self.name, self.dataset, self.numbers = dataset.name, dataset, tuple(numbers)
        self.frame_step, self.video_length = dataset.frame_step, dataset.video_length

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> VideoSequence: ...

    @overload
    def __getitem__(self, index: slice) -> list[VideoSequence]: ...

    def __getitem__(self, index: int | slice) -> VideoSequence | list[VideoSequence]:
        if isinstance(index, slice):
            return [self.dataset[number] for number in self.numbers[index]]
        return self.dataset[self.numbers[index]]


def keep_sound(dataset: VideoDataset, *, skip_broken: bool = False) -> VideoDataset:
    """The data set without its broken videos, after a check of all of them (see `find_problems`).

    Raises:
        VOSError: something is broken and `skip_broken` is off, or nothing is left.
    """
    if not isinstance(dataset, PictureDataset):
        return dataset
    found = in_threads(lambda number: find_problems(dataset[number]), range(len(dataset)))
    problems = [problem for broken in found for problem in broken]
    sound = [number for number, broken in enumerate(found) if not broken]
    _warn_of_doubts(dataset, sound)
    if not problems:
        return dataset
    if not skip_broken:
        raise VOSError(f"{dataset.name}: {describe(problems)}; fix them or set data.skip_broken=true")
    warnings.warn(
        f"{dataset.name}: left out {len(found) - len(sound)} sequences: {describe(problems, limit=20)}", stacklevel=2
    )
    if not sound:
        raise VOSError(f"{dataset.name}: every sequence is broken; vos-zoo check-data lists the faults")
    return Selection(dataset, sound)


def _warn_of_doubts(dataset: PictureDataset, numbers: Sequence[int]) -> None:
    """One warning of the masks of these videos whose value 0 may not be the background."""
    found = in_threads(lambda place: dataset[numbers[place]].doubts(), range(len(numbers)))
    doubts = [doubt for own in found for doubt in own]
    if doubts:
        more = f" ({len(doubts)} such masks; vos-zoo check-data lists them)" if len(doubts) > 1 else ""
        warnings.warn(f"{dataset.name}: {doubts[0]}{more}", stacklevel=3)
