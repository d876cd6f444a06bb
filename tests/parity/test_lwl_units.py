"""LWL's geometry, merging, memory weights and loss, case by case."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.golden import Golden
from vos_zoo.engine.merge import given_logits, soft_aggregation
from vos_zoo.losses import lovasz_loss
from vos_zoo.methods._few_shot.sample_memory import SampleMemory, SamplePolicy
from vos_zoo.methods._few_shot.search_region import SearchRegion, crop_window, cut, mask_moments, paste
from vos_zoo.methods.lwl.label_encoder import rasterise_boxes

PIXELS = 1e-2


@pytest.fixture(scope="module")
def golden(reference_dir: Path) -> Golden:
    return Golden(reference_dir / "lwl" / "units.npz")


@pytest.fixture(scope="module")
def image(golden: Golden) -> torch.Tensor:
    return torch.from_numpy(golden["image"]).permute(2, 0, 1).float()


@pytest.mark.parametrize("arithmetic", ["float", "int"])
def test_search_crops_equal_the_golden_ones(golden: Golden, image: torch.Tensor, arithmetic: str) -> None:
    mask = torch.from_numpy(golden["mask"])[None, None].float()
    for k, case in enumerate(golden.json("patch_cases")):
        window = crop_window(
            case["pos"],
            case["sample_sz"],
            tuple(case["output_sz"]),
            (image.shape[1], image.shape[2]),
            border=case["mode"],
            shrink_limit=case["max_scale_change"],
            half_pixel=arithmetic == "float",
        )
        name = f"patch_{arithmetic}_{k}"
        np.testing.assert_allclose(window.corners, case[arithmetic]["coords"], atol=1e-4, err_msg=name)
        patch = cut(mask if case["is_mask"] else image[None], window, tuple(case["output_sz"]), mask=case["is_mask"])
        difference = (patch[0, :, ::5, ::5] - golden.tensor(name)).abs().max()
        assert difference <= (0 if case["is_mask"] else PIXELS), (name, case)


@pytest.mark.parametrize("arithmetic", ["float", "int"])
def test_first_frame_crops_equal_the_golden_ones(golden: Golden, image: torch.Tensor, arithmetic: str) -> None:
    mask = torch.from_numpy(golden["mask"]).float()
    for k, case in enumerate(golden.json("init_cases")):
        size = tuple(case["size"])
        view = SearchRegion(size, case["search_area_scale"], half_pixel=arithmetic == "float", stable=False)
        canvases, masks = view.admit(image, mask[None], [0], [case["box"]])
        name = f"init_im_{arithmetic}_{k}"
        assert (canvases.pixels[0, 0, :, ::8, ::8] - golden.tensor(name)).abs().max() <= PIXELS, (name, case)
        assert view.targets[0].scale == pytest.approx(case["target_scale"], rel=1e-5)
        bits = np.unpackbits(golden[f"init_mask_{arithmetic}_{k}"])[: masks.numel()]
        assert (masks.flatten().numpy() == bits).all(), (name, case)


def test_moments_equal_the_golden_ones(golden: Golden) -> None:
    mass, centres, sizes = mask_moments(golden.tensor("state_in"))
    for own_mass, centre, size, expected in zip(mass, centres, sizes, golden["state_out"], strict=True):
        if own_mass >= 100:
            np.testing.assert_allclose([centre, size], expected, atol=1e-3)


def test_pasting_equals_the_golden_one(golden: Golden, image: torch.Tensor) -> None:
    scores = golden.tensor("paste_in")[0]
    for k, case in enumerate(golden.json("paste_cases")):
        pasted = paste(scores, case["scale"], case["pos"], (image.shape[1], image.shape[2]))[0, ::4, ::4]
        assert (pasted - golden.tensor(f"paste_{k}")).abs().max() <= PIXELS, case


def test_merging_equals_the_golden_one(golden: Golden) -> None:
    logits = torch.cat([golden.tensor("merge_in"), given_logits(golden.tensor("merge_init_mask")[None])])
    merged = soft_aggregation(logits)
    np.testing.assert_allclose(merged[1:].numpy(), golden["merge_prob"], atol=1e-5)
    stated = re.search(r"order ([\d,]+)", golden.meta["arrays"]["merge_prob"]["desc"])
    assert stated is not None
    ids = np.array([0, *map(int, stated[1].split(","))], dtype=np.uint8)
    assert (ids[merged.argmax(0).numpy()] == golden["merge_label"]).all()


def test_temporal_weights_equal_the_golden_ones(golden: Golden) -> None:
    for name in golden.names("mem_w_"):
        kind, capacity = name.split("_")[2:]
        box = kind == "box"
        policy = SamplePolicy(int(capacity), 0.2 if box else 0.1, 0.0 if box else 0.25, equal_second=box)
        with torch.no_grad():
            memory = SampleMemory(policy).start({"x": torch.zeros(1, 1)}, [0])
            for weights, slot in zip(golden[name], golden[name.replace("_w_", "_r_")], strict=True):
                memory = memory.write({"x": torch.ones(1, 1)})
                np.testing.assert_allclose(memory.weights[:, 0].numpy(), weights, atol=1e-6)
                assert memory.latest[0] == slot


def test_lovasz_loss_and_gradient_equal_the_golden_ones(golden: Golden) -> None:
    for name in golden.names("lovasz_logit_"):
        logits = golden.tensor(name).requires_grad_()
        k = name.rsplit("_", 1)[-1]
        loss = lovasz_loss(logits, golden.tensor(f"lovasz_label_{k}").float())
        assert loss.item() == pytest.approx(float(golden[f"lovasz_loss_{k}"]), abs=1e-6)
        loss.backward()
        assert logits.grad is not None
        np.testing.assert_allclose(logits.grad.numpy(), golden[f"lovasz_grad_{k}"], atol=1e-6)


def test_boxes_are_rasterised_like_the_golden_ones(golden: Golden) -> None:
    expected = golden["boxmask_out"]
    masks = rasterise_boxes(golden.tensor("boxmask_in"), expected.shape[1:])
    assert (masks.numpy() == expected).all()
