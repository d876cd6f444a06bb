"""The contract every method keeps: over all registered methods, and over those of "another package".

A new method passes by adding one entry to `tests/helpers/contract_settings.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.helpers.contract_settings import (
    OUTSIDE,
    Video,
    build,
    build_lively,
    moving_squares,
    settings_of,
    toy_installed,
    training_batch,
)
from vos_zoo.create import create_model
from vos_zoo.engine.decoded import as_decoded
from vos_zoo.engine.propagator import Propagator
from vos_zoo.model import VOSModel
from vos_zoo.registry import available_models
from vos_zoo.types import Batch, FrameResult, Points, UsageError

METHODS = [*available_models(), *OUTSIDE]
ROUNDING = 1e-6
"""Of results, which are float32 whatever the network is."""


def variants_of(field: str) -> list[Any]:
    """(method, name) for every entry of a mapping in the contract settings."""
    with toy_installed():
        return [pytest.param(m, n, id=f"{m}-{n}") for m in METHODS for n in getattr(settings_of(m), field)]


@pytest.fixture(autouse=True, scope="module")
def toy() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with toy_installed():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def full_precision(request: pytest.FixtureRequest) -> Iterator[None]:
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


@pytest.fixture(scope="module", params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(method: str) -> VOSModel:
    return build_lively(method)


@pytest.fixture(scope="module")
def exact(model: VOSModel) -> VOSModel:
    """The model in float64: two ways to the same result then differ by far less than on any processor in float32."""
    return copy.deepcopy(model).double()


def run(model: VOSModel, video: Video, prompts: Mapping[int, Any] | None = None, **settings: Any) -> list[FrameResult]:
    """Track a video from the masks of its first frame."""
    return list(model.track(video.frames, prompts or {0: video.labels[0]}, **settings))


def check(results: list[FrameResult], video: Video) -> None:
    """One valid result per frame, in order, at the frame's size."""
    assert [result.index for result in results] == list(range(len(video.frames)))
    for result in results:
        assert result.probabilities.shape == (len(result.ids) + 1, *video.frames.shape[1:3])
        assert result.probabilities.dtype == torch.float32
        assert torch.isfinite(result.probabilities).all()
        assert result.probabilities.min() >= 0
        torch.testing.assert_close(result.probabilities.sum(0), torch.ones(video.frames.shape[1:3]), atol=1e-4, rtol=0)
        assert result.label_map().dtype == np.uint8
        assert set(np.unique(result.label_map())) <= {0, *result.ids}


def difference(ours: list[FrameResult], theirs: list[FrameResult]) -> float:
    """Largest difference of probability, ids compared."""
    assert [(r.index, r.ids) for r in ours] == [(r.index, r.ids) for r in theirs]
    pairs = zip(ours, theirs, strict=True)
    return max((a.probabilities.cpu() - b.probabilities.cpu()).abs().max().item() for a, b in pairs)


def assert_informative(results: list[FrameResult]) -> None:
    """The comparison that follows would notice something: later frames are neither constant nor the prompt's."""
    spread = [result.probabilities[1:].std(dim=(1, 2)).mean().item() for result in results[1:]]
    assert max(spread) > 0.02, "the small network answers a constant; equality of outputs would prove nothing"


# -- building and training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", available_models())
def test_a_method_builds_from_its_configuration(name: str) -> None:
    from vos_zoo.config.layers import check_signatures, load_config
    from vos_zoo.config.resources import config_folder

    if not (config_folder() / f"{name}.yaml").is_file():
        pytest.skip(f"{name} comes from another package, which ships its own configuration")
    config = load_config(name, data="synthetic")
    check_signatures(config)
    with torch.device("meta"):
        network = create_model(name, track=config.track, **config.model).network
    assert sum(parameter.numel() for parameter in network.parameters()) > 1e6
    for group in config.optim.groups:
        parts = [n for n, _ in network.named_parameters() if group == "" or f"{n}.".startswith(f"{group}.")]
        assert parts, f"configs/{name}.yaml gives a rate to {group!r}, which names no parameter"


def step(model: VOSModel, batch: Batch) -> Tensor:
    unrolled = model.network.training_forward(batch)
    assert unrolled.logits.shape == unrolled.truth.shape
    return torch.stack(list(model.network.losses(unrolled, batch).values())).sum()


