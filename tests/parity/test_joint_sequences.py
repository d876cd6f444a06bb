"""JOINT's full protocol on short videos, and the fast paths against a naive one that lives in this file only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tests.helpers.naive_joint import NaiveTarget
from tests.parity.golden import Golden, given
from tests.parity.joint import load
from vos_zoo.engine.propagator import Propagator
from vos_zoo.methods.joint.transformer_target import TransformerMemory
from vos_zoo.model import VOSModel

PIXELS, OF_PIXELS, PROBABILITY, GEOMETRY = 20, 663_552, 2e-3, 1e-3
SCORES = 5e-2
"""Raw scores are stored in half precision at values up to 100."""
RUNS = [("sequence_1obj", "a_"), ("sequence_1obj", "b_"), ("sequence_2obj", "a_"), ("sequence_2obj", "b_")]


def settings_of(params: dict[str, Any]) -> dict[str, Any]:
    """The authors' parameter file in our words."""
    assert params["train_skipping"] == 1 and params["border_mode"] == "inside_major"
    return {
        "size": tuple(params["image_sample_size"]),
        "area_scale": params["search_area_scale"],
        "scale_change": tuple(params["max_scale_change"]),
        "minimum_area": params["min_mask_area"],
        "capacity": params["sample_memory_size"],
        "write_every": params["train_sample_interval"],
        "learning_rate": params["learning_rate"],
        "minimum_first_weight": params["init_samples_minimum_weight"],
        "first_iterations": params["net_opt_iter"],
        "update_iterations": params["net_opt_update_iter"],
    }


def prompts_of(golden: Golden, run: str) -> dict[int, Any]:
    """Frame -> label map of the objects that start there."""
    return {int(t): given(golden["gt"][int(t)], ids) for t, ids in golden.meta["runs"][run]["init"].items()}


class Recorder:
    """Keeps geometry, raw scores and weights per (object id, number of the object's frame, from 1)."""

    def __init__(self, engine: Propagator) -> None:
        self.engine = engine
        self.geometry: dict[tuple[int, int], list[float]] = {}
        self.scores: dict[tuple[int, int], Tensor] = {}
        self.weights: dict[tuple[int, int], np.ndarray] = {}
        self.count: dict[int, int] = {}
        lift = engine.view.lift

        def lifted(logits: Tensor, canvases: Any) -> Tensor:
            pasted = lift(logits, canvases)
            for row, i in enumerate(list(self.count)):
                self.scores[i, self.count[i]] = pasted[0, row].clone()
            return pasted

        engine.view.lift = lifted  # type: ignore[method-assign]

    def push(self, frame: Any, prompt: Any) -> Any:
        view: Any = self.engine.view
        self.count = {i: number + 1 for i, number in self.count.items()}
        for row, i in enumerate(self.count):
            target = view.targets[row]
            centre = target.centre + view._half_cell * target.scale
            self.geometry[i, self.count[i]] = [*centre, target.scale, *target.size]
        before = [memory.writes for memory in self._memories()]
        (result,) = self.engine.push(frame, prompt)
        for memory, writes in zip(self._memories(), before, strict=False):
            for row, i in enumerate(list(self.count)):
                if memory.writes[row] != writes[row]:
                    self.weights[i, self.count[i]] = memory.samples.weights[:, row].cpu().numpy().copy()
        for i in result.ids:
            self.count.setdefault(i, 1)
        return result

    def _memories(self) -> list[TransformerMemory]:
        return [group.memory.transductive for group in self.engine._groups]


@pytest.fixture(scope="module")
def models() -> dict[Any, VOSModel]:
    return {}


def model_of(models: dict[Any, VOSModel], folder: Path, golden: Golden) -> VOSModel:
    if golden.salt not in models:
        models[golden.salt] = load(folder, golden.salt)
    return models[golden.salt]


@pytest.mark.parametrize("fast", ["re-encoded", "incremental"])
@pytest.mark.parametrize(("name", "run"), RUNS)
def test_a_whole_sequence_equals_the_golden_one(
    reference_dir: Path, models: dict[Any, VOSModel], name: str, run: str, fast: str
) -> None:
    folder = reference_dir / "joint"
    golden = Golden(folder / f"{name}.npz")
    settings = settings_of(golden.meta["runs"][run]["params"])
    engine = model_of(models, folder, golden).propagator(**settings, incremental=fast == "incremental")
    recorder, prompts, wrong = Recorder(engine), prompts_of(golden, run), 0
    ids = sorted(int(i) for given in golden.meta["runs"][run]["init"].values() for i in given)
    for t, frame in enumerate(golden["images"]):
        result = recorder.push(frame, prompts.get(t))
        wrong += int((result.label_map() != golden[f"{run}labels"][t]).sum())
        for row, i in enumerate(result.ids):
            theirs = golden[f"{run}prob"][t, ids.index(i)].astype(np.float32)
            difference = np.abs(result.probabilities[row + 1, ::2, ::2].numpy() - theirs)
            assert difference.max() <= PROBABILITY, f"frame {t}, object {i}: {difference.max()}"
            assert (difference <= 1e-3).mean() >= 0.999, f"frame {t}, object {i}"
    assert wrong <= PIXELS * golden["images"][..., 0].size / OF_PIXELS, f"{wrong} label pixels differ"
    for key, geometry, scores in zip(
        map(tuple, golden[f"{run}raw_index"]), golden[f"{run}geom"], golden[f"{run}raw_score_sub4"], strict=True
    ):
        np.testing.assert_allclose(recorder.geometry[key], geometry, rtol=0, atol=GEOMETRY, err_msg=str(key))
        np.testing.assert_allclose(recorder.scores[key][::4, ::4], scores.astype(np.float32), rtol=2e-3, atol=SCORES)
    assert recorder.weights.keys() == {tuple(key) for key in golden[f"{run}sw_index"]}
    for key, weights in zip(map(tuple, golden[f"{run}sw_index"]), golden[f"{run}sw"], strict=True):
        np.testing.assert_allclose(recorder.weights[key], weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize("incremental", [False, True], ids=["re-encoded", "incremental"])
@pytest.mark.parametrize(("name", "run"), [RUNS[1], RUNS[3]])
def test_the_fast_path_equals_the_naive_one(
    reference_dir: Path, models: dict[Any, VOSModel], name: str, run: str, incremental: bool
) -> None:
    folder = reference_dir / "joint"
    golden = Golden(folder / f"{name}.npz")
    model, prompts = model_of(models, folder, golden), prompts_of(golden, run)
    settings = settings_of(golden.meta["runs"][run]["params"])
    parallel: Any = model.network.target
    fast = parallel.transductive
    found = []
    for branch in (fast, NaiveTarget(fast.transformer)):
        parallel.transductive = branch
        engine = model.propagator(**settings, incremental=incremental)
        results = [engine.push(frame, prompts.get(t))[0] for t, frame in enumerate(golden["images"])]
        found.append([result.probabilities for result in results])
    parallel.transductive = fast
    for t, (ours, naive) in enumerate(zip(*found, strict=True)):
        assert (ours - naive).abs().max() <= 2e-4, f"frame {t}"
