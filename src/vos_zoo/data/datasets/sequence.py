"""A video on disk: numbered image files with mask files.

Objects and their first frames follow from the masks alone, so that both conventions of the field work without a
setting:

* an object starts in the first annotated frame that has one of its pixels (DAVIS: all in frame 0);
* a sequence is *sparse* if some frames have no mask file and no later mask repeats an earlier id. Its
  later masks then hold new objects only and their zeros mean "no label" (YouTube-VOS valid, test-dev, demo packs), so
  it cannot be scored. Otherwise a mask is the complete annotation of its frame.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from vos_zoo.files.frames import frame_size, read_frame, read_reduced
from vos_zoo.files.names import describe_order
from vos_zoo.files.names import list_pictures as list_pictures
from vos_zoo.labels import check_threshold
from vos_zoo.types import Frame, LabelMap, UsageError, VideoDataset, VideoSequence, VOSError
from vos_zoo.video.mask_reader import MaskReader, background_doubt


class Problem(NamedTuple):
    """A fault in a data set: the file or sequence, and the fault."""

    where: str
    what: str


class PictureSequence(VideoSequence):
    """A video of image files and mask files with equal stems.

    Values that depend on the masks' pixels (ids, prompts, pixel counts) are computed once, at first use.

    Args:
        name: name of the sequence.
        frames: frame stem -> image file, in the order of the video.
        masks: frame stem -> mask file; a frame without a file has no annotation (which is not "background").
        mask_threshold: the smallest level, 1..255, of the one object of masks with soft edges; 1 as in DAVIS-2016
            (any non-zero value of any channel); None reads object ids, see `vos_zoo.labels`.
        listed: the ids that the data set's meta file lists; others are background. None takes all.
    """

    def __init__(
        self,
        name: str,
        frames: Mapping[str, Path],
        masks: Mapping[str, Path],
        *,
        mask_threshold: int | None = None,
        listed: Collection[int] | None = None,
    ) -> None:
        self.name = name
        self._listed = None if listed is None else tuple(listed)
        self._kept = np.zeros(256, dtype=np.uint8)
        self._kept[list(range(256) if listed is None else listed)] = list(range(256) if listed is None else listed)
        self.frame_names = tuple(frames)
        self.frame_paths: tuple[Path, ...] = tuple(frames.values())
        self.mask_paths: tuple[Path | None, ...] = tuple(masks.get(stem) for stem in frames)
        self.stray_masks: tuple[Path, ...] = tuple(path for stem, path in masks.items() if stem not in frames)
        self.mask_threshold = check_threshold(mask_threshold, "data.mask_threshold")
        self._reader = MaskReader([path for path in self.mask_paths if path is not None], self.mask_threshold)

    def frame(self, index: int) -> Frame:
        """Frame `index`, uint8 RGB ``(H, W, 3)``; raises VOSError for an unreadable file."""
        return read_frame(self.frame_paths[index])

    def frame_content(self, index: int) -> bytes:
        """The file of frame `index`; raises VOSError for one that cannot be read."""
        path = self.frame_paths[index]
        try:
            return path.read_bytes()
        except OSError as error:
            raise VOSError(f"frame {path}: cannot be read ({error.strerror or error})") from error

    def reduced_frame(self, index: int, reduction: int) -> Frame:
        """Frame `index` with its size divided by 2, 4 or 8; see `read_reduced`."""
        return read_reduced(self.frame_paths[index], reduction)

    def labels(self, index: int) -> LabelMap | None:
        """Objects in the mask file of frame `index`, uint8 ``(H, W)``; None without a file; VOSError if unreadable.

        Ids go from 1 to 254: masks of 0 and 255 show object 1, and void is background, as are ids that are not listed.
        In a sparse sequence the zeros of a later mask mean "no label".
        """
        path = self.mask_paths[index]
        if path is None:
            return None
        labels = self._reader.read(path, size=frame_size(self.frame_paths[index]))
        return labels if self._listed is None else self._kept[labels]

    @cached_property
    def annotated(self) -> tuple[int, ...]:
        """Indices of the frames that have a mask file."""
        return tuple(index for index, path in enumerate(self.mask_paths) if path is not None)

    @cached_property
    def _counts(self) -> dict[int, NDArray[np.int64]]:
        counts: dict[int, NDArray[np.int64]] = {}
        for index in self.annotated:
            labels = self.labels(index)
            assert labels is not None
            histogram = np.bincount(labels.reshape(-1), minlength=256)
            for identity in np.flatnonzero(histogram[1:]) + 1:
                counts.setdefault(int(identity), np.zeros(len(self), dtype=np.int64))[index] = histogram[identity]
        return counts

    def pixel_counts(self) -> Mapping[int, NDArray[np.int64]]:
        """Visible pixels of every object: id -> int64 ``(T,)``; 0 in frames without annotation. Computed once."""
        return self._counts

    @cached_property
    def _starts(self) -> dict[int, int]:
        starts = {identity: int(np.flatnonzero(counts)[0]) for identity, counts in self._counts.items()}
        return dict(sorted(starts.items(), key=lambda item: (item[1], item[0])))

    @cached_property
    def object_ids(self) -> tuple[int, ...]:  # type: ignore[override]  # an attribute that is computed when first asked for
        """All ids found in any mask: by first appearance, then ascending."""
        return tuple(self._starts)

    @cached_property
    def sparse(self) -> bool:
        """Whether later masks hold new objects only (see the module docstring), so that there is no ground truth."""
        if len(self.annotated) == len(self):
            return False
        return all(start == int(np.flatnonzero(self._counts[identity])[-1]) for identity, start in self._starts.items())

    def prompts(self) -> dict[int, LabelMap]:
        """The given masks: frame index -> label map ``(H, W)`` with only the objects that start there."""
        prompts: dict[int, LabelMap] = {}
        for index in sorted(set(self._starts.values())):
            labels = self.labels(index)
            assert labels is not None
            new = [identity for identity, start in self._starts.items() if start == index]
            prompts[index] = np.where(np.isin(labels, new), labels, 0).astype(np.uint8)
        return prompts

    def files(self) -> Iterator[Path]:
        """The image and mask files."""
        yield from self.frame_paths
        yield from (path for path in self.mask_paths if path is not None)

    @property
    def notes(self) -> list[str]:
        """Remarks for `check-data`: an ambiguous order of frames, listed objects that no mask shows."""
        order = describe_order(self.frame_names)
        return [*([] if order is None else [f"{self.name}: {order}"]), *self._unseen_notes()]

    def _unseen_notes(self) -> list[str]:
        unseen = [identity for identity in self._listed or () if identity not in self._starts]
        return [f"{self.name}/{identity} is listed, but no mask of its frames shows it" for identity in unseen]

    def doubts(self) -> list[str]:
        """Masks in which objects start and whose value 0 may not be the background; see `background_doubt`."""
        starts = sorted(set(self._starts.values()))
        found = (background_doubt(path) for path in (self.mask_paths[index] for index in starts) if path is not None)
        return [doubt for doubt in found if doubt is not None]

    def problems_at_sight(self) -> list[Problem]:
        """Faults that are found without opening a file: no frames, no masks."""
        if not self.frame_names:
            return [Problem(self.name, "the frames are missing")]
        if not self.annotated:
            return [Problem(self.name, "no frame has a mask, so no object is known")]
        return []

    def has_labels(self, frames: Iterable[int]) -> bool:
        """Whether all of these frames have a complete annotation; a sparse sequence has none."""
        return set(frames) <= set(self.annotated) and not self.sparse


class PictureDataset(VideoDataset):
    """Videos of image files. Broken sequences are an error, or are left out with `skip_broken`.

    Attributes:
        name: name of the data set for messages.
        root: the folder it was opened from.
        problems: faults found when opening it (with `skip_broken`; otherwise empty).
    """

    def __init__(
        self, name: str, root: Path, sequences: Sequence[PictureSequence], *, skip_broken: bool = False
    ) -> None:
        self.name = name
        self.root = root
        problems = [problem for sequence in sequences for problem in sequence.problems_at_sight()]
        self.problems: tuple[Problem, ...] = tuple(problems)
        if problems and not skip_broken:
            raise VOSError(f"{name}: {describe(problems)}; fix it or pass skip_broken=true")
        if problems:
            warnings.warn(f"{name}: left out: {describe(problems, limit=20)}", stacklevel=3)
        reordered = [sequence for sequence in sequences if describe_order(sequence.frame_names)]
        if reordered:
            named = ", ".join(sequence.name for sequence in reordered[:3]) + (", ..." if len(reordered) > 3 else "")
            order = describe_order(reordered[0].frame_names)
            warnings.warn(f"{name}: {len(reordered)} sequences ({named}): {order}", stacklevel=3)
        broken = {problem.where for problem in problems}
        self._sequences = [sequence for sequence in sequences if sequence.name not in broken]
        if not self._sequences:
            why = f" ({describe(problems)})" if problems else ""
            raise UsageError(f"{name}: no usable sequence in {root}{why}; check data.root and the split")

    def __len__(self) -> int:
        return len(self._sequences)

    @overload
    def __getitem__(self, index: int) -> PictureSequence: ...

    @overload
    def __getitem__(self, index: slice) -> list[PictureSequence]: ...

    def __getitem__(self, index: int | slice) -> PictureSequence | list[PictureSequence]:
        return self._sequences[index]


def describe(problems: Sequence[Problem], limit: int = 3) -> str:
    """One line with the first `limit` problems and the number of the others."""
    named = "; ".join(f"{problem.where}: {problem.what}" for problem in problems[:limit])
    rest = len(problems) - limit
    return named + (f"; and {rest} more (vos-zoo check-data lists all)" if rest > 0 else "")


def by_name(known: Sequence[str], wanted: Sequence[str] | None, what: str) -> list[str]:
    """`wanted` in the order of `known` (None: all).

    Raises:
        UsageError: a name is not known (the message suggests the nearest ones) or is not text.
    """
    if wanted is None:
        return list(known)
    for name in wanted:
        if not isinstance(name, str):
            raise UsageError(f"{what}: {name!r} is not text; put the names of sequences in quotes")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known[:5])
            raise UsageError(f"{what}: no sequence {name!r}; there are {len(known)}, for example {', '.join(near)}")
    chosen = set(wanted)
    return [name for name in known if name in chosen]


def known_length(dataset: VideoDataset) -> int | None:
    """Frames of every video, where the data set says so (`VideoDataset.video_length`); lists of videos do not."""
    return getattr(dataset, "video_length", None)
