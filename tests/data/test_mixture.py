"""Training on static images and on mixtures of data sets, through the data module."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_static_images import annotation, write_coco, write_pair
from vos_zoo.config.layers import load_config, to_plain
from vos_zoo.config.settings.clips import AugmentSettings, CropSettings, JitterSettings, SamplingSettings
from vos_zoo.config.settings.data import MixturePart
from vos_zoo.config.settings.generated import SyntheticSettings
from vos_zoo.data.clips.sampling import MiniSequenceSampler
from vos_zoo.data.clips.transforms import ClipTransform
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.datasets.static_images import MaskedPicture, SaliencyDataset
from vos_zoo.data.synthetic.videos import SyntheticDataset
from vos_zoo.types import Box, UsageError, VOSError

SMALL: dict[str, Any] = {
    "batch_size": 4,
    "workers": 0,
    "batches_per_epoch": 3,
    "crop": {"size": [32, 48]},
    "synthetic": {"size": [32, 48], "frames": 12, "train_videos": 2, "val_videos": 2},
}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    rows = [annotation(1, 9), annotation(2, 25), annotation(3, 25, bbox=[1.5, 4.5, 18.0, 4.0])]
    return write_coco(tmp_path / "coco", rows, tmp_path / "coco" / "train2017")


@pytest.fixture
def saliency(tmp_path: Path) -> Path:
    for name in ("ecssd/1", "ecssd/2", "HRSOD_small/3"):
        write_pair(tmp_path / "sets" / f"{name}.jpg", tmp_path / "sets" / f"{name}.png", size=(60, 40))
    return tmp_path / "sets"


def test_coco_makes_training_batches_around_its_own_boxes(coco: Path) -> None:
    augment = {"flip": 0, "affine": False, "brightness": 0, "grayscale": 0}
    jitter = {"reference_scale": 0, "query_scale": 0, "reference_centre": [0, 0], "query_centre": [0, 0]}
    crop = {"size": [32, 48], "factor": 2.0}
    data = VOSDataModule("coco", str(coco), **{**SMALL, "crop": crop}, augment=augment, jitter=jitter)
    batch = next(iter(data.train_dataloader()))
    assert batch.frames.shape == (4, 4, 3, 32, 48)
    assert batch.masks.shape == (4, 4, 1, 32, 48)
    assert all(name in {"000000000009/1/1", "000000000025/2/1", "000000000025/3/1"} for name in batch.names)
    assert batch.valid.all()
    assert set(batch.masks.unique().tolist()) == {0.0, 1.0}
    for frames, boxes in zip(batch.frames, batch.boxes, strict=True):  # nothing moves: four times the same canvas
        assert torch.equal(frames, frames[:1].expand_as(frames))
        assert torch.equal(boxes, boxes[:1].expand_as(boxes))
    for name, boxes in zip(batch.names, batch.boxes, strict=True):
        width, height = boxes[0, 0, 2:].tolist()
        stated = 18 / 4 if "/3/" in name else 7.5 / 6
        assert width / height == pytest.approx(stated, rel=0.15)


def test_the_stated_box_decides_the_crop_even_where_the_mask_is_empty() -> None:
    picture, empty = np.zeros((60, 80, 3), np.uint8), np.zeros((1, 60, 80), np.uint8)
    picture[20:40, 30:60] = 250
    still = JitterSettings(0, (0, 0), 0, (0, 0))
    plain = AugmentSettings(grayscale=0, flip=0, affine=False, brightness=0)
    transform = ClipTransform(CropSettings((20, 30), factor=1.0), still, plain)
    frames, masks, boxes = transform([picture] * 2, [empty] * 2, 1, np.random.default_rng(0), [Box(30, 20, 30, 20)])
    assert (frames[:, :, :19, :29] == 250).all()
    assert not masks.any()
    assert boxes[0, 0].tolist() == [0, 0, 30, 20]
    with pytest.raises(VOSError, match="without any object"):
        transform([picture] * 2, [empty] * 2, 1, np.random.default_rng(0))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 3))
def test_one_picture_given_several_times_makes_the_clip_its_copies_would_make(
    seed: int, references: int, queries: int
) -> None:
    random = np.random.default_rng(7)
    picture, mask = random.integers(0, 256, (30, 40, 3), dtype=np.uint8), np.zeros((1, 30, 40), np.uint8)
    mask[0, 10:20, 12:30] = 1
    transform = ClipTransform(CropSettings((24, 32)), JitterSettings(), AugmentSettings(grayscale=0.5))
    count = references + queries
    shared = transform([picture] * count, [mask] * count, references, np.random.default_rng(seed))
    copies = [picture.copy() for _ in range(count)]
    apart = transform(copies, [mask.copy() for _ in range(count)], references, np.random.default_rng(seed))
    for one, two in zip(shared, apart, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("motion", ["crops", "warps"])
@pytest.mark.parametrize("objects", [1, 3])
def test_pictures_with_masks_make_batches_in_both_ways_of_motion(saliency: Path, motion: str, objects: int) -> None:
    sampling = {"query_frames": 2, "objects": objects}
    data = VOSDataModule("saliency", str(saliency), **SMALL, static={"motion": motion}, sampling=sampling)
    for batch in data.train_dataloader():
        assert batch.frames.shape == (4, 3, 3, 32, 48)
        assert batch.masks.shape == (4, 3, objects, 32, 48)
        assert batch.boxes.shape == (4, 3, objects, 4)
        assert batch.valid.tolist() == [[slot == 0 for slot in range(objects)]] * 4
        assert batch.masks[:, :, 0].any()
        assert not batch.masks[:, :, 1:].any()
        assert not batch.boxes[:, :, 1:].any()
        assert set(batch.masks.unique().tolist()) == {0.0, 1.0}


def test_soft_masks_reach_the_batch_where_asked_for(saliency: Path) -> None:
    data = VOSDataModule("saliency", str(saliency), **SMALL, static={"motion": "warps", "soft_masks": True})
    masks = next(iter(data.train_dataloader())).masks
    assert ((masks > 0) & (masks < 1)).any()
    assert 0 <= masks.min() <= masks.max() <= 1


def test_a_picture_is_decoded_once_per_clip(saliency: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = VOSDataModule("saliency", str(saliency), **SMALL)
    clips, reads, read = data.clips(), Counter[str](), MaskedPicture.frame

    def counted(self: MaskedPicture, index: int) -> Any:
        reads[self.name] += 1
        return read(self, index)

    monkeypatch.setattr(MaskedPicture, "frame", counted)
    for item in range(5):
        clips[item]
    assert sum(reads.values()) == 5


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 2**40))
def test_every_picture_serves_for_every_clip_and_all_its_frames_are_the_same(
    tmp_path_factory: Any, references: int, queries: int, item: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "drawn"
    if not root.exists():
        for n in range(3):
            write_pair(root / f"{n}.jpg", root / f"{n}.png")
    numbers = SamplingSettings(reference_frames=references, query_frames=queries, min_visible_factor=50)
    plan = MiniSequenceSampler([SaliencyDataset(root)], numbers).plan(item)
    assert plan.sequence in range(3)
    assert plan.ids == (1,)
    assert plan.reference == (0,) * references
    assert plan.query == (0,) * queries


def test_a_mixture_is_drawn_by_its_weights_and_videos_are_validated_from_the_named_set(
    coco: Path, saliency: Path
) -> None:
    mixture: dict[str, Any] = {
        "coco": {"root": str(coco), "weight": 3},
        "pictures": {"name": "saliency", "root": str(saliency)},
        "synthetic": {"weight": 2},
    }
    data = VOSDataModule("synthetic", **SMALL, mixture=mixture)
    sampler = data.clips().sampler
    names = [sampler.datasets[sampler.plan(item).dataset].name for item in range(600)]
    shares = Counter(name.split("-")[0].split("_")[0] for name in names)
    assert {name: round(count / 100) for name, count in shares.items()} == {"coco": 3, "saliency": 1, "synthetic": 2}
    assert [video.name for video in data.val_dataloader()] == ["synthetic_val_00000", "synthetic_val_00001"]
    batches = [batch.names for batch in data.train_dataloader()]
    assert len({name.split("_")[0] for names in batches for name in names}) >= 2


def test_videos_that_are_often_refused_keep_their_share_of_a_mixture(saliency: Path) -> None:
    videos = SyntheticDataset(20, "train", SyntheticSettings(size=(32, 48), frames=9, late_objects=0.9))
    sampler = MiniSequenceSampler([videos, SaliencyDataset(saliency)], SamplingSettings(), 0, [1, 1])
    usable = sum(len(frames) > 8 for number in range(20) for frames in sampler.visible(0, number).values())
    assert 0 < usable < sum(len(video.object_ids) for video in videos) * 0.8
    share = sum(sampler.plan(item).dataset for item in range(400)) / 400
    assert abs(share - 0.5) < 0.08


def test_a_part_set_to_null_is_not_used(coco: Path) -> None:
    mixture: dict[str, Any] = {"coco": {"root": str(coco)}, "davis": None}
    data = VOSDataModule("synthetic", **SMALL, mixture=mixture)
    assert [dataset.name for dataset in data.clips().sampler.datasets] == ["coco-train2017"]
    assert (
        VOSDataModule("synthetic", **SMALL, mixture={"coco": None}).clips().sampler.datasets[0].name.startswith("synth")
    )


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ({"coco": {"rot": "x"}}, r"unknown key data\.mixture\.coco\.rot; did you mean data\.mixture\.coco\.root\?"),
        ({"coco": {"weight": 0}}, r"'data\.mixture\.coco\.weight' is 0, expected above 0; null .* removes it"),
        ({"coco": "folder"}, r"data\.mixture\.coco: 'folder' must be keys and values"),
    ],
)
def test_wrong_parts_are_refused_at_construction(mixture: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VOSDataModule("synthetic", **SMALL, mixture=mixture)


def test_a_part_without_folder_or_of_an_unknown_kind_is_refused_before_training(coco: Path) -> None:
    with pytest.raises(UsageError, match=r"data set 'coco': no folder given; set data\.mixture\.coco\.root=FOLDER"):
        VOSDataModule("synthetic", **SMALL, mixture={"coco": {}}).setup("fit")
    with pytest.raises(UsageError, match="data set 'coca' is not known; did you mean 'coco'"):
        VOSDataModule("synthetic", **SMALL, mixture={"coca": {"root": str(coco)}}).setup("fit")


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_single_images_are_no_videos_to_validate_on(coco: Path, stage: str) -> None:
    with pytest.raises(UsageError, match=r"'coco' holds single images.*data\.mixture\.coco\.root.*limit_val_batches=0"):
        VOSDataModule("coco", str(coco), **SMALL).setup(stage)


def test_the_command_line_names_the_parts_of_a_mixture_and_images_train_without_validation(coco: Path) -> None:
    overrides = [f"data.mixture.coco.root={coco}", "data.mixture.coco.weight=2", "data.mixture.davis=null"]
    config = load_config("lwl", "synthetic", overrides=overrides)
    parts = VOSDataModule(**to_plain(config.data)).mixture
    assert {label: (part.name, part.root, part.weight) for label, part in parts.items()} == {
        "coco": ("coco", str(coco), 2)
    }
    alone = load_config("lwl", "coco", overrides=[f"data.root={coco}"])
    assert alone.trainer["limit_val_batches"] == 0
    assert VOSDataModule(**to_plain(alone.data)).videos("train").name == "coco-train2017"


def test_repeats_weigh_parts_by_their_number_of_videos(saliency: Path) -> None:
    parts = {
        "synthetic": {"repeats": 5},
        "saliency": {"root": str(saliency), "repeats": 1},
    }
    data = VOSDataModule(**SMALL, mixture=parts)
    np.testing.assert_allclose(data.clips().sampler.probabilities, [10 / 13, 3 / 13])
    parts["saliency"].pop("repeats")
    with pytest.raises(UsageError, match="not for 'saliency'; give repeats to all or none"):
        VOSDataModule(**SMALL, mixture=parts).clips()
    with pytest.raises(UsageError, match=r"'data\.mixture\.a\.repeats' is 0, expected above 0"):
        MixturePart("a", repeats=0)
