"""Objects that start from boxes, with weights that take none: a shipped model draws their first masks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.contract_settings import BY_METHOD, Video, build, build_lively, moving_squares
from tests.helpers.shipped import ship_into, ship_small
from vos_zoo.cli import main
from vos_zoo.engine.box_start import BoxModel
from vos_zoo.engine.merge import MergeRule
from vos_zoo.model import VOSModel
from vos_zoo.types import UsageError
from vos_zoo.video.masks import read_mask

VIDEO = moving_squares(7)
BOXES = {1: (5.0, 6.0, 20.0, 22.0), 7: (37.0, 15.0, 20.0, 22.0)}
METHODS = sorted(BY_METHOD)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped weights, empty."""
    ship_into(tmp_path / "shipped", monkeypatch)
    return tmp_path / "shipped"


@pytest.fixture
def drawn(place: Path, tmp_path: Path) -> VOSModel:
    """A shipped model that draws masks from boxes, and finds something in them."""
    ship_small("lwl", tmp_path / "boxes", "box-small", boxes=True)
    return VOSModel.from_pretrained("box-small")


def masks_of(model: VOSModel, frame: int, boxes: Mapping[int, Any] = BOXES) -> np.ndarray:
    """The label map that a model's own box encoder draws, uint8 ``(H, W)``."""
    return BoxModel("x", "y", model.network).draw(VIDEO.frames[frame], boxes, torch.device("cpu"))


def probabilities(model: VOSModel, prompts: Mapping[int, Any], video: Video = VIDEO) -> list[Tensor]:
    return [result.probabilities for result in model.track(video.frames, prompts)]


