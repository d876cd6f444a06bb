"""The loader: packs hold what the files hold, faster paths stay near the exact ones, faults are told and survived."""

from __future__ import annotations

import errno
import os
import re
import signal
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.test_datamodule import Recorder, trainer
from tests.data.test_frame_clips import smooth
from vos_zoo.data import loader
from vos_zoo.data.clips.crops import Window, affine_matrix, cut, cut_and_warp, warp
from vos_zoo.data.clips.numbered import ClipDataset
from vos_zoo.data.clips.transforms import Clip
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.datasets import packing
from vos_zoo.data.datasets.export import write_davis_layout
from vos_zoo.data.datasets.packing import PackedSequence, pack_dataset, packed_size
from vos_zoo.data.datasets.sequence import read_frame, read_reduced
from vos_zoo.data.loader import ClipLoader
from vos_zoo.data.opening import open_dataset
from vos_zoo.types import Batch, UsageError, VOSError

WHOLE: dict[str, Any] = {
    "canvas": "frame",
    "sampling": {"query_frames": 2, "objects": 2},
    "gaps": {"limits": [[0, 3]]},
}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three generated videos as files in DAVIS layout."""
    root = tmp_path_factory.mktemp("davis")
    settings = {"size": (64, 96), "frames": 12, "min_objects": 2, "max_objects": 2, "late_objects": 0.0}
    videos = open_dataset("synthetic", split="train", synthetic={**settings, "train_videos": 3})
    write_davis_layout(videos, root, split="train")
    return root


@pytest.fixture
def davis(drawn: Path, tmp_path: Path) -> Path:
    """A copy of the files that a test may break."""
    import shutil

    shutil.copytree(drawn, tmp_path / "davis")
    return tmp_path / "davis"


def module(root: Path, **changes: Any) -> VOSDataModule:
    options: dict[str, Any] = {
        "batch_size": 2,
        "workers": 0,
        "batches_per_epoch": 4,
        "crop": {"size": [32, 48]},
        "val_split": "train",
    }
    return VOSDataModule("davis", str(root), **{**options, **changes})


def frame_files(root: Path) -> list[Path]:
    return sorted((root / "JPEGImages").rglob("*.jpg"))


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


# -- faults


def broken_in_the_middle(root: Path, data: VOSDataModule) -> Path:
    """The first frame of a clip of the second batch, cut short after the data set has been looked through."""
    data.setup("fit")
    clips = data.clips()
    plan = clips.sampler.plan(2)  # type: ignore[union-attr, call-arg]
    video: Any = clips.sampler.datasets[0][plan.sequence]
    path: Path = video.frame_paths[plan.query[0]]
    path.write_bytes(path.read_bytes()[:-200])
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_a_frame_that_breaks_within_an_epoch_stops_the_run_by_name(davis: Path, workers: int) -> None:
    data = module(davis, workers=workers)
    path = broken_in_the_middle(davis, data)
    taken = 0
    with pytest.raises(VOSError, match=rf"^frame .*{path.name}.*data\.skip_broken=true") as caught:
        for _ in data.train_dataloader():
            taken += 1
    assert "\n" not in str(caught.value)
    assert taken == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_with_skip_broken_another_clip_takes_its_place_and_the_file_is_named_once(davis: Path, workers: int) -> None:
    data = module(davis, workers=workers, skip_broken=True)
    before = [data.clips()[item] for item in range(8)]
    path = broken_in_the_middle(davis, data)
    loader = data.train_dataloader()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batches = list(loader)
        loader.sampler.given = 0
        again = list(loader)
    named = [str(w.message) for w in caught if "another clip was taken" in str(w.message)]
    assert len(named) == 1
    assert path.name in named[0]
    assert [b.names for b in batches] == [b.names for b in again]
    assert all(torch.equal(one.frames, two.frames) for one, two in zip(batches, again, strict=True))
    frames = torch.cat([batch.frames for batch in batches])
    assert len(frames) == 8
    same = [torch.equal(frames[item], torch.from_numpy(before[item].frames)) for item in range(8)]
    assert not same[2]
    assert sum(same) >= 4  # all that did not meet the file


def test_a_run_in_which_nothing_can_be_read_ends(davis: Path) -> None:
    data = module(davis, skip_broken=True)
    data.setup("fit")
    for path in frame_files(davis):
        path.write_bytes(b"")
    with pytest.raises(VOSError, match="100 clips in a row cannot be read"):
        next(iter(data.train_dataloader()))


def test_a_mask_that_breaks_within_an_epoch_is_named_too(davis: Path) -> None:
    data = module(davis, **WHOLE)
    data.setup("fit")
    for path in (davis / "Annotations").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(VOSError, match=r"^mask .*\.png: cannot be read.*data\.skip_broken"):
        next(iter(data.train_dataloader()))


class Dying(ClipDataset):
    """Ends its process in the middle of an epoch."""

    def make(self, item: int, chance: np.random.Generator) -> Clip:
        if item == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().make(item, chance)


def test_a_loader_process_that_dies_is_told_in_one_line(drawn: Path) -> None:
    data = module(drawn, workers=1)
    data.clips().__class__ = Dying
    with pytest.raises(VOSError, match=r"a loader process has died \(.*lower data\.workers") as caught:
        list(data.train_dataloader())
    assert "\n" not in str(caught.value) and "--ckpt" not in str(caught.value)


SHARED_MEMORY_IS_FULL = {
    "while a batch is written": "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback:\n  File x\n"
    "RuntimeError: unable to write to file </torch_12_34>: No space left on device (28)\n",
    "while it is allocated": "unable to allocate shared memory(shm) for file </torch_1_2>: Resource unavailable (11)",
    "while it is filled": "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. Please try to raise your shared memory limit.",
}


@pytest.mark.parametrize("how", list(SHARED_MEMORY_IS_FULL))
def test_shared_memory_that_is_too_small_is_told_with_its_cure(how: str) -> None:
    failure = loader.loader_failure(RuntimeError(SHARED_MEMORY_IS_FULL[how]))
    assert re.search(
        r"^shared memory, .* is too small \(/dev/shm holds [\d.e+]+ MiB: .*(\(28\)|\(11\)|Bus error)\): "
        r"set data\.workers=0, or enlarge it \(docker run --shm-size=8g\)$",
        str(failure),
    )


def test_shared_memory_without_room_for_a_lock_is_told_with_its_cure(
    drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = module(drawn, workers=1)
    batches = data.train_dataloader()
    monkeypatch.setattr(torch.utils.data.DataLoader, "__iter__", full)
    with pytest.raises(VOSError, match=r"No space left on device\): set data\.workers=0"):
        next(iter(batches))


def test_a_pipe_that_breaks_with_a_loader_process_is_told_as_its_death() -> None:
    class Process:
        pid = 77

        def __init__(self, alive: bool) -> None:
            self.is_alive = lambda: alive

    class Batches:
        def __init__(self, *alive: bool) -> None:
            self._workers = [Process(each) for each in alive]

        def __next__(self) -> Batch:
            raise EOFError("pipe")

    with pytest.raises(VOSError, match=r"has died \(process 77: EOFError\)"):
        loader._taken(Batches(True, False))  # type: ignore[arg-type]
    with pytest.raises(EOFError, match="pipe"):
        loader._taken(Batches(True, True))  # type: ignore[arg-type]


def test_other_failures_of_the_loader_pass_as_they_are(drawn: Path) -> None:
    class Failing(ClipDataset):
        def make(self, item: int, chance: np.random.Generator) -> Clip:
            raise RuntimeError("something else")

    data = module(drawn)
    data.clips().__class__ = Failing
    with pytest.raises(RuntimeError, match=r"^something else$"):
        list(data.train_dataloader())


@pytest.mark.parametrize("error", [RuntimeError, KeyError])
def test_an_error_in_a_loader_process_is_told_by_its_last_line(drawn: Path, error: type[Exception]) -> None:
    class Failing(ClipDataset):
        def make(self, item: int, chance: np.random.Generator) -> Clip:
            raise error("something else")

    data = module(drawn, workers=1)
    data.clips().__class__ = Failing
    with pytest.raises(VOSError, match=rf"^a loader process failed: {error.__name__}: '?something else'?$"):
        list(data.train_dataloader())


def test_batches_say_what_was_skipped_and_forget_nothing_on_the_way() -> None:
    batch = Batch(torch.zeros(1), torch.zeros(1), torch.ones(1, dtype=torch.bool), torch.zeros(1), skipped=["a"])
    assert batch.to("cpu").skipped == ["a"]


def test_training_batches_come_from_the_loader_that_reports(drawn: Path) -> None:
    assert isinstance(module(drawn).train_dataloader(), ClipLoader)


def test_the_keys_of_the_loader_are_checked(drawn: Path) -> None:
    with pytest.raises(UsageError, match=r"'data\.pack_short_side' is 0"):
        module(drawn, pack_short_side=0)
