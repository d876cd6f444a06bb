"""What a tab can do, with a model whose masks are known: every object moves one pixel to the right per frame."""

from __future__ import annotations

import json
import threading
import zipfile
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.demo.conftest import HEIGHT, LENGTH, WIDTH
from vos_zoo.demo.drawing import Drawing, Stroke
from vos_zoo.demo.state import describe, ranges
from vos_zoo.demo.tracker import ranges_in_sight
from vos_zoo.types import UsageError, VOSError
from vos_zoo.video.formats.coco import from_youtube_vis
from vos_zoo.video.masks import write_mask
from vos_zoo.video.reader import open_video


def finish(project):
    """Wait for the job; returns it."""
    project.worker._thread.join(20)
    assert not project.worker.busy
    return project.worker.job


def add_square(project, frame=0, left=4, identity=None):
    """Draw a square of 6 pixels for an object, a new one without `identity`."""
    if identity is None:
        with project.editing() as notes:
            identity = notes.add_object()
    project.draw_box(frame, identity, (left, 5, 6, 6))
    return identity


def square(left, identity=1):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[5:11, max(left, 0) : left + 6] = identity
    return labels


def test_a_drawn_object_is_tracked_to_the_end(project):
    add_square(project)
    project.track(0)
    job = finish(project)
    assert (job.done, job.total, job.error) == (LENGTH, LENGTH, "")
    for number in range(LENGTH):
        assert (project.labels(number) == square(4 + number)).all()
    assert project.tracked_frames() == (list(range(LENGTH)), [])


def test_tracking_backward_goes_to_the_first_frame(project):
    add_square(project, frame=5)
    project.track(5, step=-1)
    assert finish(project).done == 5
    assert (project.labels(2) == square(4 + 3)).all()
    assert project.labels(6) is None


def test_tracking_from_any_frame_comes_from_the_first_drawn_one(project):
    add_square(project, frame=2)
    project.track(6)
    job = finish(project)
    assert (job.done, job.total) == (2, 2)
    assert (project.labels(7) == square(9)).all() and (project.labels(4) == square(6)).all()


def test_without_a_drawing_there_is_nothing_to_track(project):
    with pytest.raises(UsageError, match="nothing to track: draw an object on any frame first"):
        project.track(0)
    add_square(project, frame=2)
    project.track(1, step=-1)
    finish(project)
    project.track(1, step=-1)
    assert finish(project).error.startswith("nothing to track backward from frame 1: all is up to date")


def test_a_correction_makes_later_results_stale_and_tracking_goes_on_from_it(project, model):
    add_square(project)
    project.track(0)
    finish(project)
    project.draw_box(3, 1, (20, 5, 6, 6))
    assert (project.labels(3) == square(20)).all()
    assert project.tracked_frames()[1] == [3, 4, 5, 6, 7]
    project.track(3)
    assert finish(project).done == 5
    assert (project.labels(6) == square(23)).all() and (project.labels(2) == square(6)).all()
    assert project.tracked_frames()[1] == []


def test_undoing_a_correction_makes_the_results_up_to_date_again(project):
    add_square(project)
    project.track(0)
    finish(project)
    project.draw(3, 1, Stroke([(30, 8)], 2))
    assert project.tracked_frames()[1] == [3, 4, 5, 6, 7]
    with project.editing() as notes:
        notes.history.undo()
    assert project.tracked_frames()[1] == []
    assert (project.labels(3) == square(7)).all()


def test_undoing_a_correction_that_was_tracked_makes_what_came_from_it_stale(project):
    add_square(project)
    project.track(0)
    finish(project)
    project.draw_box(3, 1, (20, 5, 6, 6))
    project.track(3)
    finish(project)
    with project.editing() as notes:
        notes.history.undo()
    assert project.tracked_frames()[1] == [3, 4, 5, 6, 7]
    project.track(0)
    finish(project)
    assert (project.labels(7) == square(11)).all() and project.tracked_frames()[1] == []


def test_other_weights_start_without_results_and_keep_what_is_drawn(project):
    add_square(project)
    project.track(0)
    finish(project)
    project.track(0)
    assert "all is up to date" in finish(project).error
    project.choose_weights("large")
    assert project.tracked_frames() == ([], []) and (project.labels(0) == square(4)).all()
    project.track(0)
    assert finish(project).done == LENGTH
    with pytest.raises(UsageError, match="choose one of: small, large"):
        project.choose_weights("huge")


