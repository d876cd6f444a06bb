"""The evaluation runner with trackers whose results are known beforehand."""

from __future__ import annotations

import csv
import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vos_zoo import revision
from vos_zoo.evaluation import copy_first_mask, evaluate, format_table, protocol_of, runner
from vos_zoo.evaluation.baselines import prompt_labels
from vos_zoo.evaluation.fingerprint import describe_tracker, tracker_source, weights_digest
from vos_zoo.evaluation.frame_keeper import FrameKeeper
from vos_zoo.evaluation.report import EvaluationReport
from vos_zoo.metrics import evaluate_davis
from vos_zoo.metrics.streaming import NO_TRUTH
from vos_zoo.training.validation import track_and_score
from vos_zoo.types import Box, Frame, FrameResult, LabelMap, UsageError, VideoSequence, VOSError
from vos_zoo.video.masks import read_mask, write_mask

SIZE = (40, 56)
quiet = partial(evaluate, progress=False)


@dataclass
class Squares(VideoSequence):
    """Grey squares that move to the right by `step` pixels a frame; object `i` starts in frame `starts[i]`."""

    name: str = "squares"
    count: int = 8
    starts: Mapping[int, int] = field(default_factory=lambda: {1: 0, 5: 0})
    step: int = 2
    truth: bool = True
    given: Mapping[int, LabelMap] | None = None

    def __post_init__(self) -> None:
        self.frame_names = tuple(f"{5 * index:05d}" for index in range(self.count))
        self.object_ids = tuple(self.starts)

    def frame(self, index: int) -> Frame:
        return np.repeat(self._all(index)[..., None] * np.uint8(40), 3, axis=2)

    def labels(self, index: int) -> LabelMap | None:
        return self._all(index) if self.truth or index in self.prompts() else None

    def prompts(self) -> dict[int, LabelMap]:
        if self.given is not None:
            return dict(self.given)
        prompts: dict[int, LabelMap] = {}
        for identity, start in self.starts.items():
            labels = self._all(start)
            prompts[start] = prompts.get(start, np.zeros(SIZE, np.uint8)) | np.where(labels == identity, labels, 0)
        return prompts

    def _all(self, index: int) -> LabelMap:
        labels = np.zeros(SIZE, dtype=np.uint8)
        for number, (identity, start) in enumerate(self.starts.items()):
            if index >= start:
                left = 2 + self.step * index
                labels[4 + 18 * number : 16 + 18 * number, left : left + 14] = identity
        return labels


def result(index: int, labels: LabelMap, ids: Iterable[int]) -> FrameResult:
    """A result that says exactly `labels`."""
    planes = [labels == identity for identity in (0, *ids)]
    return FrameResult(index, tuple(ids), torch.from_numpy(np.stack(planes).astype(np.float32)))


