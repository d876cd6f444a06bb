"""Sessions of the contract tests: what is given in them, and their comparison to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.helpers.contract_settings import Video
from vos_zoo.model import VOSModel
from vos_zoo.session.session import Session
from vos_zoo.session.state_tree import Flattened
from vos_zoo.types import FrameResult

LENGTH = 12


def annotated(model: VOSModel, video: Video, folder: Path | None = None, **options: Any) -> Session:
    """A session in which two objects are given, both are corrected, one with a restart, and one comes back later."""
    session = model.session(video.frames, folder, checkpoint_every=0, **options)
    session.give(2, video.labels[2])
    session.give(5, video.labels[5] == 1, object=1)
    session.give(8, video.labels[8])
    session.give(8, video.labels[8] == 2, object=2, restart=True)
    return session


def run_session(session: Session, start: int, stop: int, direction: int) -> dict[int, FrameResult]:
    """The last result of each frame."""
    found: dict[int, FrameResult] = {}
    session.run(start, stop, direction, lambda result: found.__setitem__(result.index, result))
    return found


def state_of(session: Session) -> list[tuple[Any, Any]]:
    """Tree and tensors of every pass."""
    flat = [Flattened(own.state()) for own in session._runner.passes.values()]
    return [(own.tree, own.tensors) for own in flat]


def assert_same(ours: Session, theirs: Session) -> None:
    """Results on disk and states of the passes are equal to the bit."""
    for direction in (1, -1):
        for frame in range(LENGTH):
            a, b = ours.part(frame, direction), theirs.part(frame, direction)
            assert (a is None) == (b is None), (direction, frame)
            if a is not None and b is not None:
                assert a.keys == b.keys and a.evidence == b.evidence, (direction, frame)
                assert np.array_equal(a.labels, b.labels) and np.array_equal(a.probabilities, b.probabilities)
    for (_, a), (_, b) in zip(state_of(ours), state_of(theirs), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype and torch.equal(a[name], b[name])
