"""Sequences and trackers that fail, and requests that are refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.known_trackers import SIZE, Squares, perfect, quiet, result
from vos_zoo.evaluation import format_table
from vos_zoo.types import Frame, FrameResult, UsageError, VideoSequence, VOSError

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