@pytest.mark.parametrize("method", METHODS)
def test_tracking_from_a_box_is_tracking_from_the_mask_that_the_shipped_model_draws_in_it(
    method: str, drawn: VOSModel
) -> None:
    model, labels = build_lively(method), masks_of(drawn, 0)
    assert set(np.unique(labels)) == {0, 1, 7}
    from_boxes, from_masks = probabilities(model, {0: BOXES}), probabilities(model, {0: labels})
    assert len(from_boxes) == len(VIDEO.frames)
    for one, other in zip(from_boxes, from_masks, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_a_late_box_is_a_late_mask(method: str, drawn: VOSModel) -> None:
    model, late = build_lively(method), {9: (30.0, 20.0, 24.0, 18.0)}
    from_box = probabilities(model, {0: VIDEO.only(1), 4: late})
    from_mask = probabilities(model, {0: VIDEO.only(1), 4: masks_of(drawn, 4, late)})
    assert [len(each) for each in from_box] == [2] * 4 + [3] * 3
    for one, other in zip(from_box, from_mask, strict=True):
        assert torch.equal(one, other)


def test_weights_with_a_box_encoder_use_their_own(place: Path, tmp_path: Path, caplog: Any) -> None:
    model = build_lively("lwl", box_encoder=True)
    alone = probabilities(model, {0: BOXES})
    ship_small("lwl", tmp_path / "boxes", "box-small", boxes=True)
    again = build_lively("lwl", box_encoder=True)
    for one, other in zip(alone, probabilities(again, {0: BOXES}), strict=True):
        assert torch.equal(one, other)
    assert again._box_model is None and not caplog.records


def test_one_line_says_which_model_draws(drawn: VOSModel, caplog: pytest.LogCaptureFixture) -> None:
    model = build_lively("joint")
    with caplog.at_level(logging.WARNING):
        probabilities(model, {0: VIDEO.only(1), 2: {7: BOXES[7]}, 4: {8: BOXES[1]}})
    (record,) = caplog.records
    assert record.getMessage() == (
        "these weights take no boxes: box-small (licence cc-by-nc-4.0) draws the first mask in each box"
    )


def test_the_model_that_draws_is_loaded_once_and_is_no_part_of_the_other(drawn: VOSModel) -> None:
    model = build_lively("joint")
    names = set(model.state_dict())
    engine = model.propagator()
    assert engine.boxes.drawn_by is None
    engine.push(VIDEO.frames[0], BOXES)
    other = model.propagator()
    other.push(VIDEO.frames[0], BOXES)
    assert engine.boxes.drawn_by is other.boxes.drawn_by is not None
    assert engine.boxes.drawn_by.name == "box-small" and not engine.boxes.drawn_by.network.training
    assert set(model.state_dict()) == names and len(list(model.children())) == 1


@pytest.mark.parametrize("prompts", [{0: BOXES}, {0: VIDEO.only(1), 5: {7: BOXES[7]}}], ids=["first", "late"])
def test_without_a_shipped_box_model_a_box_is_refused_before_the_work_begins(place: Path, prompts: Any) -> None:
    model, read = build_lively("joint"), []

    def frames() -> Any:
        for t, frame in enumerate(VIDEO.frames):
            read.append(t)
            yield frame

    with pytest.raises(UsageError, match="masks, not boxes; give --mask, or use weights with a box encoder"):
        list(model.track(frames(), prompts))
    assert read == []


def test_shipped_weights_without_a_box_encoder_draw_nothing(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "masks")
    with pytest.raises(UsageError, match="masks, not boxes"):
        probabilities(build_lively("joint"), {0: BOXES})


class FindsNothing(torch.nn.Module):
    """A box model that says background everywhere, or only one object."""

    merging = MergeRule()

    def __init__(self, found: int | None = None) -> None:
        super().__init__()
        self.found = found

    def box_logits(self, frame: Tensor, boxes: Tensor) -> Tensor:
        logits = frame.new_full((len(boxes), *frame.shape[-2:]), -9.0)
        if self.found is not None:
            logits[self.found, 10:20, 10:20] = 9.0
        return logits


def test_an_object_that_is_not_found_is_its_whole_box_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    boxes = {3: (9.0, 9.0, 12.0, 12.0), 5: (90.5, -4.0, 30.0, 10.5)}
    model = BoxModel("box-small", "x", FindsNothing(found=0))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        labels = model.draw(VIDEO.frames[0], boxes, torch.device("cpu"))
    assert (labels == 3).sum() == 100 and (labels[10:20, 10:20] == 3).all()
    assert (labels == 5).sum() == 7 * 6 and (labels[:7, 90:] == 5).all()
    assert [r.getMessage() for r in caplog.records] == [
        "box-small finds nothing in the box of object 5: its whole box is taken"
    ]


def test_a_wrong_box_is_refused_and_nothing_is_lost(drawn: VOSModel) -> None:
    model = build_lively("joint")
    engine, untouched = model.propagator(), model.propagator()
    for own in (engine, untouched):
        own.push(VIDEO.frames[0], VIDEO.labels[0])
    with pytest.raises(UsageError, match="the box is empty"):
        engine.push(VIDEO.frames[1], {9: (1, 1, -5, 5)})
    for frame in VIDEO.frames[1:4]:
        pairs = zip(engine.push(frame), untouched.push(frame), strict=True)
        assert all(torch.equal(a.probabilities, b.probabilities) for a, b in pairs)


def test_the_command_line_starts_any_weights_from_boxes(
    drawn: VOSModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from vos_zoo.video.panels import write_picture

    for t, frame in enumerate(VIDEO.frames):
        write_picture(tmp_path / "frames" / f"{t:05d}.png", frame)
    build("pcvos").eval().save_pretrained(tmp_path / "pcvos")
    words = ["track", str(tmp_path / "frames"), "--weights", str(tmp_path / "pcvos"), "--output", str(tmp_path / "out")]
    assert main([*words, "--box", "1:5,6,20,22", "--box", "7:37,15,20,22"]) == 0
    assert "first masks predicted by box-small" in capsys.readouterr().out
    assert any("box-small" in record.getMessage() for record in caplog.records)
    assert np.array_equal(read_mask(tmp_path / "out" / "00000.png"), masks_of(drawn, 0))
