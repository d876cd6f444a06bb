"""Compiled verbs: the results of plain ones, whole graphs, a bounded number of shapes, and a way back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.contract_settings import build, build_lively, moving_squares, settings_of
from vos_zoo.engine import compiled
from vos_zoo.registry import available_models
from vos_zoo.types import FrameResult

VIDEO = moving_squares(10)


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


def small(method: str) -> dict[str, Any]:
    """Settings with which a memory is full after a few frames."""
    known = {own.name for own in fields(build(method).track_settings())}
    few = {"capacity": 2, "support_size": 2, "write_every": 1}
    return {**(settings_of(method).coincident or {}), **{name: few[name] for name in known.intersection(few)}}


def compare(plain: list[FrameResult], found: list[FrameResult], tolerance: float) -> None:
    for one, two in zip(plain, found, strict=True):
        torch.testing.assert_close(two.probabilities, one.probabilities, rtol=0, atol=tolerance)
        assert (one.label_map() == two.label_map()).mean() > 0.999


@pytest.mark.parametrize("method", available_models())
def test_compiled_tracking_gives_the_results_of_plain_tracking_from_whole_graphs(
    method: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method == "joint":  # as on a GPU; llb, which has the same attention, as on a CPU
        monkeypatch.setattr("vos_zoo.methods.joint.transformer_target._batched", lambda store: True)
    model, before, options = build_lively(method), graphs(), small(method)
    plain = list(model.track(VIDEO.frames, {0: VIDEO.only(1, 2)}, **options))
    with caplog.at_level(logging.WARNING):
        found = list(model.track(VIDEO.frames, {0: VIDEO.only(1, 2)}, compile=True, **options))
    assert not caplog.records, "fullgraph: a graph break would be an error, and a warning"
    assert graphs() == before + 3, "encode, read and decode are compiled, once each"
    compare(plain, found, 5e-4)


@pytest.mark.parametrize("method", available_models())
def test_what_reading_needs_of_a_memory_is_read_as_the_memory(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "SEEN_BEFORE", 10**6)
    model, read = build_lively(method), []
    monkeypatch.setattr(type(model.network), "read", watched(type(model.network).read, read))
    prompts = {0: VIDEO.only(1), 2: VIDEO.only(2, frame=2), 5: VIDEO.only(1, frame=5)}
    options = {**small(method), "capacity": 3}
    plain = list(model.track(VIDEO.frames, prompts, **options))
    memories, read[:] = list(read), []
    found = list(model.track(VIDEO.frames, prompts, compile=True, **options))
    compare(plain, found, 1e-4)
    assert len({compiled._shapes(memory) for memory in read}) <= len({compiled._shapes(memory) for memory in memories})


def watched(read: Any, memories: list[Any]) -> Any:
    """`read`, which notes the memories that it is given."""

    def reading(model: Any, memory: Any, features: Any) -> Any:
        memories.append(memory)
        return read(model, memory, features)

    return reading


def test_a_memory_that_does_not_say_what_is_read_of_it_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "eager")
    model = build_lively("lwl")
    monkeypatch.delattr(type(model.network.new_memory()), "for_reading")
    plain = list(model.track(VIDEO.frames, {0: VIDEO.only(1)}, **small("lwl")))
    compare(plain, list(model.track(VIDEO.frames, {0: VIDEO.only(1)}, compile=True, **small("lwl"))), 5e-4)
    assert {key[0] for key in compiled.compiled_verbs(model.network)._compiled} == {"encode", "decode"}


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
    assert len(caplog.records) == 3 and "runs uncompiled" in caplog.text


def test_no_more_shapes_are_compiled_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MAX_SHAPES", 2)
    model = build_lively("giel").network
    verbs = compiled.CompiledVerbs(model)
    with torch.no_grad():
        for size in (64, 80, 96, 112):
            for _ in range(3):
                verbs.encode(torch.zeros(1, 1, 3, 64, size))
    assert len(verbs._compiled) == 2
