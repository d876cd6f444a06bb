"""A local estimate of the YouTube-VOS score G, on folders of palette PNGs with public ground truth.

The organisers state: J and F as in DAVIS, averaged over the objects of seen and of unseen categories, G = mean of the
four numbers. The server's code and the ground truth of valid and test are not public, and which frames of an object it
omits is not confirmed; hence "estimate", and the option that selects the frames.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from vos_zoo.files.lists import read_meta
from vos_zoo.files.names import natural_key
from vos_zoo.metrics.mask_pair import MaskPair
from vos_zoo.metrics.scoring import ObjectScores, SequenceScorer, object_ids_in
from vos_zoo.metrics.tables import text_table
from vos_zoo.types import LabelMap, UsageError, VOSError

ScoredFrames = Literal["first_frame_excluded", "first_and_last_excluded", "nothing_excluded"]
"""Which annotated frames of an object are scored: all after its first one (whose mask is given); these without the last
annotated frame of the video (as DAVIS does); or the first one too."""

_SEEN = """
airplane ape bear bike bird boat bucket bus camel cat cow crocodile deer dog dolphin duck eagle earless_seal elephant
fish fox frisbee frog giant_panda giraffe hand hat hedgehog horse knife leopard lion lizard monkey motorbike mouse
others owl paddle parachute parrot penguin person plant rabbit raccoon sedan shark sheep sign skateboard snail snake
snowboard squirrel surfboard tennis_racket tiger toilet train truck turtle umbrella whale zebra
"""
SEEN_CATEGORIES = frozenset(_SEEN.split())
"""The 65 categories of the training set; every other category is unseen."""

_GROUPS = (("J_seen", "J", True), ("F_seen", "F", True), ("J_unseen", "J", False), ("F_unseen", "F", False))


@dataclass(frozen=True)
class YouTubeReport:
    """The result of `evaluate_youtube_vos`; `str()` of it is a table.

    Attributes:
        objects: scores per object.
        categories: category per (video, object id).
        seen_categories: the categories that count as seen.
        frames: which frames of an object were scored.
        dropped: (video, label) -> number of frames in which a label that is not an object was dropped; None if dropping
            was not allowed.
        unscored: (video, object id) of objects without a frame to score.
    """

    objects: tuple[ObjectScores, ...]
    categories: Mapping[tuple[str, int], str]
    seen_categories: frozenset[str]
    frames: ScoredFrames
    dropped: Mapping[tuple[str, int], int] | None = None
    unscored: tuple[tuple[str, int], ...] = ()

    def is_seen(self, scores: ObjectScores) -> bool:
        """Whether the object's category is in the training set."""
        return self.categories[scores.sequence, scores.object_id] in self.seen_categories

    @property
    def scores(self) -> dict[str, float]:
        """`J_seen`, `F_seen`, `J_unseen`, `F_unseen` (means over objects) and their mean `G`, 0..1, not rounded.

        A group without objects has no entry, and `G` is then the mean of the others (see `notes`).
        """
        groups = {}
        for name, measure, seen in _GROUPS:
            means = [float(np.mean(getattr(one, measure))) for one in self.objects if self.is_seen(one) == seen]
            if means:
                groups[name] = float(np.mean(means))
        return {**groups, "G": float(np.mean(list(groups.values())))}

    def notes(self) -> list[str]:
        """Caveats for readers of the numbers."""
        notes = [f"G is a local estimate (frames: {self.frames}); the server's code is not public"]
        for group in ("a seen", "an unseen"):
            if f"J_{group.split()[1]}" not in self.scores:
                notes.append(f"no object has {group} category; G is the mean of the other two numbers")
        if self.dropped is not None:
            found = [f"{video} label {label} ({count} frames)" for (video, label), count in self.dropped.items()]
            notes.append(f"drop_unknown_labels=True: {'; '.join(found) if found else 'no label had to be dropped'}")
        if self.unscored:
            notes.append("no frame to score: " + ", ".join(f"{video}/{number}" for video, number in self.unscored))
        return notes

    def __str__(self) -> str:
        """Tables per object and for the data set, with the notes."""
        rows = [
            (f"{one.sequence}/{one.object_id} ({self.categories[one.sequence, one.object_id]})", _means(one))
            for one in self.objects
        ]
        scores = self.scores
        tables = [
            text_table("Object", ("J&F", "J", "F"), rows),
            text_table("Data set", tuple(scores), [(f"{len(self.objects)} objects", tuple(scores.values()))]),
        ]
        return "\n\n".join([*tables, *(f"Note: {note}" for note in self.notes())])