def test_an_object_corrected_on_a_tracked_frame_leaves_the_others_as_they_are(project):
    add_square(project, left=2)
    add_square(project, left=20)
    project.track(0)
    finish(project)
    project.draw(4, 2, Stroke([(33, 20)], 2))
    assert (project.labels(4)[5:11, 6:12] == 1).all() and project.labels(4)[20, 33] == 2
    project.track(4)
    finish(project)
    assert (project.labels(7)[5:11, 9:15] == 1).all() and project.labels(7)[20, 36] == 2


def test_an_object_that_is_erased_in_a_frame_is_not_tracked_on(project):
    add_square(project, left=2)
    add_square(project, left=20)
    project.draw(2, 2, Stroke([(22, 8)], 9, erase=True))
    project.track(0)
    finish(project)
    assert 2 in project.labels(1) and 2 not in project.labels(2) and 2 not in project.labels(5)
    assert 1 in project.labels(5)


def test_an_object_that_is_erased_before_it_is_drawn_starts_in_between(project):
    add_square(project, frame=5, left=20)
    project.draw(2, 1, Stroke([(22, 8)], 9, erase=True))
    project.track(5, step=-1)
    finish(project)
    assert 1 in project.labels(3) and 1 not in project.labels(2) and 1 not in project.labels(1)


def test_the_range_in_sight_ends_and_starts_where_nothing_of_an_object_is_drawn():
    seen = Drawing.of(square(4), frozenset({1}))
    gone = Drawing.of(square(4) * 0, frozenset({1}))
    assert ranges_in_sight({0: seen, 5: seen}) == {}
    assert ranges_in_sight({0: seen, 3: gone, 6: gone}) == {1: (0, 3)}
    assert ranges_in_sight({1: gone, 3: seen, 6: gone}) == {1: (2, 6)}
    assert ranges_in_sight({0: seen, 3: gone, 6: seen}) == {}
    assert ranges_in_sight({3: gone}) == {}


def test_a_removed_object_comes_back_by_undo_with_its_results(project):
    add_square(project)
    project.track(0)
    finish(project)
    with project.editing() as notes:
        notes.remove_object(1)
        assert notes.add_object() == 2
    with project.editing() as notes:
        notes.history.undo()
        notes.history.undo()
    assert project.tracked_frames() == (list(range(LENGTH)), []) and (project.labels(5) == square(9)).all()


def test_a_late_object_joins_where_it_is_drawn(project):
    add_square(project, left=2)
    add_square(project, frame=3, left=20)
    project.track(0)
    finish(project)
    assert 2 not in project.labels(2) and (project.labels(5)[5:11, 22:28] == 2).all()


def test_stop_ends_tracking_after_the_current_frame_and_keeps_what_is_done(project, model):
    reached, go_on = threading.Event(), threading.Event()

    def wait():
        if model.frames == 3:
            reached.set()
            go_on.wait(20)

    model.wait = wait
    add_square(project)
    project.track(0)
    assert reached.wait(20)
    with pytest.raises(UsageError, match="stop it"):
        project.draw(0, 1, Stroke([(5, 5)], 2))
    with pytest.raises(UsageError, match="stop it"):
        project.track(0)
    project.worker.stop()
    go_on.set()
    assert finish(project).done == 4
    assert project.tracked_frames()[0] == [0, 1, 2, 3]
    project.track(0)
    assert finish(project).total == LENGTH - 4  # it goes on behind the last tracked frame
    assert model.frames == LENGTH
    assert (project.labels(7) == square(11)).all()


def test_a_removed_object_disappears_from_results(project):
    add_square(project, left=2)
    add_square(project, left=20)
    project.track(0)
    finish(project)
    with project.editing() as notes:
        notes.remove_object(1)
    assert set(np.unique(project.labels(4))) == {0, 2}


def test_a_mask_file_gives_its_objects(project, tmp_path):
    labels = square(4, identity=3) + square(20, identity=7)
    write_mask(tmp_path / "first.png", labels)
    assert project.load_mask(1, tmp_path / "first.png") == [3, 7]
    assert (project.labels(1) == labels).all()
    assert project.annotations.sheet.objects == {3: "object 3", 7: "object 7"}
    write_mask(tmp_path / "white.png", np.where(labels > 0, np.uint8(255), np.uint8(0)))
    assert project.load_mask(2, tmp_path / "white.png") == [1]