def perfect(frames: Iterable[Frame], prompts: Mapping[int, Any]) -> Iterator[FrameResult]:
    """Reads the ids off the grey values."""
    for index, frame in enumerate(frames):
        yield result(index, frame[..., 0] // 40, (1, 5))


def blind(frames: Iterable[Frame], prompts: Mapping[int, Any]) -> Iterator[FrameResult]:
    """Never sees an object."""
    for index, frame in enumerate(frames):
        yield result(index, np.zeros(frame.shape[:2], np.uint8), (1, 5))


def spy(calls: list[Any], inner: Callable[..., Iterator[FrameResult]] = perfect) -> Callable[..., Any]:
    """A tracker that notes how often it is run."""

    def track(frames: Iterable[Frame], prompts: Mapping[int, Any], **options: Any) -> Iterator[FrameResult]:
        calls.append((sorted(prompts), options))
        return inner(frames, prompts)

    return track


# -- scores ----------------------------------------------------------------------------------------------------------


def test_a_perfect_tracker_scores_one_and_a_blind_one_zero() -> None:
    report = quiet(perfect, [Squares("a"), Squares("b", step=0)])
    assert (report.j, report.f, report.jf) == (1.0, 1.0, 1.0)
    assert len(report.objects) == 4 and report.exit_code == 0
    assert quiet(blind, [Squares()]).jf == 0.0


def test_copying_the_first_mask_is_right_where_nothing_moves_and_wrong_where_things_do() -> None:
    assert quiet(copy_first_mask, [Squares(step=0)]).jf == 1.0
    report = quiet(copy_first_mask, [Squares(step=2)])
    overlaps = [(14 - 2 * index) / (14 + 2 * index) for index in range(1, 7)]  # widths: intersection, union
    assert report.objects[0].j == pytest.approx(overlaps)
    assert report.j == pytest.approx(np.mean(overlaps))


def test_the_first_and_the_last_frame_are_not_scored() -> None:
    def wrong_at_the_ends(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        for index, frame in enumerate(frames):
            labels = np.zeros(SIZE, np.uint8) if index in (0, 7) else frame[..., 0] // 40
            yield result(index, labels, (1, 5))

    report = quiet(wrong_at_the_ends, [Squares(count=8)])
    assert report.jf == 1.0
    assert report.objects[0].frames == ("00005", "00010", "00015", "00020", "00025", "00030")


def test_a_late_object_is_scored_from_the_frame_after_its_mask() -> None:
    report = quiet(perfect, [Squares(starts={1: 0, 5: 3})])
    early, late = report.objects
    assert (early.id, early.start, len(early.frames)) == (1, "00000", 6)
    assert (late.id, late.start, late.frames) == (5, "00015", ("00020", "00025", "00030"))
    assert report.jf == 1.0


def test_the_tracker_starts_at_the_first_given_mask_and_counts_from_there(tmp_path: Path) -> None:
    calls: list[Any] = []
    report = quiet(spy(calls), [Squares(starts={1: 2, 5: 4})], output=tmp_path)
    assert calls == [([0, 2], {})]
    assert report.sequences[0].tracked == 6
    masks = {file.stem: read_mask(file) for file in (tmp_path / "masks" / "squares").iterdir()}
    assert sorted(masks) == [f"{5 * index:05d}" for index in range(8)]
    assert not masks["00000"].any() and not masks["00005"].any()
    assert set(np.unique(masks["00010"])) == {0, 1} and set(np.unique(masks["00020"])) == {0, 1, 5}


def test_an_object_nobody_gave_is_scored_too() -> None:
    first = np.where(Squares()._all(0) == 1, np.uint8(1), np.uint8(0))
    report = quiet(copy_first_mask, [Squares(step=0, given={0: first})])
    assert [score.mean_j for score in report.objects] == [1.0, 0.0]


def test_a_sequence_of_others_that_calls_an_object_255_is_refused_with_the_cure() -> None:
    class White(Squares):
        def _all(self, index: int) -> LabelMap:
            return np.where(super()._all(index) > 0, np.uint8(255), np.uint8(0))

    report = quiet(copy_first_mask, [White(step=0, starts={255: 0})])
    assert "id 255; ids go from 1 to 254" in report.failures[0].message


def test_sequences_without_truth_are_run_but_not_scored_and_the_report_says_so(tmp_path: Path) -> None:
    videos = [Squares("hidden", truth=False), Squares("open"), Squares("late", starts={1: 7})]
    report = quiet(perfect, videos, output=tmp_path)
    assert report.unscored == ("hidden", "late") and report.jf == 1.0 and report.exit_code == 0
    assert len(list((tmp_path / "masks" / "hidden").iterdir())) == 8
    table = format_table(report)
    assert "not scored (it has no ground truth): hidden" in table
    assert "not scored (no frame is scored: its objects start in the last frames): late" in table
    alone = quiet(perfect, [Squares(truth=False)])
    assert (alone.j, alone.f, alone.jf) == (None, None, None)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("truth", [True, False])
def test_a_video_too_short_for_the_rule_is_run_and_named_as_that(count: int, truth: bool) -> None:
    video = Squares("short", count=count, truth=truth)
    report = quiet(perfect, [video, Squares("long", count=3)])
    assert not video.has_truth and report.unscored == ("short",) and report.jf == 1.0
    said = "the first and the last frame are left out, and it has " + ("1 frame", "2 frames")[count - 1]
    assert f"not scored (it is too short to be scored: {said}): short" in format_table(report)


def test_two_frames_are_enough_where_the_last_one_is_scored() -> None:
    rule = protocol_of("youtube_vos", 2019)
    report = quiet(perfect, [Squares("two", count=2), Squares("one", count=1)], protocol=rule)
    assert report.jf == 1.0 and report.unscored == ("one",)
    assert "too short to be scored: the first frame is left out, and it has 1 frame): one" in format_table(report)
    assert quiet(perfect, [Squares("two", count=2, truth=False)], protocol=rule).sequences[0].note == NO_TRUTH


def test_validation_scores_only_what_an_evaluation_would_score() -> None:
    for video in (Squares(truth=False), Squares(count=2), Squares(starts={1: 0, 5: 4}, truth=False)):
        assert track_and_score(perfect, video)[0] is None
    scores, _ = track_and_score(perfect, Squares(count=3))
    assert scores is not None and len(scores.frames) == 1


def test_the_scores_are_those_the_davis_evaluation_gives_for_the_written_masks(tmp_path: Path) -> None:
    sequences = [Squares("a"), Squares("b", step=1, count=12)]
    for sequence in sequences:
        for index, name in enumerate(sequence.frame_names):
            write_mask(tmp_path / "Annotations" / "480p" / sequence.name / f"{name}.png", sequence._all(index))
    ours = quiet(copy_first_mask, sequences, output=tmp_path / "out")
    theirs = evaluate_davis(tmp_path / "out" / "masks", tmp_path, sequences=["a", "b"])
    means = theirs.scores
    assert (ours.jf, ours.j, ours.f) == pytest.approx((means["J&F-Mean"], means["J-Mean"], means["F-Mean"]), abs=1e-12)


# -- files -----------------------------------------------------------------------------------------------------------


def test_masks_of_all_frames_are_written_and_the_given_ones_as_they_were_given(tmp_path: Path) -> None:
    sequence = Squares(starts={1: 0, 5: 3})
    quiet(blind, [sequence], output=tmp_path)
    folder = tmp_path / "masks" / "squares"
    assert sorted(file.stem for file in folder.iterdir()) == list(sequence.frame_names)
    assert np.array_equal(read_mask(folder / "00000.png"), sequence.prompts()[0])
    assert np.array_equal(read_mask(folder / "00015.png"), sequence.prompts()[3])
    assert not read_mask(folder / "00035.png").any()
    assert all(Image.open(file).mode == "P" for file in folder.iterdir())


def test_a_given_mask_of_a_late_object_wins_over_the_prediction_only_where_it_lies(tmp_path: Path) -> None:
    sequence = Squares(starts={1: 0, 5: 3})

    def all_one(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        return (result(index, np.ones(SIZE, np.uint8), (1, 5)) for index, _ in enumerate(frames))

    quiet(all_one, [sequence], output=tmp_path)
    expected = np.where(sequence.prompts()[3] > 0, np.uint8(5), np.uint8(1))
    assert np.array_equal(read_mask(tmp_path / "masks" / "squares" / "00015.png"), expected)


def test_the_report_is_written_as_json_and_as_a_table_per_object(tmp_path: Path) -> None:
    report = quiet(perfect, [Squares("a"), Squares("b")], output=tmp_path, track_options=None)
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["scores"] == {"J": 1.0, "F": 1.0, "J&F": 1.0, "objects": 4}
    assert content["sequences"]["a"]["objects"]["5"]["J-Recall"] == 1.0
    assert content["speed"]["tracking_fps"] >= content["speed"]["fps"] > 0
    assert content["peak_memory"]["bytes"] > 2**20 and content["peak_memory"]["kinds"] == ["process"]
    assert "numpy" in content["settings"]["versions"]
    with (tmp_path / "objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["sequence"], row["object"]) for row in rows] == [("a", "1"), ("a", "5"), ("b", "1"), ("b", "5")]
    assert rows[0]["J&F"] == "1.000000" and rows[0]["frames"] == "6"
    values = json.loads((tmp_path / "sequences" / "a.json").read_text())["objects"][0]
    assert values["j"] == [1.0] * 6 and values["frames"][0] == "00005"
    assert "all" in format_table(report) and "100.0" in format_table(report)


def test_pictures_show_evenly_spread_and_worst_frames(tmp_path: Path) -> None:
    quiet(copy_first_mask, [Squares()], output=tmp_path, overlays=2)
    for kind in ("overlays", "worst"):
        sheet = np.asarray(Image.open(tmp_path / kind / "squares.png"))
        assert sheet.ndim == 3 and sheet.shape[1] > 500
        assert (sheet == (128, 0, 0)).all(-1).any()  # the outline of object 1
    quiet(copy_first_mask, [Squares()], output=tmp_path / "none", overlays=0)
    assert not (tmp_path / "none" / "overlays").exists() and not (tmp_path / "none" / "worst").exists()


def test_without_masks_only_the_scores_are_written(tmp_path: Path) -> None:
    quiet(perfect, [Squares()], output=tmp_path, write_masks=False, overlays=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "objects.csv",
        "scores.json",
        "sequences",
        "sequences.csv",
    ]


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [(1, [(1, 0.2), (4, 0.2)]), (3, [(1, 0.2), (4, 0.2)]), (2, [(1, 0.2), (4, 0.2)]), (9, [(1, 0.2)])],
)
def test_the_keeper_holds_the_worst_frames_worst_first_and_no_more(spacing: int, expected: list[Any]) -> None:
    keeper = FrameKeeper({1}, worst=2, spacing=spacing)
    for index, score in enumerate([0.9, 0.2, None, 0.5, 0.2, 0.8, 0.7, 0.6]):
        keeper.add(index, np.full(SIZE, index, np.uint8), score)
    assert [(index, score) for index, score, _ in keeper.worst()] == expected
    assert all((labels == index).all() for index, _, labels in keeper.worst())
    assert list(keeper.chosen) == [1]


def test_worst_frames_are_not_all_neighbours() -> None:
    keeper = FrameKeeper(set(), worst=2, spacing=4)
    for index in range(16):
        keeper.add(index, np.zeros(SIZE, np.uint8), abs(index - 6) / 16)
    assert [index for index, _, _ in keeper.worst()] == [6, 8]


# -- resuming --------------------------------------------------------------------------------------------------------


def test_finished_sequences_are_not_run_again_and_keep_their_scores(tmp_path: Path) -> None:
    calls: list[Any] = []
    first = quiet(spy(calls, copy_first_mask), [Squares("a")], output=tmp_path)
    second = quiet(spy(calls, copy_first_mask), [Squares("a"), Squares("b")], output=tmp_path)
    assert len(calls) == 2  # "a" once, "b" once
    assert [sequence.reused for sequence in second.sequences] == [True, False]
    assert second.sequences[0].objects == first.sequences[0].objects
    assert "from an earlier run" in format_table(second)


def test_a_sequence_is_redone_when_something_it_depends_on_has_changed(tmp_path: Path) -> None:
    calls: list[Any] = []
    tracker = spy(calls)
    quiet(tracker, [Squares()], output=tmp_path)
    changes: list[tuple[Squares, dict[str, Any]]] = [
        (Squares(), {"track_options": {"memory": 5}}),
        (Squares(step=1), {"identity": "other"}),
        (Squares(starts={1: 0, 5: 1}), {"identity": "other"}),
        (Squares(starts={1: 0, 5: 1}, truth=False), {"identity": "other"}),
        (Squares(starts={1: 0, 5: 1}, truth=False), {"identity": "other", "resume": False}),
    ]
    for number, (sequence, options) in enumerate(changes):
        quiet(tracker, [sequence], output=tmp_path, **options)
        assert len(calls) == number + 2, f"change {number} was not noticed"


class Video(Squares):
    """Squares whose frames, masks and categories can be changed one by one."""

    def __init__(self, frame: int = -1, truth_of: int = -1, kind: str = "dog", last: int = 7) -> None:
        super().__init__()
        self.changed, self.corrected, self.kind, self.wanted_frames = frame, truth_of, kind, tuple(range(last + 1))

    @property
    def categories(self) -> Mapping[int, str]:
        return {1: self.kind, 5: "cat"}

    def frame(self, index: int) -> Frame:
        frame = super().frame(index)
        frame[0, 0, 0] += index == self.changed
        return frame

    def labels(self, index: int) -> LabelMap | None:
        labels = self._all(index)
        labels[labels == 5 * (index == self.corrected)] = 1
        return labels

    def prompts(self) -> dict[int, LabelMap]:
        return {0: self._all(0)}


@pytest.mark.parametrize(
    ("changed", "redone"),
    [
        ({"frame": 0}, True),
        ({"frame": 7}, True),
        ({"truth_of": 3}, True),
        ({"truth_of": 7}, False),  # the last frame is not scored
        ({"kind": "wolf"}, True),
        ({"last": 6}, True),
        ({}, False),
    ],
)
def test_a_sequence_is_redone_when_its_frames_masks_or_lists_have_changed(
    tmp_path: Path, changed: dict[str, Any], redone: bool
) -> None:
    before = quiet(perfect, [Video()], output=tmp_path)
    after = quiet(perfect, [Video(**changed)], output=tmp_path)
    assert after.sequences[0].reused is not redone
    assert (after.data != before.data) is redone
    assert json.loads((tmp_path / "scores.json").read_text())["data"] == after.data


@pytest.mark.parametrize("what", ["git_revision", "tracker_source", "package_versions", "__version__"])
def test_a_sequence_is_redone_when_the_code_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    quiet(perfect, [Squares()], output=tmp_path)
    monkeypatch.setattr(runner, what, "9.9.9" if what == "__version__" else lambda *_: {"changed": "1"})
    assert not quiet(perfect, [Squares()], output=tmp_path).sequences[0].reused
    assert quiet(perfect, [Squares()], output=tmp_path).sequences[0].reused


def test_edited_source_files_give_another_digest_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    (package / "part").mkdir(parents=True)
    (package / "part" / "code.py").write_text("x = 1\n")
    monkeypatch.setattr(revision, "_PACKAGE", package)
    before = revision.source_digest()
    (package / "part" / "code.cpython-311.pyc").write_bytes(b"compiled")
    assert revision.source_digest() == before
    (package / "part" / "code.py").write_text("x = 2\n")
    assert revision.source_digest() != before
    (package / "part" / "code.py").write_text("x = 1\n")
    (package / "more.py").touch()
    assert revision.source_digest() != before


@pytest.mark.parametrize("kind", ["function", "network", "part of a network", "method"])
def test_the_code_of_a_tracker_from_elsewhere_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    code = """
import torch
def track(frames, prompts): ...
class Net(torch.nn.Module):
    def track(self, frames, prompts): ...
"""
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / f"elsewhere_{len(kind)}.py"
    file.write_text(code)
    elsewhere = importlib.import_module(file.stem)
    net = elsewhere.Net()
    tracker = {"function": elsewhere.track, "network": net, "part of a network": torch.nn.Sequential(net)}.get(kind)
    tracker = partial(net.track, x=1) if tracker is None else tracker
    before = tracker_source(tracker)
    assert before == tracker_source(tracker) != tracker_source(perfect)
    file.write_text(code + "# edited\n")
    assert tracker_source(tracker) != before
    del sys.modules[file.stem]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_revision_is_that_of_the_packages_own_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(revision, "_PACKAGE", package)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (package / "revision.py").write_text("x = 1\n")
    assert revision.git_revision() is None, "no checkout"
    git("init")
    (tmp_path / "other.txt").touch()
    git("add", "other.txt")
    git("commit", "-m", "of another project")
    assert revision.git_revision() is None, "installed inside the checkout of another project"
    git("add", ".")
    git("commit", "-m", "the package")
    clean = revision.git_revision()
    assert clean is not None and re.fullmatch(r"[0-9a-f]{40}", clean)
    (tmp_path / "other.txt").write_text("changed")
    assert revision.git_revision() == clean
    (package / "revision.py").write_text("x = 2\n")
    assert revision.git_revision() == f"{clean}-dirty"


def test_a_sequence_is_redone_when_a_mask_is_missing_or_its_result_is_damaged(tmp_path: Path) -> None:
    calls: list[Any] = []
    tracker = spy(calls)
    quiet(tracker, [Squares()], output=tmp_path)
    (tmp_path / "masks" / "squares" / "00020.png").unlink()
    assert not quiet(tracker, [Squares()], output=tmp_path).sequences[0].reused
    (tmp_path / "sequences" / "squares.json").write_text('{"name": "squa')
    assert not quiet(tracker, [Squares()], output=tmp_path).sequences[0].reused
    assert quiet(tracker, [Squares()], output=tmp_path).sequences[0].reused


def test_a_run_that_breaks_off_leaves_no_result_behind(tmp_path: Path) -> None:
    def interrupted(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        yield from list(perfect(frames, prompts))[:4]
        raise KeyboardInterrupt

    quiet(perfect, [Squares()], output=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        quiet(interrupted, [Squares()], output=tmp_path)
    assert not list((tmp_path / "sequences").iterdir())  # the older result does not vouch for the new masks


def test_other_weights_or_hyper_parameters_make_another_tracker() -> None:
    class Model(torch.nn.Linear):
        hparams: Mapping[str, Any] = {"depth": 1}

        def track(self) -> None: ...

    model = Model(2, 2)
    before = describe_tracker(model)
    assert describe_tracker(model.track) == before == describe_tracker(model)
    model.hparams = {"depth": 2}
    assert describe_tracker(model) != before
    model.hparams = {"depth": 1}
    with torch.no_grad():
        model.weight[0, 0] += 1e-6
    assert describe_tracker(model) != before
    assert describe_tracker(partial(perfect, a=1)) != describe_tracker(partial(perfect, a=2))


def test_the_weights_digest_sees_types_shapes_and_scalars() -> None:
    state = {"a": torch.zeros(2, 3), "n": torch.tensor(4)}
    others = [
        {"a": torch.zeros(3, 2), "n": torch.tensor(4)},
        {"a": torch.zeros(2, 3, dtype=torch.bfloat16), "n": torch.tensor(4)},
        {"a": torch.zeros(2, 3), "n": torch.tensor(5)},
    ]
    digests = {weights_digest(other) for other in [state, *others]}
    assert len(digests) == 4
    assert weights_digest(dict(reversed(state.items()))) == weights_digest(state)


# -- failures --------------------------------------------------------------------------------------------------------


def test_one_failing_sequence_is_reported_and_does_not_stop_the_others(tmp_path: Path) -> None:
    class Broken(Squares):
        def frame(self, index: int) -> Frame:
            if index == 3:
                raise VOSError("frame 00015.jpg: cannot be read")
            return super().frame(index)

    report = quiet(perfect, [Squares("a"), Broken("b"), Squares("c")], output=tmp_path)
    assert [sequence.name for sequence in report.sequences] == ["a", "c"] and report.jf == 1.0
    assert [(failure.sequence, failure.message) for failure in report.failures] == [
        ("b", "frame 00015.jpg: cannot be read")
    ]
    assert report.exit_code == 1
    assert "failed: b: frame 00015.jpg" in format_table(report)
    assert json.loads((tmp_path / "scores.json").read_text())["failures"] == {"b": "frame 00015.jpg: cannot be read"}
    assert not (tmp_path / "sequences" / "b.json").exists()


def test_unexpected_errors_of_a_tracker_name_their_type_in_one_line() -> None:
    def explodes(frames: Any, prompts: Any) -> Iterator[FrameResult]:
        raise RuntimeError("out of\nmemory")
        yield

    assert quiet(explodes, [Squares()]).failures[0].message == "RuntimeError: out of memory"


def test_sequences_that_cannot_be_opened_or_tracked_are_failures() -> None:
    class Data(list[VideoSequence]):
        def __getitem__(self, index: Any) -> Any:
            if index == 1:
                raise VOSError("sequence dog: folder missing")
            return super().__getitem__(index)

    report = quiet(perfect, Data([Squares("a"), Squares("b"), Squares("a"), Squares("d", given={})]))
    assert [failure.message for failure in report.failures] == [
        "sequence dog: folder missing",
        "two sequences are called 'a'; their names must differ",
        "has no given mask, so there is nothing to track; check its annotations",
    ]


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 1, 2], r"returned no result for frame 00015 \(number 3\), but its results ended"),
        ([0, 2, 1, 3, 4, 5, 6, 7], "but frame number 2 came"),
        ([*range(8), 8], "more results than the 8 frames"),
    ],
)
def test_a_tracker_that_loses_swaps_or_invents_frames_is_caught(indices: list[int], message: str) -> None:
    def careless(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        list(frames)
        return (result(index, np.zeros(SIZE, np.uint8), (1, 5)) for index in indices)

    with pytest.raises(VOSError, match=message):
        raise VOSError(quiet(careless, [Squares()]).failures[0].message)


def test_answers_at_another_size_are_caught() -> None:
    def shrunk(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        return (result(index, np.zeros((20, 28), np.uint8), (1, 5)) for index, _ in enumerate(frames))

    assert "both must have the frame's size" in quiet(shrunk, [Squares()]).failures[0].message


def test_requests_that_make_no_sense_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no sequence to run"):
        quiet(perfect, [])
    with pytest.raises(UsageError, match="a int cannot track"):
        quiet(3, [Squares()])
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        quiet(perfect, [Squares()], output=tmp_path / "file")


# -- running ---------------------------------------------------------------------------------------------------------


def test_a_model_is_run_by_its_track_method_with_the_given_options() -> None:
    calls: list[Any] = []

    class Model:
        def track(self, frames: Any, prompts: Any, **options: Any) -> Iterator[FrameResult]:
            return spy(calls)(frames, prompts, **options)  # type: ignore[no-any-return]

    report = quiet(Model(), [Squares()], track_options={"memory": 3})
    assert report.jf == 1.0 and calls == [([0], {"memory": 3})]
    assert report.settings["options"] == {"memory": 3}


def test_frames_are_read_one_by_one_as_the_tracker_asks() -> None:
    read: list[int] = []

    class Watched(Squares):
        def frame(self, index: int) -> Frame:
            read.append(index)
            return super().frame(index)

        def frame_content(self, index: int) -> bytes:
            return b""

    def watching(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        for item in perfect(frames, prompts):
            assert len(read) == item.index + 1
            yield item

    assert not quiet(watching, [Watched()]).failures
    assert read == list(range(8))


def test_reading_time_is_not_counted_as_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("vos_zoo.evaluation.runner.time.perf_counter", lambda: now[0])

    class Slow(Squares):
        def frame(self, index: int) -> Frame:
            now[0] += 10
            return super().frame(index)

    def thinking(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        for item in perfect(frames, prompts):
            now[0] += 1
            yield item

    outcome = quiet(thinking, [Slow()]).sequences[0]
    assert outcome.tracking_seconds == pytest.approx(8) and outcome.seconds == pytest.approx(88)


def test_an_evaluation_of_nothing_finished_still_makes_a_report() -> None:
    report = EvaluationReport(())
    assert (report.jf, report.fps, report.peak_memory) == (None, None, None)
    assert json.loads(json.dumps(report.to_json()))["scores"]["J"] is None
    assert "sequence" in format_table(report)


# -- the baseline ----------------------------------------------------------------------------------------------------


def test_the_baseline_keeps_masks_adds_late_objects_on_top_and_moves_corrected_ones() -> None:
    frames = [np.zeros((4, 6, 3), np.uint8)] * 5
    first = np.zeros((4, 6), np.uint8)
    first[:2] = 7
    late = np.zeros((4, 6), np.uint8)
    late[1:3, :2] = 3
    moved = np.zeros((4, 6), np.uint8)
    moved[3] = 7
    results = list(copy_first_mask(frames, {1: first, 2: late, 4: moved}))
    assert [item.ids for item in results] == [(), (7,), (7, 3), (7, 3), (7, 3)]
    assert not results[0].label_map().any()
    assert np.array_equal(results[1].label_map(), first)
    assert np.array_equal(results[3].label_map(), np.where(late > 0, late, first))
    assert np.array_equal(results[4].label_map(), np.where(late > 0, late, moved))
    assert all(torch.equal(item.probabilities.sum(0), torch.ones(4, 6)) for item in results)


def test_boxes_become_filled_rectangles() -> None:
    labels = prompt_labels({2: Box(1, 0, 3, 2), 4: (3.4, 1, 2, 9)}, (4, 6))
    assert labels.tolist() == [[0, 2, 2, 2, 0, 0], [0, 2, 2, 4, 4, 0], [0, 0, 0, 4, 4, 0], [0, 0, 0, 4, 4, 0]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_the_allocated_memory_is_reported() -> None:
    def on_gpu(frames: Iterable[Frame], prompts: Any) -> Iterator[FrameResult]:
        ballast = torch.zeros(64 * 2**20, dtype=torch.uint8, device="cuda")
        for item in perfect(frames, prompts):
            yield FrameResult(item.index, item.ids, item.probabilities.to(ballast.device))

    torch.zeros(1, device="cuda")
    outcome = quiet(on_gpu, [Squares()]).sequences[0]
    assert outcome.memory_kind == "cuda" and 64 * 2**20 <= outcome.peak_memory < 80 * 2**20


def test_a_real_sequence_scores_as_the_metrics_say(data_dir: Path) -> None:
    root = data_dir / "davis16_480p_part"
    files = sorted((root / "Annotations" / "480p" / "dog").glob("*.png"))[:6]

    class Dog(VideoSequence):
        name, object_ids, frame_names = "dog", (1,), tuple(file.stem for file in files)

        def frame(self, index: int) -> Frame:
            return np.asarray(Image.open(root / "JPEGImages" / "480p" / "dog" / f"{self.frame_names[index]}.jpg"))

        def labels(self, index: int) -> LabelMap:
            return read_mask(files[index])

        def prompts(self) -> dict[int, LabelMap]:
            return {0: self.labels(0)}

    score = quiet(copy_first_mask, [Dog()]).objects[0]
    first, second = read_mask(files[0]) > 0, read_mask(files[1]) > 0
    assert score.j[0] == pytest.approx((first & second).sum() / (first | second).sum())
    assert 0.2 < score.mean_f < 1.0 and len(score.frames) == 4


def test_importing_the_evaluation_does_not_import_torch() -> None:
    import subprocess

    code = "import sys, vos_zoo.evaluation as e; e.evaluate; e.format_table; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
