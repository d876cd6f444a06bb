"""Packs hold what the files hold, and are made again when the files change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.test_frame_clips import smooth
from tests.helpers.drawn_videos import WHOLE, frame_files, module
from vos_zoo.data.datasets import packing
from vos_zoo.data.datasets.packing import PackedSequence, pack_dataset, packed_size
from vos_zoo.data.datasets.sequence import read_frame
from vos_zoo.data.opening import open_dataset
from vos_zoo.types import VOSError

# -- packs


@pytest.mark.parametrize("kind", [{}, WHOLE], ids=["crops", "frames"])
def test_clips_from_a_pack_are_those_from_the_files(drawn: Path, tmp_path: Path, kind: dict[str, Any]) -> None:
    files, packed = module(drawn, **kind).clips(), module(drawn, pack=str(tmp_path / "pack"), **kind).clips()
    assert isinstance(packed.sampler.datasets[0][0], PackedSequence)
    for item in range(6):
        one, two = files[item], packed[item]
        assert one.name == two.name
        for name in ("frames", "masks", "valid", "boxes"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_a_packed_video_says_what_the_video_says(drawn: Path, tmp_path: Path) -> None:
    source = open_dataset("davis", drawn, split="train")
    video = pack_dataset(source, tmp_path)[1]
    for name in ("name", "frame_names", "object_ids", "annotated", "wanted_frames", "has_truth"):
        assert getattr(video, name) == getattr(source[1], name)
    np.testing.assert_array_equal(video.frame(5), source[1].frame(5))
    np.testing.assert_array_equal(video.labels(5), source[1].labels(5))
    np.testing.assert_array_equal(video.prompts()[0], source[1].prompts()[0])
    assert video.labels(99) is None
    with pytest.raises(ValueError, match="read-only"):
        video.frame(0)[0, 0, 0] = 1


def test_a_pack_is_made_once_and_renewed_for_videos_whose_files_have_changed(
    davis: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed: list[str] = []
    write = packing._pack
    monkeypatch.setattr(packing, "_pack", lambda video, *rest: packed.append(video.name) or write(video, *rest))
    for _ in range(2):
        pack_dataset(open_dataset("davis", davis, split="train"), tmp_path / "pack")
    assert len(packed) == 3
    changed = frame_files(davis)[3]
    Image.fromarray(smooth(64, 96)).save(changed)
    video = pack_dataset(open_dataset("davis", davis, split="train"), tmp_path / "pack")[0]
    assert packed[3:] == [changed.parent.name]
    np.testing.assert_array_equal(video.frame(3), read_frame(changed))
    places = [path for path in (tmp_path / "pack").glob("*/*") if path.name.startswith(changed.parent.name)]
    assert len(places) == 1  # the old state is gone
    assert not list((tmp_path / "pack").glob("*/.*"))


def test_packed_frames_can_be_shrunk_once_as_the_published_preparation_does(drawn: Path, tmp_path: Path) -> None:
    assert packed_size((720, 1280), 480) == (480, 853)
    assert packed_size((1280, 720), 480) == (853, 480)
    assert packed_size((480, 854), 480) == packed_size((480, 854), None) == (480, 854)
    source = open_dataset("davis", drawn, split="train")
    video = pack_dataset(source, tmp_path, 32)[0]
    expected = Image.fromarray(source[0].frame(2)).resize((48, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(video.frame(2), np.asarray(expected))
    labels = Image.fromarray(source[0].labels(2)).resize((48, 32), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(video.labels(2), np.asarray(labels))
    assert pack_dataset(source, tmp_path)[0].frame(2).shape == (64, 96, 3)  # another pack beside it


def test_a_disk_too_full_for_the_pack_is_refused_before_anything_is_written(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 64 * 96 * 4 * 36})
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: free)
    with pytest.raises(VOSError, match=r"data\.pack: .* needs 0\.0 GiB more.*data\.pack_short_side"):
        pack_dataset(open_dataset("davis", drawn, split="train"), tmp_path)
    assert not list(tmp_path.glob("*/*"))


def test_a_video_that_cannot_be_packed_is_named_or_left_out(davis: Path, tmp_path: Path) -> None:
    dataset, broken = open_dataset("davis", davis, split="train"), frame_files(davis)[-1]
    broken.write_bytes(broken.read_bytes()[:-300])
    with pytest.raises(VOSError, match=rf"{broken.parent.name}: frame .*{broken.name}.*data\.skip_broken=true"):
        pack_dataset(dataset, tmp_path / "pack")
    with pytest.warns(UserWarning, match=f"left out: {broken.parent.name}"):
        packed = pack_dataset(dataset, tmp_path / "pack", skip_broken=True)
    assert len(packed) == 2
    assert not list((tmp_path / "pack").glob("*/.*"))


def test_generated_videos_are_not_packed(tmp_path: Path) -> None:
    videos = open_dataset("synthetic", synthetic={"val_videos": 1})
    assert pack_dataset(videos, tmp_path) is videos
