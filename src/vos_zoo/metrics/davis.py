"""The DAVIS evaluation (semi-supervised task) on folders of palette PNGs, and its report.

Rules (official toolkit `davis2017-evaluation`): the first and the last frame are not scored; frames in which an object
is absent count in its mean (1 if the prediction is empty too, else 0); 255 in the ground truth is background (but
object 1 if the ground truth holds only 0 and 255); labels are compared by id; data set numbers are means over all
objects of all sequences. DAVIS-2016 is the same with one object: every non-zero pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vos_zoo.files.lists import read_davis_list
from vos_zoo.labels import check_threshold
from vos_zoo.metrics.mask_pair import MaskPair
from vos_zoo.metrics.scoring import ObjectScores, SequenceScorer, object_ids_in
from vos_zoo.metrics.tables import text_table
from vos_zoo.types import LabelMap, UsageError, VOSError

SCORE_NAMES = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
"""The seven numbers of a data set, in the order of the official CSV file."""


@dataclass(frozen=True)
class SequenceScores:
    """Scores of one sequence.

    Attributes:
        name: name of the sequence.
        frames: names of the scored frames.
        objects: scores per object, by ascending id; empty if the ground truth has no object to score.
        dropped: dropped predicted labels, each with its number of frames.
    """

    name: str
    frames: tuple[str, ...]
    objects: tuple[ObjectScores, ...]
    dropped: dict[int, int]

    @property
    def scores(self) -> dict[str, float]:
        """The seven numbers over the objects of this sequence.

        Raises:
            VOSError: there is no object.
        """
        return mean_scores(self.objects, self.name)


@dataclass(frozen=True)
class DavisReport:
    """The result of `evaluate_davis`; `str()` of it is a table.

    Attributes:
        sequences: scores per sequence, in the order of the list.
        official: whether the official toolkit's bugs were reproduced.
        dropped_labels: whether unknown predicted labels were dropped (which changes the score).
    """

    sequences: tuple[SequenceScores, ...]
    official: bool = False
    dropped_labels: bool = False

    @property
    def objects(self) -> tuple[ObjectScores, ...]:
        """Scores of all objects of all sequences."""
        return tuple(scores for sequence in self.sequences for scores in sequence.objects)

    @property
    def scores(self) -> dict[str, float]:
        """The seven numbers (`SCORE_NAMES`), each a mean over all objects, not rounded.

        Raises:
            VOSError: there is no object.
        """
        return mean_scores(self.objects, "the data set")

    def csv_line(self) -> str:
        """The seven numbers with 3 decimals, as in the official toolkit's file of global results."""
        return ",".join(f"{value:.3f}" for value in self.scores.values())

    def csv(self) -> str:
        """Header and `csv_line`: the content of the official toolkit's file of global results."""
        return f"{','.join(SCORE_NAMES)}\n{self.csv_line()}\n"

    def objects_csv(self) -> str:
        """One line "sequence_id,J-Mean,F-Mean" per object with 3 decimals, with a header."""
        lines = (
            f"{scores.sequence}_{scores.object_id},{scores.region.mean:.3f},{scores.boundary.mean:.3f}"
            for scores in self.objects
        )
        return "\n".join(["Sequence,J-Mean,F-Mean", *lines, ""])

    def notes(self) -> list[str]:
        """Caveats: bugs reproduced, labels dropped."""
        notes = ["official=True: the official toolkit's bugs are reproduced"] if self.official else []
        if self.dropped_labels:
            found = [
                f"{sequence.name} label {label} ({count} frames)"
                for sequence in self.sequences
                for label, count in sequence.dropped.items()
            ]
            notes.append(f"drop_unknown_labels=True: {'; '.join(found) if found else 'no label had to be dropped'}")
        return notes

    def __str__(self) -> str:
        """Tables per object, per sequence and for the data set, with the notes."""
        objects = [(f"{one.sequence}_{one.object_id}", (one.mean, *one.region, *one.boundary)) for one in self.objects]
        sequences = [(one.name, tuple(one.scores.values())) for one in self.sequences if one.objects]
        tables = [
            text_table("Object", SCORE_NAMES, objects),
            text_table("Sequence", SCORE_NAMES, sequences),
            text_table("Data set", SCORE_NAMES, [(f"{len(objects)} objects", tuple(self.scores.values()))]),
        ]
        return "\n\n".join([*tables, *(f"Note: {note}" for note in self.notes())])


def mean_scores(objects: Sequence[ObjectScores], name: str = "the data set") -> dict[str, float]:
    """The seven DAVIS numbers: means over objects of mean, recall and decay of J and F, and J&F.

    Args:
        objects: scores per object, of any number of sequences.
        name: data set or sequence, for the message.

    Raises:
        VOSError: there is no object.
    """
    if not objects:
        raise VOSError(f"{name}: there is no object to score; check that the first ground truth shows the objects")
    region = np.mean([scores.region for scores in objects], axis=0).tolist()
    boundary = np.mean([scores.boundary for scores in objects], axis=0).tolist()
    return dict(zip(SCORE_NAMES, ((region[0] + boundary[0]) / 2, *region, *boundary), strict=True))