@pytest.mark.parametrize(("method", "variant"), variants_of("variants"))
def test_a_training_step_has_a_finite_loss_and_its_gradients_are_finite(method: str, variant: str) -> None:
    model = build(method, **settings_of(method).variants[variant]).train()
    loss = step(model, training_batch(method))
    assert torch.isfinite(loss)
    loss.backward()
    gradients = {n: p.grad for n, p in model.network.named_parameters() if p.grad is not None}
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_gets_a_gradient_in_some_training_variant(method: str) -> None:
    reached: dict[str, float] = {}
    known: set[str] = set()
    for overrides in settings_of(method).variants.values():
        model = build(method, **overrides).train()
        with torch.no_grad():  # away from zeros that fresh weights hold on purpose (last norms of residual blocks)
            for parameter in model.network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        step(model, training_batch(method)).backward()
        for name, parameter in model.network.named_parameters():
            known.add(name)
            if parameter.grad is not None:
                reached[name] = max(reached.get(name, 0.0), parameter.grad.abs().max().item())
    assert not known - reached.keys(), f"no gradient in any variant: {sorted(known - reached.keys())}"
    silent = sorted(name for name, largest in reached.items() if largest == 0)
    assert not silent, f"the gradient is zero in every variant: {silent}"


@pytest.mark.parametrize("method", METHODS)
def test_a_training_forward_without_gradients_has_the_same_logits(method: str) -> None:
    for overrides in settings_of(method).variants.values():
        network, batch = build(method, **overrides).eval().network, training_batch(method, queries=3)
        recorded = network.training_forward(batch).logits.detach()
        with torch.no_grad():
            torch.testing.assert_close(network.training_forward(batch).logits, recorded, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_sequences_of_a_batch_do_not_mix(method: str) -> None:
    network, batch = build(method).eval().network, training_batch(method, sequences=3)
    tensors = ("frames", "masks", "valid", "boxes")
    alone = Batch(**{name: getattr(batch, name)[1:2] for name in tensors}, reference_frames=1)
    with torch.no_grad():
        both, own = network.training_forward(batch).logits, network.training_forward(alone).logits
    torch.testing.assert_close(both[1:2], own, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_two_reference_frames_can_be_memorised_in_training(method: str) -> None:
    model, batch = build(method).train(), training_batch(method, queries=2, references=2)
    loss = step(model, batch)
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize(("method", "variant"), variants_of("variants"))
def test_a_step_learns_after_the_same_was_seen_in_inference_mode(method: str, variant: str) -> None:
    """Lightning validates in that mode; the size is this test's own, so that what depends on it is made there."""
    model, batch = build(method, **settings_of(method).variants[variant]).train(), training_batch(method)
    batch = replace(batch, frames=batch.frames[..., :48, :80], masks=batch.masks[..., :48, :80])
    with torch.inference_mode():
        step(model, batch)
        run(model, moving_squares(4, (48, 80)))
    step(model, batch).backward()
    gradients = [p.grad for p in model.network.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize(("method", "row"), variants_of("ablations"))
def test_an_ablation_row_trains_a_step_and_tracks(method: str, row: str) -> None:
    model = build(method, **settings_of(method).ablations[row]).train()
    before = {name: p.detach().clone() for name, p in model.network.named_parameters()}
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    loss = step(model, training_batch(method))
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(before[name], p) for name, p in model.network.named_parameters())
    video = moving_squares(4)
    check(run(model, video), video)


class _Batches(torch.utils.data.Dataset[Batch]):
    def __init__(self, method: str, count: int) -> None:
        self.items = [training_batch(method, seed=10 * k) for k in range(count)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Batch:
        return self.items[index]


class _Watch(pl.Callback):
    """Which modules were in training mode while a step ran."""

    def __init__(self) -> None:
        self.training: dict[str, bool] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, module: VOSModel, *_: Any) -> None:
        self.training = {name: part.training for name, part in module.network.named_modules()}


@pytest.fixture(scope="module")
def trained(method: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model after two steps of a stage that leaves some parts frozen: what it was, what it is, its checkpoint."""
    parts = [name for name, child in build(method).network.named_children() if any(True for _ in child.parameters())]
    frozen = settings_of(method).frozen
    model = build(method, optim={"groups": {part: 1e-4 for part in parts if part not in frozen}})
    model.network.load_state_dict(build_lively(method).network.state_dict())
    before = copy.deepcopy(model.network.state_dict())
    watch, folder = _Watch(), tmp_path_factory.mktemp(method)
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch],
        default_root_dir=folder,
    )
    trainer.fit(model, torch.utils.data.DataLoader(_Batches(method, 2), batch_size=None))
    trainer.save_checkpoint(folder / "last.ckpt")
    after = copy.deepcopy(model.network.state_dict())
    return {"model": model, "before": before, "after": after, "watch": watch, "frozen": frozen, "folder": folder}


def inside(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def test_frozen_parts_stay_bit_identical_and_the_others_learn(trained: dict[str, Any]) -> None:
    before, after, frozen = trained["before"], trained["after"], trained["frozen"]
    kept = [name for name in before if inside(name, frozen)]
    assert kept
    moved = [name for name in kept if not torch.equal(before[name], after[name])]
    assert not moved, f"frozen, yet changed (a norm in training mode?): {moved}"
    learned = [name for name in before if not inside(name, frozen) and not torch.equal(before[name], after[name])]
    assert learned


def test_frozen_parts_are_in_eval_while_the_others_train(trained: dict[str, Any]) -> None:
    training, frozen = trained["watch"].training, trained["frozen"]
    awake = [name for name, mode in training.items() if mode and inside(name, frozen)]
    assert not awake, f"frozen parts in training mode during a step: {awake}"
    assert any(mode for name, mode in training.items() if name and not inside(name, frozen))


def test_tracking_in_the_middle_of_training_leaves_the_modes_as_they_were(trained: dict[str, Any]) -> None:
    model: VOSModel = trained["model"]
    model.train()
    modes = {name: part.training for name, part in model.network.named_modules()}
    run(model, moving_squares(2))
    assert modes == {name: part.training for name, part in model.network.named_modules()}


# -- saving and loading ----------------------------------------------------------------------------------------------


def test_a_saved_model_gives_equal_outputs(model: VOSModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    loaded = VOSModel.from_pretrained(tmp_path / "saved")
    assert loaded.method == model.method
    assert not loaded.training
    video = moving_squares(5)
    assert difference(run(loaded, video), run(model, video)) == 0


def test_a_training_checkpoint_gives_equal_outputs(trained: dict[str, Any]) -> None:
    model: VOSModel = trained["model"]
    loaded = VOSModel.from_pretrained(trained["folder"] / "last.ckpt")
    video = moving_squares(5)
    results = run(model.eval(), video)
    assert_informative(results)
    assert difference(run(loaded, video), results) == 0


def test_inference_settings_travel_with_the_saved_model_and_can_be_overridden(
    method: str, model: VOSModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    assert VOSModel.from_pretrained(tmp_path).track_settings() == model.track_settings()
    assert VOSModel.from_pretrained(tmp_path, track={"group_size": 3}).track_settings().group_size == 3
    with pytest.raises(UsageError, match="group_sise"):
        VOSModel.from_pretrained(tmp_path, track={"group_sise": 3})


# -- running ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 5, 7], ids=lambda n: f"{n} frames")
def test_videos_of_any_length_get_one_result_per_frame(model: VOSModel, length: int) -> None:
    video = moving_squares(length)
    check(run(model, video), video)


@pytest.mark.parametrize("size", [(67, 91), (64, 64), (91, 67), (33, 95)], ids=str)
def test_odd_sizes_come_back_at_the_size_of_the_video(model: VOSModel, size: tuple[int, int]) -> None:
    video = moving_squares(4, size)
    check(run(model, video), video)


def test_the_given_mask_is_the_answer_where_it_was_given(model: VOSModel) -> None:
    video = moving_squares(3)
    first = run(model, video)[0].label_map()
    assert (first == video.labels[0]).mean() > 0.97


def test_probabilities_differ_between_frames_and_objects(model: VOSModel) -> None:
    assert_informative(run(model, moving_squares(5)))


def test_an_object_may_start_late(model: VOSModel) -> None:
    video = moving_squares(8)
    results = run(model, video, {0: video.only(1), 4: video.only(2, frame=4)})
    check(results, video)
    assert [result.ids for result in results] == [(1,)] * 4 + [(1, 2)] * 4
    seen = results[4].label_map() == 2
    assert (seen == (video.labels[4] == 2)).mean() > 0.97


def test_the_frames_before_an_object_starts_do_not_know_of_it(model: VOSModel) -> None:
    video = moving_squares(8)
    late = run(model, video, {0: video.only(1), 6: video.only(2, frame=6)})
    alone = run(model, video, {0: video.only(1)})
    assert difference(late[:6], alone[:6]) <= 1e-3


def test_frames_before_the_first_prompt_are_background(model: VOSModel) -> None:
    video = moving_squares(5)
    results = run(model, video, {2: video.labels[2]})
    check(results, video)
    assert all(result.ids == () and (result.label_map() == 0).all() for result in results[:2])


def test_an_object_can_be_dropped_and_the_others_go_on(model: VOSModel) -> None:
    video = moving_squares(8, objects=3)
    engine = model.propagator()
    results = [r for t in range(4) for r in engine.push(video.frames[t], video.labels[0] if t == 0 else None)]
    results += engine.drop([2])
    results += [r for t in range(4, 8) for r in engine.push(video.frames[t])] + engine.flush()
    check(results, video)
    assert [result.ids for result in results] == [(1, 2, 3)] * 4 + [(1, 3)] * 4


def test_a_dropped_object_id_can_come_back(model: VOSModel) -> None:
    video = moving_squares(6)
    engine = model.propagator()
    results = engine.push(video.frames[0], video.labels[0]) + engine.push(video.frames[1])
    results += engine.drop([1])
    results += engine.push(video.frames[2], video.only(1, frame=2))
    results += [r for t in range(3, 6) for r in engine.push(video.frames[t])] + engine.flush()
    check(results, video)
    assert results[-1].ids == (2, 1)


def test_dropping_every_object_leaves_background_and_no_memory(model: VOSModel) -> None:
    video = moving_squares(4)
    engine = model.propagator()
    results = engine.push(video.frames[0], video.labels[0]) + engine.push(video.frames[1]) + engine.drop([1, 2])
    results += engine.push(video.frames[2]) + engine.push(video.frames[3], video.labels[3]) + engine.flush()
    check(results, video)
    assert results[2].ids == ()
    assert results[3].ids == (1, 2)


def test_an_object_can_be_corrected_and_starts_anew(model: VOSModel) -> None:
    video = moving_squares(7)
    wrong = np.roll(video.labels[0], 30, axis=1)
    results = run(model, video, {0: wrong, 3: video.labels[3]})
    check(results, video)
    assert results[-1].ids == (1, 2)
    assert (results[3].label_map() == video.labels[3]).mean() > 0.97
    fresh = Video(video.frames[3:], video.labels[3:])
    anew = run(model, fresh)
    later = [r.probabilities for r in results[3:]]
    assert max((a - b.probabilities).abs().max().item() for a, b in zip(later, anew, strict=True)) <= 1e-4


def test_correcting_one_object_leaves_the_other_known(model: VOSModel) -> None:
    video = moving_squares(7, objects=3)
    results = run(model, video, {0: video.labels[0], 3: video.only(1, frame=3)})
    check(results, video)
    assert results[-1].ids == (1, 2, 3)
    assert ((results[3].label_map() == 1) >= (video.labels[3] == 1)).mean() > 0.97


def test_an_object_that_vanishes_and_returns_is_followed_without_failing(model: VOSModel) -> None:
    video = moving_squares(9, hidden=range(3, 6))
    results = run(model, video)
    check(results, video)
    assert all(result.ids == (1, 2) for result in results)


def test_an_object_of_one_pixel_and_one_that_fills_the_frame_are_followed(model: VOSModel) -> None:
    video = moving_squares(4)
    labels = np.full_like(video.labels[0], 1)
    labels[30, 40] = 2
    check(run(model, video, {0: labels}), video)


def test_permuting_the_object_ids_permutes_the_outputs(model: VOSModel) -> None:
    video = moving_squares(6, objects=3)
    permuted = np.array([0, 9, 4, 7], dtype=np.uint8)[video.labels]
    straight, swapped = run(model, video), run(model, video, {0: permuted[0]})
    assert_informative(straight)
    assert swapped[0].ids == (4, 7, 9)
    for a, b in zip(straight, swapped, strict=True):
        rows = [0, *(1 + b.ids.index(i) for i in (9, 4, 7))]
        torch.testing.assert_close(a.probabilities, b.probabilities[rows], atol=1e-3, rtol=0)


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


# -- refusals --------------------------------------------------------------------------------------------------------


def test_an_unknown_hyper_parameter_or_setting_is_refused_by_name(method: str, model: VOSModel) -> None:
    with pytest.raises(UsageError, match="no_such_parameter"):
        build(method, no_such_parameter=1)
    with pytest.raises(UsageError, match="no_such_setting"):
        run(model, moving_squares(1), no_such_setting=1)
    with pytest.raises(UsageError, match="preset"):
        run(model, moving_squares(1), preset="fastest")


def test_tracking_without_a_prompt_is_refused_before_a_frame_is_read(model: VOSModel) -> None:
    def frames() -> Iterator[Any]:
        raise AssertionError("a frame was read")
        yield

    with pytest.raises(UsageError, match="nothing to track"):
        model.track(frames(), {})


def test_a_prompt_after_the_end_of_the_video_is_reported(model: VOSModel) -> None:
    video = moving_squares(2)
    with pytest.raises(UsageError, match="frame 5"):
        run(model, video, {0: video.labels[0], 5: video.labels[0]})