@dataclass
class ListedVideo:
    """The state of one video of `meta.json` during scoring.

    Attributes:
        name: its name.
        first_listed: object id -> its first listed frame.
        frames: all listed frames, in order.
        scorer: holds the scores.
        scored: object id -> frames that count.
    """

    name: str
    first_listed: dict[int, str]
    frames: list[str]
    scorer: SequenceScorer = field(init=False)
    scored: dict[int, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.scorer = SequenceScorer(self.name)
        self.scored = {object_id: [] for object_id in self.first_listed}

    def score(
        self, prediction: Callable[[str], LabelMap], truth: Callable[[str], LabelMap], which: ScoredFrames
    ) -> None:
        """Score all frames; a frame in which nothing is scored needs no prediction."""
        started: set[int] = set()
        for frame in self.frames:
            labels = truth(frame)
            # Some objects are listed before a single pixel of them is visible: they start where the ground truth shows
            # them.
            visible = object_ids_in(labels)
            listed = {one for one, first in self.first_listed.items() if natural_key(first) <= natural_key(frame)}
            new = listed.intersection(visible) - started
            due = started | new if which == "nothing_excluded" else set(started)
            started |= new
            if not due or (which == "first_and_last_excluded" and frame == self.frames[-1]):
                continue
            self.scorer.add(frame, prediction(frame), labels, due)
            for object_id in due:
                self.scored[object_id].append(frame)


def evaluate_youtube_vos(
    results_folder: str | Path,
    dataset_folder: str | Path,
    *,
    frames: ScoredFrames = "first_frame_excluded",
    videos: Iterable[str] | None = None,
    seen_categories: Collection[str] | None = None,
    drop_unknown_labels: bool = False,
) -> YouTubeReport:
    """Estimate the YouTube-VOS score G of a folder of results against known ground truth, e.g. a training split.

    Args:
        results_folder: holds `<video>/<frame>.png`, with or without the top folder `Annotations` of an archive. Frames
            that are not annotated are not read.
        dataset_folder: holds `meta.json` and `Annotations/<video>/<frame>.png`. A video's annotated frames are those
            that `meta.json` lists for any of its objects.
        frames: which frames of an object are scored, from its first listed frame whose mask shows it: all after that
            one (default), these without the video's last annotated frame, or that one too. A frame without the object
            scores as in DAVIS: 1 if the prediction is empty too, else 0.
        videos: names of the videos to score; None takes all of `meta.json`.
        seen_categories: the categories of the training data; None takes the 65 of YouTube-VOS.
        drop_unknown_labels: turn predicted labels that are not an object of the video into background (with a note in
            the report) instead of stopping.

    Returns:
        Scores per object and the four means with G.

    Raises:
        UsageError: a folder or `meta.json` is missing, the latter is of another form, a video is not in it, or `frames`
            is unknown.
        VOSError: a mask is missing, unreadable or of another size; a predicted label is no object; nothing to score.
    """
    if frames not in get_args(ScoredFrames):
        raise UsageError(f"frames: {frames!r} is unknown; choose one of {', '.join(get_args(ScoredFrames))}")
    results, dataset = Path(results_folder), Path(dataset_folder)
    results = results / "Annotations" if (results / "Annotations").is_dir() else results
    meta = read_meta(dataset / "meta.json")
    if not results.is_dir():
        raise UsageError(f"{results}: there is no such folder; give the folder with the results")
    objects: list[ObjectScores] = []
    unscored: list[tuple[str, int]] = []
    dropped: dict[tuple[str, int], int] = {}
    for name in meta if videos is None else videos:
        video = listed_video(name, meta, dataset / "meta.json")
        pair = MaskPair(dataset / "Annotations" / name, results / name)
        video.score(pair.prediction, pair.truth, frames)
        if not drop_unknown_labels:
            video.scorer.check_labels(video.scored)
        unknown = video.scorer.unknown_labels(video.scored)
        dropped.update({(name, label): len(found) for label, found in unknown.items()})
        for object_id, scored in video.scored.items():
            if scored:
                objects.append(video.scorer.scores_of(object_id, scored))
            else:
                unscored.append((name, object_id))
    if not objects:
        raise VOSError(f"{dataset}: there is no object to score; check meta.json, the masks and the choice of videos")
    categories = {
        (one.sequence, one.object_id): str(meta[one.sequence]["objects"][str(one.object_id)].get("category", ""))
        for one in objects
    }
    seen = SEEN_CATEGORIES if seen_categories is None else frozenset(seen_categories)
    return YouTubeReport(
        tuple(objects), categories, seen, frames, dropped if drop_unknown_labels else None, tuple(unscored)
    )


def listed_video(name: str, meta: Mapping[str, Any], path: str | Path) -> ListedVideo:
    """A video of the entry 'videos' of a meta file.

    Raises:
        UsageError: it is not in there, or its entry has another form; `path` names the file.
    """
    if name not in meta:
        raise UsageError(f"{path}: there is no video {name!r}; take a name that it lists")
    try:
        listed = {int(one): sorted(entry["frames"], key=natural_key) for one, entry in meta[name]["objects"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: video {name!r} is not {{'objects': {{ID: {{'frames': [...]}}}}}} ({error!r})"
        ) from error
    frames = sorted({frame for names in listed.values() for frame in names}, key=natural_key)
    return ListedVideo(name, {one: names[0] for one, names in sorted(listed.items()) if names}, frames)


def _means(scores: ObjectScores) -> tuple[float, float, float]:
    return scores.mean, scores.region.mean, scores.boundary.mean
