"""Post-processing of results: specks, the nearest component, holes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.helpers.contract_settings import build_lively, moving_squares
from vos_zoo.engine.smoothing import Smoother
from vos_zoo.engine.track_settings import TrackSettings
from vos_zoo.types import FrameResult, UsageError


def planes(labels: NDArray[np.uint8], objects: int = 1) -> Tensor:
    """Probabilities ``(N+1, H, W)`` that prefer these labels."""
    chosen = torch.from_numpy(labels).long()[None] == torch.arange(objects + 1)[:, None, None]
    return torch.where(chosen, 0.7, 0.3 / objects)


def smoothed(labels: NDArray[np.uint8], *steps: str, objects: int = 1, **sizes: float) -> NDArray[np.uint8]:
    smoother = Smoother(TrackSettings(smooth=steps, **{"smooth_size": 10, **sizes}))
    return shown(smoother(range(1, objects + 1), planes(labels, objects)), objects)


def shown(probabilities: Tensor, objects: int = 1) -> NDArray[np.uint8]:
    torch.testing.assert_close(probabilities.sum(0), torch.ones(probabilities.shape[1:]))
    return FrameResult(0, tuple(range(1, objects + 1)), probabilities).label_map()


def scene() -> NDArray[np.uint8]:
    """A square of 144 pixels with a hole of 4, a speck of 4 pixels, and a part of 36."""
    labels = np.zeros((40, 40), np.uint8)
    labels[4:16, 4:16] = 1
    labels[8:10, 8:10] = 0
    labels[30:32, 4:6] = 1
    labels[28:34, 28:34] = 1
    return labels


def test_specks_below_the_size_go_and_larger_parts_stay() -> None:
    expected = scene()
    expected[30:32, 4:6] = 0
    assert np.array_equal(smoothed(scene(), "specks"), expected)


def test_an_object_that_is_smaller_than_a_speck_keeps_its_largest_part() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[2:4, 2:4] = labels[10, 10] = 1
    expected = labels.copy()
    expected[10, 10] = 0
    assert np.array_equal(smoothed(labels, "specks"), expected)


def test_holes_are_filled_if_the_object_alone_surrounds_them() -> None:
    expected = scene()
    expected[8:10, 8:10] = 1
    assert np.array_equal(smoothed(scene(), "holes"), expected)
    assert np.array_equal(smoothed(scene(), "holes", smooth_holes=0.02), scene()), "4 pixels are more than 2 % of 180"
    between = scene()
    between[8, 7] = 2  # the hole now touches a second object
    assert np.array_equal(smoothed(between, "holes", objects=2), between)
    border = np.ones((12, 12), np.uint8)
    border[0, 4] = 0
    assert np.array_equal(smoothed(border, "holes"), border), "a gap at the frame's border is no hole"


def followed(before: tuple[slice, slice]) -> NDArray[np.uint8]:
    """The scene with "nearest", after a mask that fills `before`."""
    smoother, last = Smoother(TrackSettings(smooth=("nearest",))), np.zeros((40, 40), np.uint8)
    last[before] = 1
    smoother((1,), planes(last))
    return shown(smoother((1,), planes(scene())))


def test_components_farther_from_the_last_mask_than_its_side_go() -> None:
    expected = np.zeros((40, 40), np.uint8)
    expected[28:34, 28:34] = 1
    assert np.array_equal(followed(np.s_[26:32, 26:32]), expected), "6 pixels are the reach"
    assert np.array_equal(followed(np.s_[16:31, 16:31]), scene()), "15 pixels reach all"


def test_the_nearest_component_stays_however_far_it_is() -> None:
    assert np.array_equal(followed(np.s_[39:, 0:1])[:20], np.zeros((20, 40), np.uint8))
    assert followed(np.s_[39:, 0:1])[30:32, 4:6].all()


def test_a_given_mask_is_not_changed() -> None:
    smoother = Smoother(TrackSettings(smooth=("specks", "nearest", "holes")))
    assert np.array_equal(shown(smoother((1,), planes(scene()), given=(1,))), scene())


@pytest.mark.parametrize("wrong", [{"smooth": ("specs",)}, {"smooth": "specks"}, {"smooth_size": 0}])
def test_a_wrong_setting_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"track\.smooth"):
        TrackSettings(**wrong)  # type: ignore[arg-type]


def test_smoothing_changes_results_but_not_what_is_tracked() -> None:
    model, video = build_lively("pcvos"), moving_squares(6)
    plain = list(model.track(video.frames, {0: video.labels[0]}))
    smooth = list(model.track(video.frames, {0: video.labels[0]}, smooth=["specks", "holes"], smooth_size=30))
    assert any(not np.array_equal(a.label_map(), b.label_map()) for a, b in zip(plain, smooth, strict=True))
    again = Smoother(model.track_settings(smooth=["specks", "holes"], smooth_size=30))
    for before, after in zip(plain, smooth, strict=True):
        given = before.ids if before.index == 0 else ()
        assert torch.equal(again(before.ids, before.probabilities, given), after.probabilities)
