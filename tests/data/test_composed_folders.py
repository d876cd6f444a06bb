"""Composed clips of pictures and videos in folders, as training batches and in the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.composed_clips import blobs
from vos_zoo.config.layers import load_config, to_plain
from vos_zoo.config.schema import RunConfig
from vos_zoo.data.composed.videos import ComposedDataset
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.opening import open_dataset
from vos_zoo.tasks.data import run_check_data
from vos_zoo.types import UsageError, VOSError

# --- from folders -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stills")
    for number in range(6):
        frame, labels = blobs(number, objects=1)
        Image.fromarray(frame).save(root / f"{number}.jpg", quality=95)
        Image.fromarray(labels * np.uint8(255)).save(root / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "train.txt").write_text("one\n")
    for number in range(14):
        for name in ("one", "held_out"):
            frame, labels = blobs(30 if name == "one" else 31)
            for kind, pixels, suffix in (("JPEGImages", frame, "jpg"), ("Annotations", labels, "png")):
                folder = root / kind / "480p" / name
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{number:05d}.{suffix}")
    return root


TINY: dict[str, Any] = {"size": [64, 96], "frames": 24, "val_videos": 2, "test_videos": 3}


def test_pictures_videos_and_backgrounds_are_opened_from_their_folders(stills: Path, videos: Path) -> None:
    given: dict[str, Any] = {**TINY, "videos": str(videos), "backgrounds": str(stills)}
    dataset = open_dataset("composed", stills, split="val", composed=given)
    assert isinstance(dataset, ComposedDataset)
    assert [part.name.split("-")[0] for part in dataset.sources.datasets] == ["instances", "davis2017"]
    assert [video.name for video in dataset.sources.datasets[1]] == ["one"]  # never what the list leaves out
    assert len(dataset.sources.plain) == 12
    assert [clip.name for clip in dataset] == ["composed_val_000000", "composed_val_000001"]
    assert dataset[0].cutting.ground.dataset == -1
    assert dataset[0].frame(3).shape == (64, 96, 3)
    alone = open_dataset("composed", None, split="train", composed={**TINY, "videos": str(videos)})
    assert alone[0].frame(0).shape == (64, 96, 3)
    chosen = open_dataset("composed", stills, split="train", composed=TINY, sequences=["2", "3"])
    assert isinstance(chosen, ComposedDataset) and len(chosen.sources.datasets[0]) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colour": 1}, r"unknown key data\.composed\.colour"),
        ({"kind": "synthetic"}, r"data\.composed\.kind: 'synthetic' is drawn itself"),
        ({"kind": "instance"}, r"'instance' is not known; did you mean 'instances'"),
        ({"backgrounds": "/nowhere"}, r"data\.composed\.backgrounds: there is no folder /nowhere"),
        ({"videos": "/nowhere"}, r"no folder /nowhere"),
    ],
)
def test_wrong_sources_are_refused_by_name(stills: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_dataset("composed", stills, composed=given)
    with pytest.raises(UsageError, match=r"'composed': no folder given; set its root \(data\.root=FOLDER\)"):
        open_dataset("composed")


@pytest.mark.parametrize("canvas", ["frame", "object"])
@pytest.mark.parametrize("objects", [1, 3])
def test_both_canvases_are_fed_and_batches_can_be_repeated(stills: Path, canvas: str, objects: int) -> None:
    options: dict[str, Any] = {
        "batch_size": 3,
        "workers": 0,
        "batches_per_epoch": 2,
        "crop": {"size": [48, 64]},
        "canvas": canvas,
        "composed": TINY,
        "sampling": {"query_frames": 2, "objects": objects},
    }
    first, again = ([*VOSDataModule("composed", str(stills), **options).train_dataloader()] for _ in range(2))
    for one, two in zip(first, again, strict=True):
        assert one.frames.shape == (3, 3, 3, 48, 64)
        assert one.masks.shape == (3, 3, objects, 48, 64)
        assert one.masks[:, 0].sum() > 0
        assert one.names == two.names
        np.testing.assert_array_equal(one.frames.numpy(), two.frames.numpy())
        np.testing.assert_array_equal(one.masks.numpy(), two.masks.numpy())


def test_composed_clips_are_a_part_of_mixtures_and_can_be_tested_on(stills: Path) -> None:
    overrides = [f"data.mixture.composed.root={stills}", "data.mixture.composed.weight=3", "data.mixture.synthetic={}"]
    overrides += ["data.composed.size=[64,96]", "data.composed.frames=24", "data.synthetic.train_videos=3"]
    config = load_config("lwl", "synthetic", overrides=overrides)
    module = VOSDataModule(**to_plain(config.data))
    sampler = module.clips().sampler
    assert [dataset.name for dataset in sampler.datasets] == ["composed", "synthetic"]
    np.testing.assert_allclose(sampler.probabilities, [0.75, 0.25])
    alone = load_config("lwl", "composed", overrides=[f"data.root={stills}", "data.composed.test_videos=3"])
    module = VOSDataModule(**to_plain(alone.data))
    assert [clip.name for clip in module.test_dataloader()] == [f"composed_test_{number:06d}" for number in range(3)]
    with pytest.raises(UsageError, match="'composed': no folder given"):
        VOSDataModule("synthetic", mixture={"composed": {}}).setup("fit")


def test_an_endless_data_set_is_not_looked_through(
    stills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    get = ComposedDataset.__getitem__

    def counted(self: ComposedDataset, index: Any) -> Any:
        asked.append(index)
        return get(self, index)

    monkeypatch.setattr(ComposedDataset, "__getitem__", counted)
    for canvas in ("frame", "object"):
        options: dict[str, Any] = {"canvas": canvas, "composed": TINY, "crop": {"size": [48, 64]}, "workers": 0}
        module = VOSDataModule("composed", str(stills), **options, pack=str(tmp_path))
        asked.clear()
        module.clips()
        assert len(asked) < 50
        assert len(module.clips().sampler.datasets[0]) == 100_000


def test_broken_backgrounds_are_named_and_can_be_left_out(stills: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "good.jpg")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "bad.jpg").write_bytes(b"nothing")
    given: dict[str, Any] = {**TINY, "backgrounds": str(tmp_path)}
    with pytest.raises(VOSError, match=r"data\.composed\.backgrounds: .*bad\.jpg: .*skip_broken=true"):
        open_dataset("composed", stills, composed=given)
    with pytest.warns(UserWarning, match="left out: .*bad.jpg"):
        dataset = open_dataset("composed", stills, composed=given, skip_broken=True)
    assert isinstance(dataset, ComposedDataset) and dataset.sources.plain == (tmp_path / "good.jpg",)
    (tmp_path / "good.jpg").unlink()
    with pytest.warns(UserWarning), pytest.raises(UsageError, match=r"backgrounds: no pictures in"):
        open_dataset("composed", stills, composed=given, skip_broken=True)


def test_check_data_looks_through_what_the_clips_are_cut_out_of(
    stills: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RunConfig()
    config.data.name, config.data.root = "composed", str(stills)
    assert run_check_data(config=config) == 0
    assert "6 sequences, 6 frames, 6 with masks" in capsys.readouterr().out
