"""Confidence: what probabilities and evidence say of each object, and the flags made of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.contract_settings import build_lively, moving_squares
from vos_zoo.engine.confidence import SIGNS, Calibration, measure
from vos_zoo.engine.confidence_meter import ConfidenceMeter
from vos_zoo.engine.evidence import cover, matching_margin
from vos_zoo.types import UsageError

SIDE = 24


def square(probability: float, side: int = 12) -> Tensor:
    """Background and one object that has this probability in a square of `side` pixels, and none elsewhere."""
    own = torch.zeros(SIDE, SIDE)
    own[:side, :side] = probability
    return torch.stack([1 - own, own])


def signs(**values: float) -> dict[str, Tensor]:
    """The signs of one object; those not named are neutral."""
    neutral = {"soft_iou": 0.5, "border": 0.0, "shrink": 0.0, "evidence": math.nan}
    return {name: torch.tensor([value]) for name, value in {**neutral, **values}.items()}


def test_the_soft_iou_of_a_square_is_its_probability_and_its_certainty_twice_that_minus_one() -> None:
    found = measure(square(0.8), torch.tensor([36.0]))
    assert found["soft_iou"].item() == pytest.approx(0.8)
    assert found["inside"].item() == pytest.approx(0.6)
    assert found["border"].item() == pytest.approx(0.8, abs=0.01), "half the border is background, which is certain"
    assert found["shrink"].item() == 0 and math.isnan(found["evidence"].item())


def test_a_mask_of_a_quarter_of_the_given_area_has_shrunk_by_the_logarithm_of_that() -> None:
    found = measure(square(1.0, side=12), torch.tensor([4 * 36 + 3.0]))
    assert found["shrink"].item() == pytest.approx(math.log(1 / 4), abs=1e-3)


def test_probability_outside_of_the_mask_lowers_the_soft_iou() -> None:
    doubtful = square(0.9)
    doubtful[1, 12:, 12:] = 0.4
    doubtful[0] = 1 - doubtful[1]
    assert measure(doubtful, torch.tensor([36.0]))["soft_iou"] < measure(square(0.9), torch.tensor([36.0]))["soft_iou"]


def test_an_empty_mask_is_expected_to_be_wrong() -> None:
    found = measure(square(0.0), torch.tensor([36.0]))
    assert all(found[name].item() == 0 for name in ("soft_iou", "inside", "border"))
    assert Calibration().expected_iou(found).item() < 0.05


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SIGNS), st.floats(0.01, 0.98), st.floats(0.0, 3.0))
def test_the_expected_iou_falls_with_no_sign(name: str, value: float, weight: float) -> None:
    calibration = Calibration({"soft_iou": 1.0, name: weight}, evidence=(0.5, 0.2))
    low, high = (calibration.expected_iou(signs(**{name: v})).item() for v in (value, value + 0.01))
    assert 0 <= low <= high <= 1


def test_without_calibration_the_expected_iou_is_the_soft_iou_and_needs_no_evidence() -> None:
    assert Calibration().expected_iou(signs(soft_iou=0.7)).item() == pytest.approx(0.7)
    weighed = Calibration({"soft_iou": 1.0, "evidence": 2.0})
    assert weighed.expected_iou(signs(soft_iou=0.7)).item() == pytest.approx(0.7), "no evidence is neutral evidence"


def test_an_object_is_lost_below_one_threshold_found_above_the_other_and_then_reappeared() -> None:
    meter = ConfidenceMeter(Calibration(lost=0.4, found=0.6))
    meter.start([3], torch.ones(1, SIDE, SIDE))
    flags = [meter.read((3,), square(p), None) for p in (0.9, 0.55, 0.0, 0.55, 0.9, 0.9)]
    assert [bool(each.lost) for each in flags] == [False, False, True, True, False, False]
    assert [bool(each.reappeared) for each in flags] == [False, False, False, False, True, False]


def test_a_given_mask_is_certain_and_ends_being_lost() -> None:
    meter = ConfidenceMeter()
    meter.start([3], torch.ones(1, SIDE, SIDE))
    assert bool(meter.read((3,), square(0.0), None).lost)
    meter.start([3], square(1.0)[1:])
    found = meter.read((3,), square(0.9), None, given=[3])
    assert (found.expected_iou.item(), bool(found.lost), bool(found.reappeared)) == (1.0, False, False)


def test_a_calibration_is_read_as_it_was_saved_and_a_broken_one_is_named(tmp_path: Path) -> None:
    calibration, path = Calibration({"soft_iou": 0.9, "shrink": 0.2}, -0.1, (3.0, 2.0), 0.3, 0.4), tmp_path / "c.json"
    assert Calibration.load(path) == Calibration(), "there is none yet"
    path.write_text(calibration.to_json())
    assert Calibration.load(path) == calibration
    path.write_text('{"weights": {"soft_iou": -1}, "bias": 0, "evidence": [0, 1], "lost": 0.3, "found": 0.4}')
    with pytest.raises(UsageError, match=r"c\.json: is not a calibration"):
        Calibration.load(path)


def test_calibrated_weights_keep_their_calibration_when_saved_and_lose_it_in_training(tmp_path: Path) -> None:
    from vos_zoo.model import VOSModel

    model = build_lively("pcvos")
    model.calibration = Calibration({"soft_iou": 0.9}, 0.2)
    model.save_pretrained(tmp_path)
    again = VOSModel.from_pretrained(tmp_path)
    assert again.calibration == model.calibration
    assert again.propagator().meter.calibration == model.calibration
    again.setup("fit")
    assert again.calibration == Calibration()


def test_confidence_does_not_depend_on_which_frames_are_wanted() -> None:
    model, video = build_lively("pcvos"), moving_squares(7)
    prompts = {0: video.only(1), 3: video.only(2, frame=3)}
    everything = {r.index: r.confidence for r in model.track(video.frames, prompts)}
    for result in model.track(video.frames, prompts, output_frames=[1, 5, 6]):
        whole, part = everything[result.index], result.confidence
        assert whole is not None and part is not None
        for name in ("expected_iou", "shrink", "evidence"):
            torch.testing.assert_close(getattr(part, name), getattr(whole, name), equal_nan=True, rtol=0, atol=1e-5)


def test_confidence_beside_a_given_mask_is_the_predictions_at_any_size_of_the_network() -> None:
    model, video, corner = build_lively("pcvos"), moving_squares(4), np.zeros((64, 96), np.uint8)
    corner[-4:, -4:] = 2
    prompts = {0: video.only(1)}, {0: video.only(1), 3: corner}
    alone, joined = (list(model.track(video.frames, given, short_edge=48))[3].confidence for given in prompts)
    assert alone is not None and joined is not None
    torch.testing.assert_close(joined.soft_iou[0], alone.soft_iou[0], rtol=0, atol=0.02)


def test_the_matching_margin_is_the_similarity_to_the_object_minus_that_to_its_surroundings() -> None:
    given = torch.tensor([[1.0, 0.6, 0.2, 0.0]])
    similarities = torch.tensor([[3.0, 5.0, 1.0, 2.0], [0.0, 1.0, 4.0, 2.0], [9.0, 0.0, 0.0, 0.0]])
    frames = torch.tensor([[[0.9, 0.0, 0.0]], [[0.75, 0.75, 0.0]], [[0.0, 0.2, 0.0]]])
    margins = matching_margin(similarities.expand(3, -1, -1), given, frames)
    assert margins[0].item() == pytest.approx(3.0)
    assert margins[1].item() == pytest.approx((3.0 - 3.0) / 2)
    assert margins[2].item() == pytest.approx(-3.0), "where no position is covered by half, all that is covered counts"


@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (1, 1, 0, 0), (0, 1, 1, 2)])
def test_what_masks_cover_of_each_cell_is_that_of_padded_masks(margins: tuple[int, int, int, int]) -> None:
    assert torch.equal(cover(torch.ones(1, 4, 4).tril()[None], 2), torch.tensor([[[0.75, 0.0, 1.0, 0.75]]]))
    left, right, top, bottom = margins
    masks = torch.rand(2, 3, 8 - top - bottom, 12 - left - right)
    padded = torch.nn.functional.pad(masks, margins)
    cells = padded.unflatten(-1, (3, 4)).unflatten(-3, (2, 4)).mean(dim=(-1, -3))
    torch.testing.assert_close(cover(masks, 4, margins), cells.flatten(-2))
