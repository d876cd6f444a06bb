"""Confidence on a GPU: results wait and are measured together, and are those of a CPU, which measures each at once."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.pretend_cuda import DEVICE, pretending
from vos_zoo.engine import confidence_meter
from vos_zoo.engine.confidence import Calibration
from vos_zoo.engine.confidence_meter import ConfidenceMeter
from vos_zoo.engine.evidence import Evidence, itself
from vos_zoo.engine.groups import FrameEvidence
from vos_zoo.types import Confidence

NAMES = [own.name for own in fields(Confidence)]


def frame(number: int, objects: int) -> Tensor:
    """Probabilities ``(N+1, 20, 24)`` that differ from frame to frame; some frames are doubtful."""
    scale = 8.0 if number % 5 else 0.1
    generator = torch.Generator().manual_seed(number)
    return (scale * torch.randn(objects + 1, 20, 24, generator=generator)).softmax(dim=0)


def evidence(number: int, objects: int, device: Any) -> FrameEvidence:
    """The method's evidence of a frame, of objects in two groups."""
    values = torch.arange(float(objects)).add(number / 10).view(objects, 1, 1).to(device)
    parts = (Evidence(itself, (values[1:],)), Evidence(itself, (values[:1],)))
    return FrameEvidence(parts, (lifted, lifted), (*range(1, objects), 0))


def lifted(scores: Tensor) -> Tensor:
    return scores.transpose(0, 1).flatten(1)


def video(meter: ConfidenceMeter, device: Any) -> list[Confidence]:
    """Two objects, a third one later, one given again, one dropped; one frame in which they are new has no evidence."""
    found = []
    masks = (frame(99, 2)[1:] > 0.4).float().to(device)
    meter.start([1, 2], masks)
    for number in range(12):
        ids, given = ([1, 2] if number < 4 else [1, 2, 3] if number < 9 else [1, 3]), []
        if number in (4, 7):
            given = [3] if number == 4 else [1]
            meter.start(given, masks[:1])
        if number == 9:
            meter.drop([2])
        own = None if number == 2 else evidence(number, len(ids) - (number == 4), device)
        found.append(meter.read(ids, frame(number, len(ids)).to(device), own, given))
    return found


def fresh_meter() -> ConfidenceMeter:
    return ConfidenceMeter(Calibration({"soft_iou": 1.0, "evidence": 0.4}, lost=0.5, found=0.6))


def same(one: Confidence, two: Confidence) -> None:
    for name in NAMES:
        torch.testing.assert_close(getattr(one, name), getattr(two, name), equal_nan=True, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("queue", [32, 3])
def test_results_that_wait_are_measured_as_those_that_do_not(queue: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = video(fresh_meter(), "cpu")
    assert any(own.lost.any() for own in expected) and any(own.reappeared.any() for own in expected)
    monkeypatch.setattr(confidence_meter, "QUEUE", queue)
    with pretending() as log:
        meter = fresh_meter()
        log.start()
        found = video(meter, DEVICE)
        waits = log.waits.total()
        for one, two in zip(reversed(expected), reversed(found), strict=True):
            same(one, two)
        log.on = False
    uploads = sum(count for (kind, _), count in log.waits.items() if kind == "upload")
    assert waits == uploads, "measuring waits for nothing; the frames of this test are uploaded"
    assert log.waits.total() - waits <= 12, "looking at results waits once per batch, not once per number"
    assert type(found[0]) is Confidence


def test_results_may_be_copied_stored_and_changed_before_they_are_looked_at() -> None:
    with pretending():
        meter, masks = fresh_meter(), torch.ones(1, 20, 24, device=DEVICE)
        meter.start([1], masks)
        found = [meter.read([1], frame(t, 1).to(DEVICE), None) for t in range(4)]
        assert [type(own) is Confidence for own in found] == [False] * 4
        same(copy.deepcopy(found[2]), found[2])
        later = meter.read([1], frame(5, 1).to(DEVICE), None)
        same(pickle.loads(pickle.dumps(later)), later)
        later = meter.read([1], frame(6, 1).to(DEVICE), None)
        assert replace(later, lost=torch.ones(1)).lost == 1
        with pytest.raises(AttributeError):
            assert meter.read([1], frame(7, 1).to(DEVICE), None).unknown  # type: ignore[attr-defined]
        assert meter.lost.keys() == {1} and not meter._queue and not meter._left


def test_few_bytes_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confidence_meter, "QUEUE_BYTES", 3 * 2 * 10 * 12 * 4)
    with pretending():
        meter = fresh_meter()
        meter.start([1], torch.ones(1, 20, 24, device=DEVICE))
        waiting = []
        for t in range(7):
            meter.read([1], frame(t, 1).to(DEVICE), None)
            waiting.append(len(meter._queue))
    assert waiting == [1, 2, 0, 1, 2, 0, 1]
