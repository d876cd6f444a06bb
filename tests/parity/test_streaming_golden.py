"""Scores collected while results stream in equal the official numbers, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tests.parity.test_metrics_golden import GOLDEN, SEQUENCES, SETS, arrays, near, pytestmark
from vos_zoo.evaluation import protocol_of
from vos_zoo.evaluation.report import EvaluationReport, SequenceResult
from vos_zoo.metrics import StreamScorer
from vos_zoo.metrics.streaming import Rule
from vos_zoo.types import Frame, LabelMap, VideoSequence

__all__ = ["pytestmark"]


class Replayed(VideoSequence):
    """A video of known masks, with what meta.json says of its objects (None: all start in frame 0)."""

    def __init__(self, name: str, frames: Sequence[str], truth: np.ndarray, objects: Mapping[str, Any] | None) -> None:
        self.name, self.frame_names, self.truth = name, tuple(map(str, frames)), truth
        self.kinds = {} if objects is None else {int(i): entry["category"] for i, entry in objects.items()}
        ids = self.kinds or [int(i) for i in np.unique(truth[0]) if i]
        visible = {i: [t for t in range(len(truth)) if (truth[t] == i).any()] for i in ids}
        listed = {int(i): entry["frames"][0] for i, entry in (objects or {}).items()}
        begin = {i: [t for t in times if self.frame_names[t] >= listed.get(i, "")] for i, times in visible.items()}
        self.starts = {i: times[0] for i, times in begin.items() if times}
        self.object_ids = tuple(self.starts)

    @property
    def categories(self) -> Mapping[int, str]:
        return self.kinds

    def frame(self, index: int) -> Frame:
        raise AssertionError("scores need no frames")

    def labels(self, index: int) -> LabelMap:
        return self.truth[index]

    def prompts(self) -> dict[int, LabelMap]:
        return {t: np.where(self.truth[t] == i, self.truth[t], 0) for i, t in self.starts.items()} | {
            t: np.where(np.isin(self.truth[t], [i for i, s in self.starts.items() if s == t]), self.truth[t], 0)
            for t in set(self.starts.values())
        }


def streamed(video: Replayed, prediction: np.ndarray, rule: Rule) -> SequenceResult:
    scorer = StreamScorer(video, video.prompts(), rule)
    for index, labels in enumerate(prediction):
        scorer.add(index, labels)
    frames = len(prediction)
    return SequenceResult(
        video.name, frames, frames, scorer.scores().objects, "", 1.0, 1.0, 0, "process", (1, 1), "", ""
    )


def shows_all_at_once(case: tuple[str, str, str]) -> bool:
    """Whether all objects are in frame 0: streaming scores later ones from their start, the toolkit always."""
    truth = arrays(f"{case[0]}_{case[2]}")["gt"]
    return set(np.unique(truth)) <= {0, 255, *np.unique(truth[0])}


@pytest.mark.parametrize(("name", "prediction", "sequence"), list(filter(shows_all_at_once, SEQUENCES)))
def test_a_streamed_sequence_has_the_official_numbers(name: str, prediction: str, sequence: str) -> None:
    packed = arrays(f"{name}_{sequence}")
    frames = packed.get("frame_names", np.array([f"{t:05d}" for t in range(len(packed["gt"]))]))
    result = streamed(Replayed(sequence, frames, packed["gt"], None), packed[f"pred_{prediction}"], "davis")
    expected = GOLDEN[name]["results"][prediction]["per_sequence"][sequence]["objects"]
    assert [str(score.object_id) for score in result.objects] == sorted(expected)
    for score in result.objects:
        numbers = expected[str(score.object_id)]
        assert (list(score.J), list(score.F)) == (near(numbers["J"]), near(numbers["F"]))
        assert (score.region.mean, score.boundary.mean) == near((numbers["J_mean"], numbers["F_mean"]))


@pytest.mark.parametrize(("name", "prediction"), [one for one in SETS if one[0] == "d16"])
def test_a_streamed_data_set_has_the_official_seven_numbers(name: str, prediction: str) -> None:
    results = []
    for sequence in GOLDEN[name]["results"][prediction]["per_sequence"]:
        packed = arrays(f"{name}_{sequence}")
        frames = [f"{t:05d}" for t in range(len(packed["gt"]))]
        results.append(streamed(Replayed(sequence, frames, packed["gt"], None), packed[f"pred_{prediction}"], "davis"))
    report = EvaluationReport(tuple(results), protocol=protocol_of("davis", 2016))
    expected = GOLDEN[name]["results"][prediction]["global"]
    assert list(report.davis.scores.values()) == near(list(expected.values()))


def test_streamed_youtube_videos_have_the_g_of_the_fixture() -> None:
    fixture, packed = GOLDEN["ytvos_fixture"], arrays("ytvos_fixture")
    results = [
        streamed(
            Replayed(name, packed[f"{name}__frames"], packed[f"{name}__gt"], entry["objects"]),
            packed[f"{name}__pred"],
            "youtube_vos",
        )
        for name, entry in fixture["meta_json"]["videos"].items()
    ]
    scores = EvaluationReport(tuple(results), protocol=protocol_of("youtube_vos", 2019)).scores
    expected = {k: v for k, v in fixture["variants"]["first_frame_excluded"].items() if k != "rule"}
    assert {name: scores[name] for name in expected} == near(expected)
