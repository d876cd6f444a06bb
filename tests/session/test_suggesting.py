"""Which masks of a session to correct next."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.contract_settings import Video
from vos_zoo.model import VOSModel
from vos_zoo.session.results import Part
from vos_zoo.session.suggesting import agreement_of
from vos_zoo.types import UsageError


def test_a_session_suggests_masks_that_are_not_given_and_others_once_they_are(model: VOSModel, video: Video) -> None:
    session = model.session(video.frames)
    session.give(0, video.labels[0])
    assert session.suggest(2) == [], "nothing was run yet"
    session.run()
    found = session.suggest(3)
    assert found and all(each.frame != 0 and each.object in (1, 2) for each in found)
    best = found[0]
    session.give(best.frame, video.labels[best.frame] == best.object, object=best.object)
    session.run()
    assert all((each.frame, each.object) != (best.frame, best.object) for each in session.suggest(3))
    with pytest.raises(UsageError, match="suggest: 0 masks"):
        session.suggest(0)


def test_the_agreement_of_both_directions_is_the_iou_of_their_masks() -> None:
    ours, theirs = np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.uint8)
    ours[0], theirs[:, :2] = 5, 5
    levels = np.zeros((2, 2, 4), np.uint8)
    forward, backward = Part((5, 6), ours, levels), Part((5, 6), theirs, levels)
    assert agreement_of(forward, backward) == {5: pytest.approx(2 / 6), 6: 1.0}
    assert agreement_of(forward, None) == {}
