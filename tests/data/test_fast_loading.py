"""Faster ways to a batch stay near the exact ones: compact, fused, reduced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.test_datamodule import Recorder, trainer
from tests.data.test_frame_clips import smooth
from tests.helpers.drawn_videos import WHOLE, module
from vos_zoo.data.clips.crops import Window, affine_matrix, cut, cut_and_warp, warp
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.datasets.sequence import read_frame, read_reduced

# -- faster paths


@pytest.mark.parametrize("kind", [{"augment": {"brightness": 0}}, WHOLE], ids=["crops", "frames"])
def test_compact_batches_become_the_plain_ones_on_their_device(drawn: Path, kind: dict[str, Any]) -> None:
    plain = next(iter(module(drawn, **kind).train_dataloader()))
    for workers in (0, 1):
        compact = next(iter(module(drawn, compact=True, workers=workers, **kind).train_dataloader()))
        assert compact.frames.dtype == compact.masks.dtype == torch.uint8
        moved = compact.to("cpu")
        for name in ("frames", "masks", "boxes"):
            assert getattr(moved, name).dtype == torch.float32
            assert torch.equal(getattr(moved, name), getattr(plain, name))
        assert torch.equal(moved.valid, plain.valid)


def test_compact_batches_round_brightened_pixels(drawn: Path) -> None:
    plain, compact = (next(iter(module(drawn, compact=c).train_dataloader())).to("cpu") for c in (False, True))
    assert torch.equal(compact.frames, compact.frames.round())
    assert not torch.equal(plain.frames, plain.frames.round())
    torch.testing.assert_close(compact.frames, plain.frames, atol=0.5001, rtol=0)


def test_a_trainer_gets_compact_batches_as_floats(drawn: Path, tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(model, datamodule=module(drawn, compact=True))
    assert {batch.frames.dtype for batch in model.seen} == {torch.float32}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("box", [(20, 10, 60, 40), (-15, 4, 90, 70), (50, 40, 70, 47)])
def test_a_fused_canvas_is_the_cut_and_turned_one_but_for_the_second_interpolation(
    box: tuple[int, int, int, int], mirrored: bool
) -> None:
    frame = smooth(80, 120, 4)
    mask = np.zeros((2, 80, 120), np.uint8)
    mask[0, 20:60, 30:80], mask[1, 5:30, 70:110] = 1, 1
    window, matrix = Window(*box, (64, 96)), affine_matrix((64, 96), 11, 1.1)
    step = -1 if mirrored else 1
    source = np.ascontiguousarray(frame[:, ::step]), np.ascontiguousarray(mask[..., ::step])
    canvas, masks = warp(*cut(*source, window), matrix)
    fused, fused_masks = cut_and_warp(frame, mask, window, matrix, mirrored)
    assert fused.shape == canvas.shape
    border = cv2.erode(np.pad((canvas.sum(axis=2) > 0).astype(np.uint8), 3), np.ones((5, 5)))[3:-3, 3:-3] == 0
    difference = np.abs(fused.astype(int) - canvas)[~border]
    assert difference.max() <= 4
    assert difference.mean() < 0.6
    for one, two in zip(masks, fused_masks, strict=True):
        edge = cv2.dilate(one, np.ones((3, 3))) != cv2.erode(one, np.ones((3, 3)))
        np.testing.assert_array_equal(one[~edge & ~border], two[~edge & ~border])
    assert set(np.unique(fused_masks)) <= {0, 1}


def test_fused_clips_have_the_boxes_masks_and_colours_of_the_exact_ones(drawn: Path) -> None:
    for grayscale in (0, 1):
        kind: dict[str, Any] = {"augment": {"grayscale": grayscale}, "sampling": {"objects": 2}}
        exact = module(drawn, **kind).clips()
        fused = module(drawn, augment={**kind["augment"], "fused": True}, sampling=kind["sampling"]).clips()
        for item in range(4):
            one, two = exact[item], fused[item]
            assert one.name == two.name
            np.testing.assert_array_equal(one.boxes, two.boxes)
            assert np.abs(one.masks - two.masks).mean() < 0.03
            assert np.abs(one.frames - two.frames).mean() < 5
            if grayscale:
                assert (two.frames[:, :1] == two.frames).all()


def test_reduced_decoding_serves_canvases_that_are_coarser_and_only_those(tmp_path: Path) -> None:
    large = np.kron(smooth(120, 160, 2), np.ones((8, 8, 1), np.uint8))
    labels = np.pad(np.ones((400, 600), np.uint8), ((280, 280), (340, 340)))
    for kind, picture, suffix in (("JPEGImages", large, "jpg"), ("Annotations", labels, "png")):
        for number in range(3):
            path = tmp_path / kind / "480p" / "a" / f"{number:05d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    (tmp_path / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2017" / "train.txt").write_text("a\n")
    options = {**WHOLE, "crop": {"size": [96, 96]}, "frame": {"ratio": [1, 1.3], "colour": [0, 0, 0]}}
    exact, reduced = (module(tmp_path, reduced_decoding=on, **options).clips() for on in (False, True))
    calls: list[int] = []
    video: Any = reduced.sampler.datasets[0][0]
    read = video.reduced_frame
    video.reduced_frame = lambda index, by: calls.append(by) or read(index, by)
    for item in range(3):
        one, two = exact[item], reduced[item]
        np.testing.assert_array_equal(one.masks, two.masks)
        assert np.abs(one.frames - two.frames).mean() < 1.5
    assert set(calls) <= {4, 8}
    assert calls
    calls.clear()
    module_near = module(tmp_path, reduced_decoding=True, **{**options, "crop": {"size": [720, 720]}}).clips()
    near: Any = module_near.sampler.datasets[0][0]
    near.reduced_frame = lambda index, by: calls.append(by)
    assert module_near[0].frames.std() > 5
    assert not calls


def test_a_reduced_picture_is_the_picture_shrunk_by_area_to_a_few_values(tmp_path: Path) -> None:
    Image.fromarray(smooth(130, 201)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(smooth(130, 201)).save(tmp_path / "a.png")
    whole = read_frame(tmp_path / "a.jpg")
    for by in (2, 4, 8):
        small = read_reduced(tmp_path / "a.jpg", by)
        assert small.shape == (-(-130 // by), -(-201 // by), 3)
        missing = small.shape[0] * by - 130, small.shape[1] * by - 201
        padded = cv2.copyMakeBorder(whole, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
        shrunk = cv2.resize(padded, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - shrunk).mean() < 2
    np.testing.assert_array_equal(read_reduced(tmp_path / "a.png", 2), read_frame(tmp_path / "a.png"))


def test_static_pictures_are_reduced_with_their_masks(tmp_path: Path) -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[100:300, 200:420] = 255
    Image.fromarray(smooth(400, 600)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(mask).save(tmp_path / "a.png")
    exact, reduced = (
        VOSDataModule(
            "saliency",
            str(tmp_path),
            workers=0,
            crop={"size": [48, 48]},
            static={"motion": "warps"},
            reduced_decoding=on,
        ).clips()
        for on in (False, True)
    )
    picture: Any = reduced.sampler.datasets[0][0]
    assert picture.reduced_frame(0, 8).shape == (50, 75, 3)
    for item in range(4):
        one, two = exact[item], reduced[item]
        assert np.abs(one.masks - two.masks).mean() < 0.005
        assert np.abs(one.frames - two.frames).mean() < 1
        assert not np.array_equal(one.frames, two.frames)
