"""What a session knows of a frame: the parts of both directions, what is given, and whether it is up to date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vos_zoo.session.blending import Blend, Side, blend
from vos_zoo.session.prompt_book import PackedMask
from vos_zoo.session.runner import DIRECTIONS, Runner
from vos_zoo.types import LabelMap


@dataclass(frozen=True)
class SessionResult:
    """What a session knows of a frame.

    Attributes:
        index: number of the frame.
        ids: objects, in the order of `probabilities`.
        labels: ids per pixel, uint8 ``(H, W)``, 0 = background.
        probabilities: float32 ``(N, H, W)``, without the background.
        given: ids of the objects that are given in this frame.
        stale: whether it depends on prompts that have changed since, or lacks an object.
        evidence: id -> numbers by name, see `vos_zoo.session.evidence`; of the direction with the larger share.
        forward_share: id -> share of the forward pass in the object's probability, 0..1.
        scores: id -> probability of being in sight, from methods that say so.
    """

    index: int
    ids: tuple[int, ...]
    labels: LabelMap
    probabilities: NDArray[np.float32]
    given: tuple[int, ...]
    stale: bool
    evidence: Mapping[int, Mapping[str, float]]
    forward_share: Mapping[int, float]
    scores: Mapping[int, float]

    def label_map(self) -> LabelMap:
        """The ids per pixel, uint8 ``(H, W)``."""
        return self.labels


class FrameReader:
    """Reads results of frames.

    Args:
        runner: of the session.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def result(self, frame: int) -> SessionResult | None:
        """What is known of a frame, see `Session.result`."""
        state, sides = self._runner.book.now, self._sides(frame)
        given = state.given.get(frame, {})
        masks = {key: g.hint.unpacked() for key, g in given.items() if isinstance(g.hint, PackedMask)}
        found = self._blend(sides)
        if found is None and not masks:
            return None
        stale = self.is_stale(frame)
        if found is None:
            size = self._runner.frames.size
            found = Blend((), np.zeros(size, np.uint8), np.zeros((0, *size), np.float32), ())
        found = _overlaid(masks, found) if masks else found
        ids = tuple(state.objects[key].identity for key in found.keys)
        shown = np.zeros(256, np.uint8)
        shown[list(found.keys)] = ids
        facts = [_facts(sides[1 if s >= 0.5 else -1], key) for key, s in zip(found.keys, found.shares, strict=True)]
        return SessionResult(
            frame,
            ids,
            shown[found.labels],
            found.probabilities,
            tuple(state.objects[key].identity for key in given),
            stale,
            {identity: evidence for identity, (evidence, _) in zip(ids, facts, strict=True)},
            dict(zip(ids, found.shares, strict=True)),
            {identity: score for identity, (_, score) in zip(ids, facts, strict=True) if score is not None},
        )

    def is_stale(self, frame: int) -> bool:
        """Whether a frame's result depends on other prompts than the current ones, or lacks an object."""
        state, runner = self._runner.book.now, self._runner
        if any(runner.is_outdated(each, frame) for each in DIRECTIONS):
            return True
        for key, info in state.objects.items():
            covering = [e for e in DIRECTIONS if runner.events(e).distance(frame, key) is not None]
            if covering and info.exists_in(frame) and not any(runner.is_fresh(each, frame) for each in covering):
                return True
        return False

    def mask(self, frame: int, key: int) -> NDArray[np.bool_] | None:
        """An object's mask ``(H, W)`` in a frame, given or found; None if nothing is known."""
        given = self._runner.book.now.given.get(frame, {}).get(key)
        if given is not None and isinstance(given.hint, PackedMask):
            return given.hint.unpacked()
        found = self._blend(self._sides(frame))
        return None if found is None or key not in found.keys else found.labels == key

    def _blend(self, sides: Mapping[int, Side | None]) -> Blend | None:
        return blend(sides[1], sides[-1]) if any(sides.values()) else None

    def _sides(self, frame: int) -> dict[int, Side | None]:
        """The usable part of each direction: fresh ones, or, where there is none, stale ones."""
        runner = self._runner
        fresh = {each: runner.is_fresh(each, frame) for each in DIRECTIONS}
        sides: dict[int, Side | None] = dict.fromkeys(DIRECTIONS)
        for each in DIRECTIONS:
            part = runner.store.get(each, frame) if fresh[each] or not any(fresh.values()) else None
            if part is not None:
                found = {key: runner.events(each).distance(frame, key) for key in part.keys}
                sides[each] = Side(part, {key: gap for key, gap in found.items() if gap is not None})
        return sides


def _overlaid(masks: Mapping[int, NDArray[np.bool_]], found: Blend) -> Blend:
    """Given masks over a result that does not know them yet, or has them at another resolution."""
    new = tuple(key for key in masks if key not in found.keys)
    keys, labels = found.keys + new, found.labels.copy()
    more = np.zeros((len(new), *labels.shape), np.float32)
    probabilities = np.concatenate([found.probabilities, more])
    for key, mask in masks.items():
        labels[(labels == key) & ~mask] = 0
        probabilities[:, mask] = 0
        probabilities[keys.index(key)] = mask
        labels[mask] = key
    return Blend(keys, labels, probabilities, found.shares + (1.0,) * len(new))


def _facts(side: Side | None, key: int) -> tuple[dict[str, float], float | None]:
    """Evidence and score of an object from a part."""
    if side is None or key not in side.part.keys:
        return {}, None
    row = side.part.keys.index(key)
    scores = side.part.scores
    evidence = {name: values[row] for name, values in side.part.evidence.items()}
    return evidence, None if scores is None else float(scores[row])
