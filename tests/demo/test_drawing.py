"""Brush, eraser and masks on one frame, and the steps that can be undone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.demo.annotations import Annotations
from vos_zoo.demo.drawing import Drawing, Stroke
from vos_zoo.demo.history import MAX_STEPS
from vos_zoo.types import UsageError

SIZE = (24, 32)
points = st.lists(st.tuples(st.floats(-5, 40), st.floats(-5, 30)), min_size=1, max_size=4)
strokes = st.builds(Stroke, points, st.floats(0.5, 9), st.booleans())
maps = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).integers(0, 4, SIZE, dtype=np.uint8))


def test_a_dot_is_a_disc_of_the_brush_and_a_line_covers_its_points():
    dot = Stroke([(15, 12)], 6).mask(SIZE)
    assert dot.sum() == pytest.approx(np.pi * 36, rel=0.1)
    assert dot[12, 15] and dot[12, 20] and not dot[12, 23] and not dot[0, 0]
    line = Stroke([(4, 4), (28, 20)], 2).mask(SIZE)
    assert line[4, 4] and line[20, 28] and line[12, 16] and not line[20, 4]


def test_a_stroke_may_leave_the_frame():
    assert Stroke([(-1e12, 12), (1e12, 12)], 2).mask(SIZE)[12].all()


@pytest.mark.parametrize(
    "stroke",
    [Stroke([], 3), Stroke([(1, float("nan"))], 3), Stroke([(1, 1)], 0), Stroke([(1, 1)], 1e9)],
    ids=["no points", "not finite", "no radius", "too wide"],
)
def test_what_is_no_stroke_is_refused(stroke):
    with pytest.raises(UsageError, match=r"draw it again|choose one of 1 to 500"):
        stroke.mask(SIZE)


@settings(max_examples=40, deadline=None)
@given(maps, strokes, st.integers(1, 4))
def test_a_stroke_changes_its_object_under_the_brush_alone(tracked, stroke, identity):
    shown = Drawing(SIZE).with_stroke(stroke, identity, tracked).over(tracked)
    covered = stroke.mask(SIZE)
    assert (shown[~covered] == tracked[~covered]).all()
    if stroke.erase:
        assert not (shown[covered] == identity).any()
        others = covered & (tracked != identity)
        assert (shown[others] == tracked[others]).all()
    else:
        assert (shown[covered] == identity).all()


def test_a_drawn_object_takes_the_pixels_of_another_and_gives_them_back_when_it_is_removed():
    tracked = np.zeros(SIZE, np.uint8)
    tracked[5:15, 5:15] = 1
    drawing = Drawing(SIZE).with_stroke(Stroke([(10, 10)], 3), 2, tracked)
    assert drawing.over(tracked)[10, 10] == 2 and drawing.objects == {2}
    assert (drawing.without(2).over(tracked) == tracked).all()


def test_an_object_that_is_erased_completely_is_given_as_out_of_sight():
    tracked = np.zeros(SIZE, np.uint8)
    tracked[5:8, 5:8] = 1
    drawing = Drawing(SIZE).with_stroke(Stroke([(6, 6)], 9, erase=True), 1, tracked)
    assert drawing.objects == {1} and not drawing.visible and not drawing.over(tracked).any()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 2), strokes), min_size=1, max_size=6))
def test_undo_goes_back_step_by_step_and_redo_forward_again(drawn):
    notes = Annotations(SIZE, 3)
    notes.add_object(), notes.add_object()
    seen = [notes.sheet]
    for frame, identity, stroke in drawn:
        notes.draw(frame, identity, stroke, None)
        if notes.sheet != seen[-1]:
            seen.append(notes.sheet)
    for sheet in reversed(seen[:-1]):
        notes.history.undo()
        assert notes.sheet == sheet
    for sheet in seen[1:]:
        notes.history.redo()
        assert notes.sheet == sheet
    assert not notes.history.can_redo
    with pytest.raises(UsageError, match="nothing to redo"):
        notes.history.redo()


def test_a_new_step_forgets_the_undone_ones_and_old_steps_are_dropped():
    notes = Annotations(SIZE, 3)
    identity = notes.add_object()
    for number in range(MAX_STEPS + 5):
        notes.rename_object(identity, f"name {number}")
    notes.history.undo()
    notes.rename_object(identity, "other")
    assert not notes.history.can_redo
    for _ in range(MAX_STEPS):
        notes.history.undo()
    assert not notes.history.can_undo


def test_objects_have_names_and_a_removed_one_takes_its_drawings_along():
    notes = Annotations(SIZE, 3)
    assert [notes.add_object(), notes.add_object()] == [1, 2]
    notes.rename_object(1, "  the   rabbit ")
    notes.rename_object(2, " ")
    assert notes.sheet.objects == {1: "the rabbit", 2: "object 2"}
    notes.draw(1, 1, Stroke([(5, 5)], 3), None)
    notes.remove_object(1)
    assert notes.sheet.objects == {2: "object 2"} and not notes.sheet.drawings
    assert notes.add_object() == 3  # results of object 1 are not taken for those of another
    with pytest.raises(UsageError, match=r"there is no object 7; known objects are \[2, 3\]"):
        notes.draw(0, 7, Stroke([(5, 5)], 3), None)


def test_there_are_as_many_objects_as_a_mask_can_hold():
    notes = Annotations(SIZE, 3)
    for _ in range(254):
        notes.add_object()
    with pytest.raises(UsageError, match="there are 254 objects"):
        notes.add_object()
