"""LLB's crops and memory weights, case by case: the shared geometry and memory with this method's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.golden import Golden
from vos_zoo.methods._few_shot.sample_memory import SampleMemory, SamplePolicy
from vos_zoo.methods._few_shot.search_region import SearchRegion, crop_window, cut

PIXELS = 1e-5
"""Largest difference of a crop, as a share of its largest grey value."""


@pytest.fixture(scope="module")
def golden(reference_dir: Path) -> Golden:
    return Golden(reference_dir / "llb" / "modules.npz")


@pytest.fixture(scope="module")
def image(golden: Golden) -> torch.Tensor:
    return torch.from_numpy(golden["frames"][0]).permute(2, 0, 1).float()


def test_search_crops_equal_the_golden_ones(golden: Golden, image: torch.Tensor) -> None:
    mask = torch.from_numpy(golden["masks"][0])[None, None].float()
    for k, (y, x, scale) in enumerate(golden["crop_cases"]):
        size = tuple(golden.meta["arrays"][f"crop{k}_img"]["full_shape"][-2:])
        frame = (image.shape[1], image.shape[2])
        window = crop_window((y, x), scale * np.array(size), size, frame)
        np.testing.assert_array_equal(window.corners, golden[f"crop{k}_coord"][0])
        golden.assert_close(f"crop{k}_img", cut(image[None], window, size), PIXELS)
        bits = np.unpackbits(golden[f"crop{k}_mask"])[: size[0] * size[1]]
        assert (cut(mask, window, size, mask=True).flatten().numpy() == bits).all(), k


def test_first_frame_crops_equal_the_golden_ones(golden: Golden, image: torch.Tensor) -> None:
    mask = torch.from_numpy(golden["masks"][0]).float()
    for name in [name for name in golden.names("init") if name.endswith("_box")]:
        case, (*box, scale) = name.removesuffix("_box"), golden[name]
        size = tuple(golden.meta["arrays"][f"{case}_patch_x_mask"]["full_shape"][-2:])
        view = SearchRegion(size, float(scale), stable=False)
        canvases, masks = view.admit(image, torch.stack([mask, torch.ones_like(mask)]), [0, 1], [box, box])
        for which, own in zip(("mask", "ones"), masks[:, 0], strict=True):
            golden.assert_close(f"{case}_patch_x_{which}", canvases.pixels[0, 0] * own, PIXELS)


@torch.no_grad()
def test_temporal_weights_equal_the_golden_ones(golden: Golden) -> None:
    names = [name for name in golden.names("memory") if name.endswith("_weights")]
    assert names
    for name in names:
        capacity = int(name.removeprefix("memory").removesuffix("_weights"))
        memory = SampleMemory(SamplePolicy(capacity)).start({"x": torch.zeros(1, 1)}, [0])
        np.testing.assert_allclose(memory.weights[:, 0].numpy(), golden[name][0], atol=1e-6, err_msg=name)
        for weights, slot in zip(golden[name][1:], golden[f"memory{capacity}_slots"], strict=True):
            memory = memory.write({"x": torch.ones(1, 1)})
            np.testing.assert_allclose(memory.weights[:, 0].numpy(), weights, atol=1e-6, err_msg=name)
            assert memory.latest[0] == slot, name
