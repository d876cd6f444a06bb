"""LWL's full protocol on short videos: tracking, learner, merging, late objects, boxes, both crop arithmetics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tests.parity.golden import Golden, fill_weights, given
from vos_zoo.create import convert_checkpoint
from vos_zoo.engine.propagator import Propagator
from vos_zoo.model import VOSModel

PROBABILITY, LABELS, LOGITS = 2e-3, 0.999, 1e-3
SEQUENCES = ("sequence_1obj", "sequence_2obj", "sequence_late", "sequence_late_intcrop", "sequence_box")


def settings_of(golden: Golden) -> dict[str, Any]:
    """The authors' parameter file in our words."""
    params, integer = golden.meta["params"], "int" in golden.meta["case"].rsplit("_", 1)[-1]
    return {
        "size": tuple(params["image_sample_size"]),
        "area_scale": params["search_area_scale"],
        "scale_change": tuple(params["max_scale_change"]),
        "minimum_area": params["min_mask_area"],
        "arithmetic": "integer" if integer else "half_pixel",
        "capacity": params["sample_memory_size"],
        "learning_rate": params["learning_rate"],
        "minimum_first_weight": params["init_samples_minimum_weight"],
        "equal_second": params.get("lower_init_weight", False),
        "first_iterations": params["net_opt_iter"],
        "update_iterations": params["net_opt_update_iter"],
        "refresh_every": params["train_skipping"],
    }


def load(folder: Path, golden: Golden) -> VOSModel:
    boxes = golden.meta["net"] == "box"
    state = fill_weights(folder, "state_dict_box.csv" if boxes else "state_dict.csv", golden.salt)
    return convert_checkpoint(state, method="lwl").eval()


def prompts_of(golden: Golden) -> dict[int, Any]:
    """Frame -> label map with the objects that start there, or their boxes."""
    prompts: dict[int, Any] = {}
    for labels, (frame, ids) in zip(golden["init_labels"], golden.meta["init"].items(), strict=True):
        if golden.meta["params"].get("init_with_box"):
            prompts[int(frame)] = {int(i): box for i, box in golden.meta["init_boxes"][frame].items()}
        else:
            prompts[int(frame)] = given(labels, ids)
    return prompts


class Recorder:
    """Keeps what the network saw and said, per object and call."""

    def __init__(self, model: VOSModel, engine: Propagator) -> None:
        self.engine = engine
        self.logits: list[Tensor] = []
        self.first_masks: list[Tensor] = []
        self._wrap(engine.view, "lift", lambda arguments: self.logits.append(arguments[0].detach().clone()))
        admit = engine.view.admit

        def admitted(*arguments: Any) -> Any:
            canvases, masks = admit(*arguments)
            self.first_masks.extend(masks)
            return canvases, masks

        engine.view.admit = admitted  # type: ignore[method-assign]

    @staticmethod
    def _wrap(owner: Any, name: str, watch: Any) -> None:
        inner = getattr(owner, name)

        def wrapped(*arguments: Any) -> Any:
            watch(arguments)
            return inner(*arguments)

        setattr(owner, name, wrapped)


@pytest.mark.parametrize("stable", [False, True], ids=["exact windows", "stable windows"])
@pytest.mark.parametrize("name", SEQUENCES)
def test_a_whole_sequence_equals_the_golden_one(reference_dir: Path, name: str, stable: bool) -> None:
    folder = reference_dir / "lwl"
    golden = Golden(folder / f"{name}.npz")
    model = load(folder, golden)
    engine = model.propagator(**settings_of(golden), stable_windows=stable)
    recorder = Recorder(model, engine)
    prompts, log = prompts_of(golden), golden.meta["per_object_log"]
    for t, frame in enumerate(golden["images"]):
        (result,) = engine.push(frame, prompts.get(t))
        probabilities = result.probabilities[1:].numpy()
        for row, i in enumerate(result.ids):
            column = [int(k) for k in golden.meta["object_ids"]].index(i)
            difference = np.abs(probabilities[row] - golden["probs"][t, column].astype(np.float32)).max()
            assert difference <= PROBABILITY, f"frame {t}, object {i}: {difference}"
            check_target(engine, log[str(i)], t, row, start=len(golden["images"]) - len(log[str(i)]))
        assert (result.label_map() == golden["labels"][t]).mean() >= LABELS, f"frame {t}"
    check_crops(recorder, golden)


def check_target(engine: Propagator, log: list[dict[str, Any]], t: int, row: int, start: int) -> None:
    """State, memory weights and filter after frame t: the authors log them at the next frame."""
    entry = t - start + 1
    if not 0 < entry < len(log):
        return
    target = engine.view.targets[row]  # type: ignore[attr-defined]
    np.testing.assert_allclose(target.centre, log[entry]["pos"], atol=2e-2)
    np.testing.assert_allclose(target.scale, log[entry]["target_scale"], rtol=1e-4)


def check_crops(recorder: Recorder, golden: Golden) -> None:
    """Mask crops of the first frames and raw logits of the first and last search crops."""
    for row, i in enumerate(golden.meta["object_ids"]):
        expected = golden.tensor(f"init_mask_crop_obj{i}").float().flatten()
        assert (recorder.first_masks[row].flatten() - expected).abs().max() <= 2e-3
        own = [logits[row].flatten() for logits in recorder.logits if len(logits) > row]
        for which, logits in (("first", own[0]), ("last", own[-1])):
            golden_logits = golden.tensor(f"logit_{which}_obj{i}").flatten()
            assert (logits - golden_logits).abs().max() <= LOGITS * golden_logits.abs().max(), which
