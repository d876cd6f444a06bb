"""Which masks of a session to correct next: by expected IoU, and by the agreement of both directions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from vos_zoo.session.reading import FrameReader
from vos_zoo.session.results import Part
from vos_zoo.session.runner import Runner
from vos_zoo.suggestions import Curve, Suggestion, combine, suggest


def suggest_corrections(
    runner: Runner,
    length: int,
    given: Mapping[int, Sequence[int]],
    count: int,
    frames: Collection[int] | None = None,
    together: bool = False,
) -> list[Suggestion]:
    """The masks whose correction is expected to help most, the best first; see `Session.suggest`.

    Args:
        runner: of the session.
        length: frames of the video.
        given: frame -> ids of the objects that are given in it.
        count: how many.
        frames: frames that may be suggested; None: all.
        together: see `vos_zoo.suggestions.suggest`.
    """
    reader, objects = FrameReader(runner), runner.book.now.objects
    expected: dict[int, Curve] = {}
    agreement: dict[int, Curve] = {}
    for frame in range(length):
        result = reader.result(frame)
        for identity, evidence in ({} if result is None else result.evidence).items():
            curve = expected.setdefault(identity, np.full(length, np.nan))
            curve[frame] = evidence.get("expected_iou", np.nan)
        for key, overlap in agreement_of(runner.store.get(1, frame), runner.store.get(-1, frame)).items():
            if key in objects:
                agreement.setdefault(objects[key].identity, np.full(length, np.nan))[frame] = overlap
    unknown = np.full(length, np.nan)
    quality = {
        identity: combine(curve, {"directions": agreement.get(identity, unknown)})
        for identity, curve in expected.items()
    }
    fixed = {identity: [frame for frame, ids in given.items() if identity in ids] for identity in quality}
    return suggest(quality, count, given=fixed, candidates=frames, together=together)


def agreement_of(forward: Part | None, backward: Part | None) -> dict[int, float]:
    """IoU of the masks of both directions by key, of the objects that both have; 1 where both are empty."""
    if forward is None or backward is None:
        return {}
    found = {}
    for key in set(forward.keys) & set(backward.keys):
        ours, theirs = forward.labels == key, backward.labels == key
        union = np.count_nonzero(ours | theirs)
        found[key] = np.count_nonzero(ours & theirs) / union if union else 1.0
    return found
