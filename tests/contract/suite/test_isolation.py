"""Streams, training steps, objects and number formats of a model do not affect each other."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.helpers.contract import assert_informative, check, difference, run, step, variants_of
from tests.helpers.contract_settings import (
    build,
    build_lively,
    moving_squares,
    settings_of,
    training_batch,
)
from vos_zoo.engine.decoded import as_decoded
from vos_zoo.engine.propagator import Propagator
from vos_zoo.model import VOSModel
from vos_zoo.types import FrameResult, Points

ROUNDING = 1e-6
"""Of results, which are float32 whatever the network is."""


@pytest.fixture(scope="module")
def exact(model: VOSModel) -> VOSModel:
    """The model in float64: two ways to the same result then differ by far less than on any processor in float32."""
    return copy.deepcopy(model).double()


def test_two_videos_interleaved_on_one_model_equal_two_separate_runs(model: VOSModel) -> None:
    videos = [moving_squares(6, seed=1), moving_squares(6, (72, 88), objects=3, seed=2)]
    apart = [run(model, video) for video in videos]
    engines = [model.propagator() for _ in videos]
    together: list[list[FrameResult]] = [[], []]
    for t in range(6):
        for engine, video, results in zip(engines, videos, together, strict=True):
            results += engine.push(video.frames[t], video.labels[0] if t == 0 else None)
    for engine, results in zip(engines, together, strict=True):
        results += engine.flush()
    for own, other in zip(apart, together, strict=True):
        assert_informative(own)
        assert difference(own, other) == 0


def test_interleaving_streams_of_a_model_in_training_mode_changes_nothing(method: str) -> None:
    model = build(method).train()
    long, short = moving_squares(7, seed=1), moving_squares(2, seed=2)
    apart = run(model, long)
    first, second = model.track(short.frames, {0: short.labels[0]}), model.track(long.frames, {0: long.labels[0]})
    next(first)
    together = [next(second)]
    list(first)
    together += list(second)
    assert difference(apart, together) == 0
    assert model.network.training


def test_streams_and_training_steps_by_turns_change_nothing_in_each_other(method: str, model: VOSModel) -> None:
    """Memories are written in place: no buffer may be shared between videos, or with the unroll."""
    long, other = moving_squares(12, objects=3, seed=1), moving_squares(12, (72, 88), objects=3, seed=2)
    prompts = [
        {0: long.only(1, 2), 5: long.only(3, frame=5), 8: long.only(1, frame=8)},
        {0: other.only(2, 3), 3: other.only(1, frame=3), 7: other.only(2, 3, frame=7)},
    ]

    def turn(engine: Propagator, k: int, t: int) -> list[FrameResult]:
        video = (long, other)[k]
        results = engine.drop([2]) if (k, t) == (0, 9) else []
        return results + engine.push(video.frames[t], prompts[k].get(t))

    apart = []
    for k in range(2):
        engine = model.propagator()
        apart.append([result for t in range(12) for result in turn(engine, k, t)] + engine.flush())
    engines, together = [model.propagator() for _ in range(2)], [[], []]
    batch = training_batch(method, queries=3)
    for t in range(12):
        for k, engine in enumerate(engines):
            together[k] += turn(engine, k, t)
        if t in (2, 9):
            step(model, batch).backward()
            model.zero_grad()
    for engine, results in zip(engines, together, strict=True):
        results += engine.flush()
    for own, both in zip(apart, together, strict=True):
        assert_informative(own)
        assert difference(own, both) == 0


@torch.no_grad()
def test_reading_changes_no_memory_and_no_verb_changes_its_features_and_masks(method: str, model: VOSModel) -> None:
    network, batch = model.network, training_batch(method, queries=1, sequences=1)
    features, query = network.encode(batch.frames[:, :1]), network.encode(batch.frames[:, 1:])
    slots, masks = list(range(batch.masks.shape[2])), batch.masks[:, :1].clone()
    given = copy.deepcopy((features, query, masks))
    memory = network.initialise(network.new_memory(model.track_settings()), features, masks, slots)
    held = copy.deepcopy(memory)
    readout = network.read(memory, query)
    decoded = as_decoded(network.decode(readout, query))
    torch.testing.assert_close(tensors_in(memory), tensors_in(held), rtol=0, atol=0)
    again = as_decoded(network.decode(network.read(held, query), query))
    assert torch.equal(decoded.logits, again.logits)
    merged = network.merging.merge_training(decoded.logits)
    kept = merged.clone()
    memory, held = network.carry(memory, readout, decoded), network.carry(held, readout, decoded)
    retained = network.clips.retain(query, readout, decoded)
    updated = network.update(memory, retained, merged)
    assert torch.equal(merged, kept)
    torch.testing.assert_close(tensors_in((features, query, masks)), tensors_in(given), rtol=0, atol=0)
    copied = network.update(held, retained, merged)
    torch.testing.assert_close(tensors_in(updated), tensors_in(copied), rtol=0, atol=0)


def test_the_unroll_of_a_training_step_writes_no_memory_in_place(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = build(method).train(), []
    for verb in ("initialise", "carry", "update"):
        real = getattr(model.network, verb)

        def watched(memory: Any, *inputs: Any, real: Any = real, **named: Any) -> Any:
            calls.append((memory, [tensor.detach().clone() for tensor in tensors_in(memory)]))
            return real(memory, *inputs, **named)

        monkeypatch.setattr(model.network, verb, watched)
    step(model, training_batch(method, queries=4, references=2)).backward()
    assert len(calls) >= 2
    for memory, before in calls:
        torch.testing.assert_close([tensor.detach() for tensor in tensors_in(memory)], before, rtol=0, atol=0)


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in a memory or in features, in a fixed order."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        value = [getattr(value, part.name) for part in fields(value)]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]


def test_a_stream_goes_on_whatever_mode_each_call_is_made_in(model: VOSModel) -> None:
    video = moving_squares(6)
    engine, results = model.propagator(), []
    for t, frame in enumerate(video.frames):
        with torch.inference_mode(t % 2 == 0), torch.set_grad_enabled(t % 3 == 0):
            results += engine.push(frame, video.labels[0] if t == 0 else None)
    results += engine.flush()
    assert difference(run(model, video), results) == 0
    assert not any(result.probabilities.is_inference() for result in results)


def test_held_memory_is_constant_after_warm_up_in_the_stream_preset(model: VOSModel) -> None:
    video = moving_squares(24)
    engine = model.propagator(preset="stream")
    sizes = []
    for t, frame in enumerate(video.frames):
        engine.push(frame, video.labels[0] if t == 0 else None)
        sizes.append(engine.nbytes)
    assert sizes[0] > 0
    assert len(set(sizes[12:])) == 1, sizes


def test_memory_held_for_objects_returns_when_they_are_dropped(model: VOSModel) -> None:
    video = moving_squares(8, objects=3)
    engine = model.propagator(preset="stream")
    for t, frame in enumerate(video.frames):
        engine.push(frame, video.labels[0] if t == 0 else None)
    three = engine.nbytes
    engine.drop([1, 3])
    assert engine.nbytes < three


def test_objects_in_a_batch_equal_objects_one_after_another(exact: VOSModel) -> None:
    video = moving_squares(6, objects=3)
    batched, looped = run(exact, video, group_size=8), run(exact, video, group_size=1)
    assert_informative(batched)
    assert difference(batched, looped) <= ROUNDING
    assert difference(batched, run(exact, video, group_size=2)) <= ROUNDING


def test_objects_that_look_at_the_same_canvas_equal_the_unshared_computation(
    method: str, exact: VOSModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    coincident = settings_of(method).coincident
    if coincident is None:
        pytest.skip("all objects of this method always look at one canvas")
    video, canvases = moving_squares(6, objects=3), []
    encode = exact.network.encode
    monkeypatch.setattr(exact.network, "encode", lambda frames: (canvases.append(len(frames)), encode(frames))[1])
    shared = run(exact, video, **coincident)
    assert min(canvases[1:]) == 1, "the windows never coincide; this test would prove nothing"
    unshared = run(exact, video, group_size=1, **coincident)
    assert_informative(shared)
    assert difference(shared, unshared) <= ROUNDING


def test_bfloat16_stays_near_float32(model: VOSModel) -> None:
    video = moving_squares(4)
    exact, rough = run(model, video), run(model, video, precision="bf16")
    check(rough, video)
    # The first tracked frame: later ones depend on masks that may have crossed a threshold.
    assert 0 < (exact[1].probabilities - rough[1].probabilities).abs().mean() < 0.1


@contextmanager
def formats_of(model: VOSModel) -> Iterator[dict[str, set[tuple[torch.dtype, ...]]]]:
    """Number formats of what each part of the network returned, one tuple per call that differs."""
    found: dict[str, set[tuple[torch.dtype, ...]]] = {}

    def note(name: str, result: Any) -> None:
        values = tree_leaves(vars(result) if is_dataclass(result) else result)
        found.setdefault(name, set()).add(tuple(v.dtype for v in values if isinstance(v, Tensor)))

    hooks = [
        part.register_forward_hook(lambda _part, _inputs, result, name=name: note(name, result))
        for name, part in model.network.named_modules()
    ]
    yield found
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("method", "variant"), variants_of("variants"))
def test_a_part_of_the_network_has_one_number_format_in_a_video_and_in_training(
    method: str, variant: str, precision: str
) -> None:
    model, video = build(method, **settings_of(method).variants[variant]), moving_squares(12, objects=3)
    prompts: dict[int, Any] = {0: video.only(1, 2), 4: video.only(3, frame=4), 6: video.only(1, frame=6)}
    if model.network.takes_boxes:
        prompts[5] = {4: (10, 10, 20, 20)}
    if model.network.takes_points:
        prompts[7] = {5: Points([(20, 20)], [(60, 40)])}
    reduced = precision != "float32"
    with formats_of(model) as formats:
        run(model, video, prompts, precision=precision)
        in_video = {name: set(own) for name, own in formats.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            step(model, training_batch(method, queries=3))
    for found in (in_video, formats):
        assert not {name: own for name, own in found.items() if len(own) > 1}
    assert {dtype for own in formats.values() for dtype in next(iter(own))} - {torch.float32} == (
        {torch.bfloat16} if reduced else set()
    )


def test_the_format_of_a_training_around_it_does_not_reach_a_video(model: VOSModel) -> None:
    """A trainer validates in its own format; what counts for a video is `track.precision`."""
    video = moving_squares(5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = run(model, video)
    assert difference(inside, run(model, video)) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_the_cpus_answers(method: str) -> None:
    model, video = build_lively(method), moving_squares(5)
    on_cpu = run(model, video)
    assert_informative(on_cpu)
    on_gpu = run(model.to("cuda"), video)
    assert on_gpu[-1].probabilities.is_cuda
    assert difference(on_cpu, on_gpu) <= 5e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_runs_on_the_gpu(method: str, precision: str) -> None:
    video = moving_squares(4)
    results = run(build(method).eval().to("cuda"), video, precision=precision)
    assert all(torch.isfinite(result.probabilities).all() for result in results)