def test_a_wrong_mask_is_refused_and_changes_nothing(project, tmp_path):
    write_mask(tmp_path / "small.png", np.ones((5, 5), np.uint8))
    write_mask(tmp_path / "empty.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    for name, reason in (("small", "its size 5x5"), ("empty", "no object"), ("text", "cannot be read as an image")):
        with pytest.raises(VOSError, match=reason):
            project.load_mask(0, tmp_path / f"{name}.png")
    assert not project.annotations.sheet.objects and not project.annotations.history.can_undo


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("missing.mp4", "no such video"),
        ("camera:1", "a camera has no frames"),
        (" ", "no video is named"),
        ("text", "decoded"),
    ],
)
def test_a_wrong_video_is_refused_and_the_open_one_stays(project, tmp_path, source, reason):
    (tmp_path / "text").write_text("no video")
    add_square(project)
    with pytest.raises(UsageError, match=reason):
        project.open(str(tmp_path / source) if source == "text" else source)
    assert project.frames.name == "clip" and project.annotations.sheet.objects


def test_opening_a_video_starts_anew(project, video):
    add_square(project)
    project.track(0)
    project.open(video)
    assert not project.annotations.sheet.objects and project.tracked_frames() == ([], [])
    assert project.labels(0) is None


def test_what_fails_while_tracking_is_told_by_the_job(project, model):
    def fail():
        raise VOSError("frame 0:\nis broken")

    model.wait = fail
    add_square(project)
    project.track(0)
    job = finish(project)
    assert job.error == "frame 0: is broken" and not job.running


def test_exports_hold_what_is_shown(project):
    add_square(project)
    with project.editing() as notes:
        notes.rename_object(1, "rabbit")
    project.track(0)
    finish(project)
    for kind, name in (("overlay", "clip-overlay.mp4"), ("masks", "clip-masks.zip"), ("coco", "clip-coco.json")):
        project.export(kind)
        job = finish(project)
        assert (job.error, job.result, job.done) == ("", name, LENGTH)
    overlay = list(open_video(project.export_file("clip-overlay.mp4")))
    assert len(overlay) == LENGTH and abs(int(overlay[0][8, 7, 0]) - 64) < 20  # half of the palette's 128
    with zipfile.ZipFile(project.export_file("clip-masks.zip")) as archive:
        assert archive.namelist() == [f"clip/{number:05d}.png" for number in range(LENGTH)]
        image = Image.open(BytesIO(archive.read("clip/00003.png")))
        assert image.mode == "P" and (np.array(image) == square(7)).all()
    content = json.loads(project.export_file("clip-coco.json").read_text())
    (tracks,) = from_youtube_vis(content)
    assert (tracks.labels("00003") == square(7)).all()
    assert content["categories"] == [{"id": 1, "name": "rabbit"}]
    with pytest.raises(UsageError, match="no exported file"):
        project.export_file("../../frames.png")


def test_a_stopped_export_leaves_no_file(project, model):
    add_square(project)
    reading, go_on = threading.Event(), threading.Event()
    shown = project.labels

    def slow(number):
        reading.set()
        go_on.wait(20)
        return shown(number)

    project.labels = slow
    project.export("masks")
    assert reading.wait(20)
    project.worker.stop()
    go_on.set()
    assert finish(project).result == "" and not list(project.folder.rglob("*.zip*"))


def test_nothing_is_exported_without_a_mask_or_in_an_unknown_form(project):
    with pytest.raises(UsageError, match="no mask to export"):
        project.export("masks")
    with pytest.raises(UsageError, match="choose one of: overlay, masks, coco"):
        project.export("gif")


def test_the_state_is_plain_json(project):
    add_square(project)
    project.track(0)
    finish(project)
    state = json.loads(json.dumps(describe(project)))
    assert state["objects"] == [{"id": 1, "name": "object 1", "colour": "#800000"}]
    assert (state["tracked"], state["stale"], state["drawn"]) == ([[0, LENGTH - 1]], [], [0])
    assert state["video"]["frames"] == LENGTH and state["undo"] and not state["redo"]


@given(st.sets(st.integers(0, 40)))
def test_ranges_hold_the_numbers_and_do_not_touch(numbers):
    found = ranges(sorted(numbers))
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(numbers)
    assert all(two[0] > one[1] + 1 for one, two in pairwise(found))