def score_sequence(
    name: str,
    frames: Sequence[str],
    prediction: Callable[[str], LabelMap],
    truth: Callable[[str], LabelMap],
    *,
    official: bool = False,
    drop_unknown_labels: bool = False,
    last_frame: bool = False,
) -> SequenceScores:
    """Score one sequence by the DAVIS rules; label maps are read one at a time.

    Args:
        name: name of the sequence.
        frames: names of all its frames in order; the first and the last are not scored.
        prediction: frame name -> label map, uint8 ``(H, W)``; not called for frames that are not scored.
        truth: frame name -> label map, uint8 ``(H, W)`` of ids 1..254, 0, and 255 for void (background); not called for
            the last frame.
        official: score the ids 1..K, K = highest label of the first frame, as the official toolkit does: gaps in the
            ids are scored as perfect, later objects above K are not scored and must not be predicted, and the
            decay overflows beyond 255 frames. By default every id that the ground truth shows before its last frame is
            scored, over the same frames, and no other.
        drop_unknown_labels: turn predicted labels that are not an object into background instead of raising an error.
        last_frame: score the last frame, too (VISOR).

    Raises:
        VOSError: no frame is left to score; a predicted label is not an object of the sequence.
    """
    scored = frames[1:] if last_frame else frames[1:-1]
    if not scored:
        left_out = "the first does" if last_frame else "the first and the last do"
        raise VOSError(
            f"sequence {name}: no frame is left to score, the ground truth has {len(frames)} frame(s) and {left_out} "
            "not count; give all of it (of test sets only first frames are public: use the server)"
        )
    scorer = SequenceScorer(name)
    first = truth(frames[0])
    scorer.introduce(first)
    for frame in scored:
        scorer.add(frame, prediction(frame), truth(frame))
    ids = range(1, max(object_ids_in(first), default=0) + 1) if official else sorted(scorer.truth_ids)
    if not drop_unknown_labels:
        scorer.check_labels(ids)
    dropped = {label: len(found) for label, found in scorer.unknown_labels(ids).items()}
    objects = tuple(scorer.scores_of(object_id, official=official) for object_id in ids)
    return SequenceScores(name, tuple(scorer.frames), objects, dropped)


def evaluate_davis(
    results_folder: str | Path,
    dataset_folder: str | Path,
    *,
    split: str = "val",
    year: int = 2017,
    resolution: str = "480p",
    sequences: Iterable[str] | None = None,
    single_object: bool | None = None,
    mask_threshold: int | None = None,
    official: bool = False,
    drop_unknown_labels: bool = False,
) -> DavisReport:
    """Score a folder of results on DAVIS as the official toolkit does (semi-supervised task).

    Args:
        results_folder: holds `<sequence>/<frame>.png`, palette or grey PNGs of object ids in the size of the ground
            truth (or of 0 and 255, if the ground truth has one object, id 1). The first and the last frame are not
            scored.
        dataset_folder: the DAVIS folder: `Annotations/<resolution>/<sequence>/<frame>.png` and
            `ImageSets/<year>/<split>.txt` (or the list of the 2016 archive, see `read_davis_list`).
        split: name of the list of sequences.
        year: 2017, or 2016 for one object per sequence.
        resolution: folder of the annotations.
        sequences: names of the sequences to score instead of a list.
        single_object: every non-zero pixel of ground truth and results is one object, in any channel; None means: for
            2016 only.
        mask_threshold: the smallest level, 1..255, of the one object of masks with soft edges, in ground truth and
            results; None reads ids, or with `single_object` any non-zero value.
        official: reproduce the official toolkit's bugs: ids 1..K of the first frame are scored, so that gaps in the
            ids count as perfect and objects with higher ids that come later are not scored and must not be predicted;
            the decay is wrong or NaN from 256 scored frames on. On DAVIS itself both settings give the same numbers.
            The default scores the ids that the ground truth shows (before its last frame) with the correct decay.
            Both score a late object from the second frame on, frames without it by the rule for empty ground truth; the
            commands `validate` and `test`, which know where each mask is given, score it from the frame after that.
        drop_unknown_labels: turn predicted labels that are not an object into background (with a note in the report)
            instead of stopping.

    Returns:
        The scores per object, per sequence and of the data set.

    Raises:
        UsageError: a folder or the list is missing.
        VOSError: a mask is missing, unreadable or of another size; a predicted label is not an object; nothing to
            score.
    """
    results, annotations = Path(results_folder), Path(dataset_folder) / "Annotations" / resolution
    for folder in (results, annotations):
        if not folder.is_dir():
            raise UsageError(f"{folder}: there is no such folder; give the folder of the results and the DAVIS folder")
    names = list(sequences) if sequences is not None else read_davis_list(dataset_folder, split, year, resolution)
    threshold = check_threshold(mask_threshold)
    if threshold is None and (year == 2016 if single_object is None else single_object):
        threshold = 1
    scored = tuple(
        _score_folder(results / name, annotations / name, threshold, official, drop_unknown_labels) for name in names
    )
    report = DavisReport(scored, official, drop_unknown_labels)
    mean_scores(report.objects, f"{Path(dataset_folder)} ({split} {year})")  # an empty data set is reported here
    return report


def _score_folder(
    results: Path, annotations: Path, threshold: int | None, official: bool, drop_unknown_labels: bool
) -> SequenceScores:
    for folder in (annotations, results):
        if not folder.is_dir():
            raise VOSError(f"{folder}: there is no such folder; sequence {folder.name} needs its masks there")
    pair = MaskPair(annotations, results, threshold)
    return score_sequence(
        annotations.name,
        pair.frames,
        pair.prediction,
        pair.truth,
        official=official,
        drop_unknown_labels=drop_unknown_labels,
    )
