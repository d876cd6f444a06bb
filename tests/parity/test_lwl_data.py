"""The training pipeline against the golden units of LWL (`lwl/units.npz`): same boxes, same pixels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vos_zoo.config.settings.clips import CropSettings, JitterSettings
from vos_zoo.data.clips import crops
from vos_zoo.types import Box

MEAN_BGR = np.array([102.9801, 115.9465, 122.7717], dtype=np.float32)


@pytest.fixture(scope="module")
def units(reference_dir: Path) -> Any:
    path = reference_dir / "lwl" / "units.npz"
    if not path.is_file():
        pytest.skip("the reference folder holds no lwl/units.npz")
    return np.load(path)


def cases(units: Any, name: str) -> list[dict[str, Any]]:
    found = json.loads(str(units[name]))
    assert found, f"{name} holds no case"
    return list(found)


def test_every_training_crop_has_the_published_window_pixels_mask_and_box(units: Any) -> None:
    image, mask = units["image"], units["mask"]
    for k, case in enumerate(cases(units, "train_cases")):
        width, height = case["output_wh"]
        settings = CropSettings((height, width), case["search_area_factor"], case["mode"], case["max_scale_change"])
        window = crops.crop_window(Box(*case["box"]), image.shape[:2], settings)
        assert [window.x, window.y, window.width, window.height] == case["crop_box"], f"case {k}"
        canvas, masks = crops.cut(image, mask[None], window)
        assert canvas.shape == (height, width, 3)
        stored = units[f"train_im_{k}"]
        assert np.abs(canvas[::4, ::4].astype(int) - stored.astype(int)).max() <= 0.01, f"case {k}"
        np.testing.assert_array_equal(np.packbits(masks[0]), units[f"train_mask_{k}"], err_msg=f"case {k}")
        assert canvas.mean() == pytest.approx(case["im_mean"], abs=1e-6)
        box = crops.box_in_window(Box(*case["gt_box"]), window)
        np.testing.assert_allclose(box, case["gt_in_crop"], atol=5e-5, rtol=1e-6)


def test_box_jitter_follows_the_published_formula_for_both_kinds_of_frames(units: Any) -> None:
    settings = JitterSettings()
    for case in cases(units, "jitter_cases"):
        kind = "reference" if case["mode"] == "train" else "query"
        box = crops.jitter_box(
            Box(*case["box"]),
            getattr(settings, f"{kind}_scale"),
            getattr(settings, f"{kind}_centre"),
            np.asarray(case["normal"]),
            np.asarray(case["uniform"]),
        )
        np.testing.assert_allclose(box, case["jittered"], atol=5e-5)


def test_the_affine_map_moves_picture_mask_and_box_as_published(units: Any) -> None:
    image, mask = units["image"], units["mask"]
    for k, case in enumerate(cases(units, "affine_cases")):
        matrix = crops.affine_matrix(image.shape[:2], case["theta_deg"], case["scale"])
        warped, masks = crops.warp(image, mask[None], matrix)
        stored = units[f"affine_im_{k}"]
        assert np.abs(warped[::3, ::3].astype(int) - stored.astype(int)).max() <= 0.01, f"case {k}"
        np.testing.assert_array_equal(np.packbits(masks[0]), units[f"affine_mask_{k}"], err_msg=f"case {k}")
        box = crops.warp_box(Box(*case["box"]), matrix, image.shape[:2])
        np.testing.assert_allclose(box, case["box_out"], atol=5e-5)


def test_a_flip_moves_the_box_as_published(units: Any) -> None:
    stated = re.search(r"box ([\d.,]+)", json.loads(str(units["meta"]))["arrays"]["flip_box"]["desc"])
    assert stated is not None
    box = Box(*map(float, stated[1].split(",")))
    np.testing.assert_allclose(crops.flip_box(box, units["image"].shape[1]), units["flip_box"])


def test_grayscale_weighs_red_and_blue_in_the_published_order(units: Any) -> None:
    from vos_zoo.data.clips.transforms import gray_clip

    gray = gray_clip(units["image"][None])[0]
    np.testing.assert_array_equal(gray[::6, ::6], units["gray"])


def test_brightness_then_the_networks_normalisation_gives_the_published_tensor(units: Any) -> None:
    from vos_zoo.data.clips.transforms import brighten

    names = [name for name in units.files if name.startswith("jitter_norm_")]
    assert names
    for name in names:
        canvas = brighten(units["image"], float(name.rsplit("_", 1)[-1].replace("p", ".")))
        normalised = (canvas[..., ::-1] - MEAN_BGR).transpose(2, 0, 1)
        np.testing.assert_allclose(normalised[:, ::6, ::6], units[name], atol=1e-4)
