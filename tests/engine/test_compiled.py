"""Compiled verbs: the results of plain ones, whole graphs, a bounded number of shapes, and a way back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.contract_settings import build_lively, moving_squares, settings_of
from vos_zoo.engine import compiled
from vos_zoo.registry import available_models

VIDEO = moving_squares(8)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is compiled; graphs are captured and differentiated, but no code is generated."""
    torch.compiler.reset()
    compiled._known.clear()
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    monkeypatch.setattr(compiled, "SEEN_BEFORE", 1)
    yield
    torch.compiler.reset()


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.mark.parametrize("method", sorted(set(available_models()) - {"joint", "llb"}))  # they decode as lwl does
def test_compiled_tracking_gives_the_results_of_plain_tracking_from_whole_graphs(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, before = build_lively(method), graphs()
    options: dict[str, Any] = settings_of(method).coincident or {}
    plain = list(model.track(VIDEO.frames, {0: VIDEO.only(1, 2)}, **options))
    with caplog.at_level(logging.WARNING):
        found = list(model.track(VIDEO.frames, {0: VIDEO.only(1, 2)}, compile=True, **options))
    assert not caplog.records, "fullgraph: a graph break would be an error, and a warning"
    assert graphs() >= before + 2, "encode and decode are compiled"
    for one, two in zip(plain, found, strict=True):
        torch.testing.assert_close(two.probabilities, one.probabilities, rtol=1e-4, atol=1e-4)
        assert (one.label_map() == two.label_map()).mean() > 0.999


def test_a_shape_that_cannot_be_compiled_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    model = build_lively("lwl")
    plain = [r.label_map() for r in model.track(VIDEO.frames[:5], {0: VIDEO.only(1)})]
    with caplog.at_level(logging.WARNING):
        found = [r.label_map() for r in model.track(VIDEO.frames[:5], {0: VIDEO.only(1)}, compile=True)]
    assert all(np.array_equal(one, two) for one, two in zip(plain, found, strict=True))
    assert len(caplog.records) == 2 and "runs uncompiled" in caplog.text


def test_no_more_shapes_are_compiled_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MAX_SHAPES", 2)
    model = build_lively("giel").network
    verbs = compiled.CompiledVerbs(model)
    with torch.no_grad():
        for size in (64, 80, 96, 112):
            for _ in range(3):
                verbs.encode(torch.zeros(1, 1, 3, 64, size))
    assert len(verbs._compiled) == 2
