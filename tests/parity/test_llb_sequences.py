"""LLB's full protocol on short videos: one object, two objects, a late object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.golden import Golden, fill_weights
from vos_zoo.create import convert_checkpoint
from vos_zoo.engine.propagator import Propagator
from vos_zoo.methods._few_shot.learner import kernel_to_filter

PROBABILITY, LABELS, STATE, MODULES = 1e-3, 0.999, 1e-3, 2e-5


def settings_of(golden: Golden) -> dict[str, Any]:
    """The authors' parameter file in our words."""
    params = golden.meta["params"]
    return {
        "size": tuple(params["image_sample_size"]),
        "area_scale": params["search_area_scale"],
        "scale_change": tuple(params["max_scale_change"]),
        "minimum_area": params["min_mask_area"],
        "capacity": params["sample_memory_size"],
        "learning_rate": params["learning_rate"],
        "minimum_first_weight": params["init_samples_minimum_weight"],
        "first_iterations": params["net_opt_iter"],
        "update_iterations": params["net_opt_update_iter"],
        "write_every": params["train_sample_interval"],
    }


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({"stable_windows": False, "incremental": True}, id="exact windows, incremental"),
        pytest.param({"stable_windows": True, "incremental": False}, id="stable windows, encoded anew"),
    ],
)
@pytest.mark.parametrize("name", ["sequence_1obj", "sequence_2obj", "sequence_late"])
def test_a_whole_sequence_equals_the_golden_one(reference_dir: Path, name: str, overrides: dict[str, Any]) -> None:
    folder = reference_dir / "llb"
    golden = Golden(folder / f"{name}.npz")
    model = convert_checkpoint(fill_weights(folder, salt=golden.salt), method="llb").eval()
    engine = model.propagator(**settings_of(golden), **overrides)
    prompts = {int(given.removeprefix("init_mask_")): golden[given] for given in golden.names("init_mask_")}
    for t, frame in enumerate(golden["frames"]):
        (result,) = engine.push(frame, prompts.get(t))
        expected = golden["probs"][t].astype(np.float32)
        assert len(result.ids) == sum(p.any() for p in expected), f"frame {t}"
        ours = result.probabilities[1:].numpy()
        assert np.abs(ours - expected[: len(ours)]).max() <= PROBABILITY, f"frame {t}"
        np.testing.assert_allclose(ours.mean((1, 2)), golden["probs_mean"][t][: len(ours)], rtol=1e-4)
        assert (result.label_map() == golden["labels"][t]).mean() >= LABELS, f"frame {t}"
        check_state(engine, golden, t)
    check_end(engine, golden)


def check_state(engine: Propagator, golden: Golden, t: int) -> None:
    """Where the objects were looked for in frame t: the authors log the place a frame later than we move on."""
    # The state after frame t holds what was estimated from frame t - 1: compared before the next frame is read.
    if t + 1 >= len(golden["state"]):
        return
    for row, target in enumerate(engine.view.targets):  # type: ignore[attr-defined]
        expected = golden["state"][t + 1, row]
        ours = [*target.centre, *target.size, target.scale]
        np.testing.assert_allclose(ours, expected[:5], atol=STATE, rtol=1e-4)


def check_end(engine: Propagator, golden: Golden) -> None:
    """Filters and temporal weights after the last frame."""
    for row, i in enumerate(engine.ids):
        (group,) = [group for group in engine._groups if row in group.slots]
        memory, own = group.memory.inductive, group.slots.index(row)
        golden.assert_close(f"final_filter_{i}", kernel_to_filter(memory.kernel[own : own + 1]), MODULES)
        weights = memory.samples.weights[:, own].numpy()
        np.testing.assert_allclose(weights, golden[f"final_sample_weights_{i}"], atol=1e-6)
