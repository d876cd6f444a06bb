"""What a run writes, and when a finished sequence is run again."""

from __future__ import annotations

import csv
import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.known_trackers import SIZE, Squares, blind, perfect, quiet, result, spy
from vos_zoo import revision
from vos_zoo.evaluation import copy_first_mask, format_table, runner
from vos_zoo.evaluation.fingerprint import describe_tracker, tracker_source, weights_digest
from vos_zoo.evaluation.frame_keeper import FrameKeeper
from vos_zoo.types import Frame, FrameResult, LabelMap
from vos_zoo.video.masks import read_mask

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
    assert second.sequences[0].to_json() == first.sequences[0].to_json()
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
