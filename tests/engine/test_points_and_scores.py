"""What some methods have beside masks: objects from points and boxes, scores of being in sight, a carried state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vos_zoo
from tests.helpers.click_model import ClickFeatures, ClickModel, Pointers
from tests.helpers.contract_settings import build, build_lively, moving_squares, toy_installed
from tests.helpers.sensory_model import SensoryMemory
from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.views import FullFrame, ObjectFrames
from vos_zoo.evaluation.baselines import prompt_labels
from vos_zoo.methods._few_shot.search_region import SearchRegion
from vos_zoo.types import Box, Points, UsageError

VIDEO = moving_squares(6, objects=3)
CLICKS = {1: Points([(14, 14)]), 3: Points([(60, 30), (62.5, 33)], [(14, 14)])}


@pytest.fixture(autouse=True)
def outside_methods() -> Iterator[None]:
    with toy_installed():
        yield


class Watched(ClickModel):
    """Notes what objects start from, and gives the scores that it is told."""

    def __init__(self, score: float = 3.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, 0, 0.4)
        with torch.no_grad():
            self.presence.weight.zero_()
            self.presence.bias.fill_(score)
        self.starts: list[Any] = []
        self.scores_at_write: list[Tensor] = []
        self.eval()

    def initialise(self, memory: Pointers, features: ClickFeatures, masks: Tensor, new: Sequence[int]) -> Pointers:
        self.starts.append((features.hints, masks))
        return super().initialise(memory, features, masks, new)

    def update(
        self, memory: Pointers, features: ClickFeatures, masks: Tensor, rows: Sequence[int] | None = None
    ) -> Pointers:
        assert features.seen is not None and features.seen.shape == masks.shape[:2]
        self.scores_at_write.append(features.seen)
        return super().update(memory, features, masks, rows)


def run(model: ClickModel, prompts: dict[int, Any], **settings: Any) -> list[Any]:
    engine = Propagator(model, model.track_settings(None, **settings))
    return [r for t, frame in enumerate(VIDEO.frames) for r in engine.push(frame, prompts.get(t))] + engine.flush()


# -- points ----------------------------------------------------------------------------------------------------------


def test_objects_start_from_points_in_any_frame_and_start_anew_from_them() -> None:
    model = build_lively("clicks")
    prompts = {0: {1: CLICKS[1]}, 2: {3: CLICKS[3], 2: (30, 15, 20, 22)}, 4: {1: Points([(20, 15)])}}
    results = list(model.track(VIDEO.frames, prompts))
    assert [result.ids for result in results] == [(1,)] * 2 + [(1, 3, 2)] * 4
    for result in results:
        torch.testing.assert_close(result.probabilities.sum(0), torch.ones(64, 96), atol=1e-4, rtol=0)
    own = model.network.point_logits(torch.from_numpy(VIDEO.frames[0]).permute(2, 0, 1).float(), [CLICKS[1]])
    torch.testing.assert_close(results[0].probabilities[1], (2 * own[0]).sigmoid(), atol=1e-5, rtol=1e-4)


def test_boxes_and_points_reach_the_method_as_they_are_in_pixels_of_its_canvas() -> None:
    model = Watched()
    run(model, {0: {1: CLICKS[1], 2: (37, 15, 20, 22), 3: CLICKS[3]}, 3: VIDEO.only(2, frame=3)})
    hints, masks = model.starts[0]
    assert hints == (
        Points(((14.0, 14.0),), ()),
        Box(37, 15, 20, 22),
        Points(((60.0, 30.0), (62.5, 33.0)), ((14.0, 14.0),)),
    )
    assert masks.shape == (3, 1, 1, 64, 96)
    assert model.starts[1][0] is None, "a mask is no hint"


@pytest.mark.parametrize("view", [FullFrame, ObjectFrames])
def test_a_box_or_a_point_lies_on_the_canvas_where_its_pixels_do(view: type[FullFrame]) -> None:
    frame = torch.zeros(1, 3, 45, 70)
    frame[..., 20:30, 40:50] = 255.0
    own = view(16, short_edge=90)
    canvas = own.project(frame, [0]).pixels[0, 0, 0]
    box = own.on_canvas(Box(40, 20, 10, 10))
    assert isinstance(box, Box)
    inside = canvas[int(box.y + 1) : int(box.y + box.h), int(box.x + 1) : int(box.x + box.w)]
    assert inside.min() > 120 and canvas.sum() == pytest.approx(255 * box.w * box.h, rel=0.05)
    points = own.on_canvas(Points([(45, 25)], [(5, 5), (60, 40)]))
    assert isinstance(points, Points)
    assert [float(canvas[int(y), int(x)]) for x, y in (*points.positive, *points.negative)] == [255, 0, 0]


@pytest.mark.parametrize("method", ["toy", "sensory", "lwl", "pcvos"])
def test_points_are_refused_by_models_that_take_none_before_a_frame_is_read(method: str) -> None:
    def frames() -> Iterator[Any]:
        raise AssertionError("a frame was read")
        yield

    model = build(method).eval()
    with pytest.raises(UsageError, match="this model starts from masks, not points; give a mask or a box"):
        model.track(frames(), {3: CLICKS})
    with pytest.raises(UsageError, match="not points"):
        model.propagator().push(VIDEO.frames[0], CLICKS)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (Points([]), "object 4: no point lies on the object; give at least one positive point"),
        (Points([], [(3, 3)]), "no point lies on the object"),
        (Points([(96, 3)]), r"frame 0, object 4: point \(96, 3\) lies outside of the frame of 96x64 pixels"),
        (Points([(3, 3)], [(3, -0.5)]), r"point \(3, -0.5\) lies outside"),
        (Points([(3, float("nan"))]), "are no points; give Points"),
        (Points([(3, 3, 3)]), "are no points"),  # type: ignore[list-item]
        (Points([3, 3]), "are no points"),  # type: ignore[list-item]
    ],
)
def test_points_that_cannot_be_are_refused_in_one_line(points: Points, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        list(build("clicks").eval().track(VIDEO.frames, {0: {4: points}}))
    assert "\n" not in str(caught.value)


def test_points_are_a_public_name_and_a_saved_model_says_that_it_takes_them(tmp_path: Any) -> None:
    assert vos_zoo.Points is Points
    build("clicks").save_pretrained(tmp_path)
    assert '"points"' in (tmp_path / "config.json").read_text()


def test_the_baseline_that_copies_the_first_mask_copies_the_clicked_pixels() -> None:
    labels = prompt_labels({4: Points([(3, 2), (5.7, 2)], [(8, 8)]), 2: Box(0, 0, 2, 2)}, (10, 12))
    assert np.argwhere(labels == 4).tolist() == [[2, 3], [2, 5]]
    assert (labels == 2).sum() == 4


# -- scores ----------------------------------------------------------------------------------------------------------


def test_results_hold_the_scores_of_a_method_that_gives_them_one_for_given_objects() -> None:
    results = run(
        Watched(score=-1.0), {0: VIDEO.only(1), 3: VIDEO.only(2, 3, frame=3), 4: VIDEO.only(1, frame=4)}, group_size=2
    )
    low = float(torch.tensor(-1.0).sigmoid())
    assert results[0].scores is None, "the only object was given in this frame"
    wanted = {1: [low], 2: [low], 3: [low, 1, 1], 4: [1, low, low], 5: [low, low, low]}
    for t, scores in wanted.items():
        assert results[t].scores.dtype == torch.float32
        assert results[t].scores.tolist() == pytest.approx(scores)


def test_a_method_without_scores_leaves_them_out() -> None:
    model = build("sensory").eval()
    assert all(result.scores is None for result in model.track(VIDEO.frames, {0: VIDEO.labels[0]}))


def test_scores_reach_the_write_of_each_object_and_an_object_out_of_sight_is_not_learned() -> None:
    seen, gone = Watched(score=8.0), Watched(score=-30.0)
    engines = [Propagator(model, model.track_settings()) for model in (seen, gone)]
    for t in range(4):
        for engine in engines:
            engine.push(VIDEO.frames[t], VIDEO.labels[0] if t == 0 else None)
    assert len(seen.scores_at_write) == len(gone.scores_at_write) == 2
    learned = [engine._groups[0].memory.pointers for engine in engines]  # type: ignore[attr-defined]
    fresh = [Propagator(model, model.track_settings()) for model in (seen, gone)]
    for engine in fresh:
        engine.push(VIDEO.frames[0], VIDEO.labels[0])
    first = [engine._groups[0].memory.pointers for engine in fresh]  # type: ignore[attr-defined]
    assert not torch.allclose(learned[0], first[0], atol=1e-4)
    torch.testing.assert_close(learned[1], first[1])


# -- carried state ---------------------------------------------------------------------------------------------------


def test_what_decoding_leaves_goes_into_the_next_clip_whether_frames_are_written_or_not() -> None:
    model = build_lively("sensory")
    engine, states, usage = model.propagator(capacity=2), [], []
    for t in range(6):
        engine.push(VIDEO.frames[t], VIDEO.labels[0] if t == 0 else None)
        memory = engine._groups[0].memory
        assert isinstance(memory, SensoryMemory)
        states.append(memory.sensory.clone())
        usage.append([float(frame.usage) for frame in memory.frames])
    assert states[0].abs().max() == 0
    assert all(not torch.equal(a, b) for a, b in pairwise(states))
    assert usage[0] == [0.0] and usage[1][0] > 0
    assert sum(usage[1]) == pytest.approx(3 * 96, rel=1e-4), "three objects, 8x12 queries, weights that sum to one"


def test_a_search_region_starts_around_what_points_show_not_around_their_soft_surround() -> None:
    soft = torch.full((1, 80, 120), 0.02)
    soft[0, 20:40, 30:60] = 0.9
    windows = []
    for masks in (soft, (soft > 0.5).float()):
        view = SearchRegion((64, 96))
        view.admit(torch.zeros(3, 80, 120), masks, [0], [None])
        windows.append(view.window_of(0))
    assert windows[0] == windows[1]


# -- one canvas per object -------------------------------------------------------------------------------------------


def test_each_object_has_the_whole_frame_as_its_canvas_and_pixels_are_cut_once() -> None:
    view = ObjectFrames(16, group_size=4)
    canvases = view.project(torch.rand(2, 3, 33, 45), [0, 1, 2])
    assert canvases.pixels.shape == (1, 2, 3, 48, 48)
    assert canvases.window is not None and canvases.window.tolist() == [0, 0, 0]
    logits = torch.randn(3, 2, 1, 48, 48)
    assert torch.equal(view.lower(view.lift(logits, canvases), canvases), logits)
    masks = torch.rand(2, 33, 45)
    admitted, on_canvas = view.admit(torch.rand(3, 33, 45), masks, [1, 2], [None, None])
    assert on_canvas.shape == (2, 1, 1, 48, 48) and admitted.window is not None and len(admitted.window) == 2
    assert torch.equal(view.emit(on_canvas[:, 0].transpose(0, 1)), masks[None])
    assert view.lift_scores(torch.arange(6.0).view(3, 2, 1), canvases).tolist() == [[0, 2, 4], [1, 3, 5]]
