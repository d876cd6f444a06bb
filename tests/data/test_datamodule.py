"""The data module: repeatable batches wherever a run is resumed, every video on one process, wrong keys by name."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from vos_zoo.config.layers import to_plain
from vos_zoo.config.settings.clips import CropSettings
from vos_zoo.config.settings.data import DataConfig
from vos_zoo.data import loader as module
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.data.loader import VideoNumbers, seed_worker
from vos_zoo.types import Batch, UsageError, VideoSequence, VOSError

SMALL: dict[str, Any] = {
    "batch_size": 2,
    "workers": 0,
    "batches_per_epoch": 4,
    "crop": {"size": [32, 48]},
    "synthetic": {"size": [32, 48], "frames": 12, "train_videos": 3, "val_videos": 5, "test_videos": 2},
}


def small(**changes: Any) -> VOSDataModule:
    return VOSDataModule(**{**SMALL, **changes})


def same(one: Batch, two: Batch) -> bool:
    return one.names == two.names and all(
        torch.equal(getattr(one, name), getattr(two, name)) for name in ("frames", "masks", "valid", "boxes")
    )


class Recorder(pl.LightningModule):
    """Trains one number and remembers the batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Batch] = []
        self.videos: list[str] = []

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch)
        return (self.weight - batch.frames.mean() / 255) ** 2

    def validation_step(self, video: VideoSequence, batch_idx: int) -> None:
        assert isinstance(video, VideoSequence)
        self.videos.append(video.name)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, **changes: Any) -> pl.Trainer:
    options = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "max_epochs": 2,
        "default_root_dir": folder,
        "enable_checkpointing": False,
    }
    return pl.Trainer(**{**options, **changes})


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*num_workers.*|.*does not have many workers.*|.*logging interval.*")
        warnings.filterwarnings("ignore", message=r".*fit\(ckpt_path=.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory.*|.*isinstance.treespec.*|.*LeafSpec.*")
        yield


def test_a_batch_has_the_documented_axes_and_ranges() -> None:
    data = small()
    data.setup("fit")
    loader = data.train_dataloader()
    assert len(loader) == 4
    batch = next(iter(loader))
    assert batch.frames.shape == (2, 4, 3, 32, 48)
    assert batch.masks.shape == (2, 4, 1, 32, 48)
    assert batch.valid.tolist() == [[True], [True]]
    assert batch.boxes.shape == (2, 4, 1, 4)
    assert batch.frames.dtype == batch.masks.dtype == batch.boxes.dtype == torch.float32
    assert batch.reference_frames == 1
    assert batch.frames.min() >= 0
    assert batch.frames.max() <= 255
    assert set(batch.masks.unique().tolist()) <= {0.0, 1.0}
    assert all(name.startswith("synthetic_train_") and "/" in name for name in batch.names)


def test_batches_of_several_objects_say_which_slots_are_filled() -> None:
    data = small(
        sampling={"objects": 4, "reference_frames": 2, "query_frames": 1, "min_visible_factor": 1},
        synthetic={**SMALL["synthetic"], "min_objects": 2, "max_objects": 3, "late_objects": 0.0},
    )
    for batch in data.train_dataloader():
        assert batch.frames.shape == (2, 3, 3, 32, 48)
        assert batch.masks.shape == (2, 3, 4, 32, 48)
        assert batch.reference_frames == 2
        assert batch.valid.sum(dim=1).min() >= 2
        assert not batch.valid[:, 3].any()
        assert not batch.masks.transpose(1, 2)[~batch.valid].any()
        assert not batch.boxes.transpose(1, 2)[~batch.valid].any()
        for name, valid in zip(batch.names, batch.valid, strict=True):
            assert name.count("+") + 1 == int(valid.sum())


def test_clips_do_not_depend_on_the_number_of_workers_or_on_other_seeds() -> None:
    torch.manual_seed(1)
    alone = list(small().train_dataloader())
    torch.manual_seed(2)
    np.random.seed(5)
    helped = list(small(workers=2).train_dataloader())
    assert len(alone) == len(helped) == 4
    assert all(same(one, two) for one, two in zip(alone, helped, strict=True))
    assert not same(alone[0], alone[1])
    assert not same(alone[0], next(iter(small(seed=1).train_dataloader())))


def test_every_epoch_brings_new_clips() -> None:
    loader = small().train_dataloader()
    first, second = list(loader), list(loader)
    assert not any(same(one, two) for one in first for two in second)


def test_a_loader_set_back_to_a_count_goes_on_behind_it() -> None:
    loader = small().train_dataloader()
    batches = [*loader, *loader]
    again = small().train_dataloader()
    again.load_state_dict({"given": 3})
    assert same(next(iter(again)), batches[3])
    assert again.state_dict() == {"given": 4}


@pytest.mark.parametrize(("stop", "workers"), [(2, 0), (4, 0), (6, 0), (8, 0), (6, 2)])
def test_a_resumed_run_sees_the_batches_the_whole_run_saw(tmp_path: Path, stop: int, workers: int) -> None:
    whole = Recorder()
    trainer(tmp_path, max_epochs=3).fit(whole, datamodule=small(workers=workers))
    assert len(whole.seen) == 12
    first = Recorder()
    saver = pl.callbacks.ModelCheckpoint(tmp_path / "saved", every_n_train_steps=2, save_top_k=-1, filename="{step}")
    trainer(tmp_path, max_epochs=3, enable_checkpointing=True, callbacks=[saver], max_steps=stop).fit(
        first, datamodule=small(workers=workers)
    )
    second = Recorder()
    with warnings.catch_warnings():  # the callback that saved need not be there to resume
        warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
        trainer(tmp_path, max_epochs=3).fit(
            second, datamodule=small(workers=workers), ckpt_path=tmp_path / "saved" / f"step={stop}.ckpt"
        )
    seen = first.seen + second.seen
    assert len(seen) == 12
    assert all(same(one, two) for one, two in zip(seen, whole.seen, strict=True))
    assert torch.equal(second.weight, whole.weight)


def test_a_batch_that_was_interrupted_is_trained_again(tmp_path: Path) -> None:
    class Interrupted(Recorder):
        def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
            if len(self.seen) == 6:
                raise RuntimeError("interrupted")
            return super().training_step(batch, batch_idx)

    whole, first, second = Recorder(), Interrupted(), Recorder()
    trainer(tmp_path, max_epochs=3).fit(whole, datamodule=small())
    saver = pl.callbacks.OnExceptionCheckpoint(tmp_path, "interrupted")
    with pytest.raises(RuntimeError, match="interrupted"):
        trainer(tmp_path, max_epochs=3, enable_checkpointing=True, callbacks=[saver]).fit(first, datamodule=small())
    trainer(tmp_path, max_epochs=3).fit(second, datamodule=small(), ckpt_path=tmp_path / "interrupted.ckpt")
    assert [batch.names for batch in first.seen + second.seen] == [batch.names for batch in whole.seen]
    assert torch.equal(second.weight, whole.weight)


def test_a_run_resumed_after_its_last_epoch_goes_on_with_the_next(tmp_path: Path) -> None:
    whole = Recorder()
    trainer(tmp_path, max_epochs=3).fit(whole, datamodule=small())
    first, second = Recorder(), Recorder()
    short = trainer(tmp_path, max_epochs=1)
    short.fit(first, datamodule=small())
    short.save_checkpoint(tmp_path / "end.ckpt")
    trainer(tmp_path, max_epochs=3).fit(second, datamodule=small(), ckpt_path=tmp_path / "end.ckpt")
    assert [batch.names for batch in first.seen + second.seen] == [batch.names for batch in whole.seen]
    assert torch.equal(second.weight, whole.weight)


def test_a_run_resumed_from_a_validation_within_an_epoch_misses_nothing(tmp_path: Path) -> None:
    class Scored(Recorder):
        def on_validation_epoch_end(self) -> None:
            self.log("score", float(len(self.seen)))

    whole, second = Scored(), Recorder()
    saver = pl.callbacks.ModelCheckpoint(tmp_path / "saved", monitor="score", save_top_k=-1, filename="{step}")
    trainer(tmp_path, enable_checkpointing=True, callbacks=[saver], val_check_interval=2).fit(whole, datamodule=small())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Be aware that when using `ckpt_path`")
        trainer(tmp_path, val_check_interval=2).fit(
            second, datamodule=small(), ckpt_path=tmp_path / "saved" / "step=2.ckpt"
        )
    assert [batch.names for batch in second.seen] == [batch.names for batch in whole.seen[2:]]
    assert torch.equal(second.weight, whole.weight)


def test_a_limit_of_batches_shortens_epochs_without_repeating_clips(tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path, max_epochs=3, limit_train_batches=3, limit_val_batches=0).fit(model, datamodule=small())
    assert len(model.seen) == 9
    stream = small().train_dataloader()
    expected = [*stream, *stream, *stream][:9]
    assert all(same(one, two) for one, two in zip(model.seen, expected, strict=True))


def test_validation_gives_every_video_once_and_at_most_as_many_as_asked(tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path).validate(model, datamodule=small(), verbose=False)
    assert model.videos == [f"synthetic_val_{number:05d}" for number in range(5)]
    model = Recorder()
    trainer(tmp_path).validate(model, datamodule=small(val_sequences=2), verbose=False)
    assert len(model.videos) == 2
    assert [video.name for video in small(test_split="test").test_dataloader()] == [
        "synthetic_test_00000",
        "synthetic_test_00001",
    ]


def test_processes_share_the_videos_without_doubles_and_train_on_different_clips(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers: list[int] = []
    names: list[str] = []
    for rank in range(3):
        monkeypatch.setattr(module, "_ranks", lambda rank=rank: (3, rank))
        videos = VideoNumbers(small().videos("val"))
        assert len(videos) == len(list(videos))
        numbers += videos
        for batch in small().train_dataloader():
            names += [str(batch.frames[k].sum().item()) for k in range(2)]
    assert sorted(numbers) == [0, 1, 2, 3, 4, 5], "five videos, and one that is not scored"
    assert len(set(names)) == len(names) == 24


def test_workers_seed_the_global_generators_apart() -> None:
    rolls = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        seed_worker(0)
        rolls.append(float(np.random.random()))
    assert rolls[0] == rolls[2] != rolls[1]


def test_the_data_module_can_be_sent_to_another_process() -> None:
    data = small()
    data.setup("fit")
    again = pickle.loads(pickle.dumps(data))
    assert again.clips()[7].name == data.clips()[7].name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling": {"query_frame": 3}}, r"data.sampling.query_frame; did you mean data.sampling.query_frames\?"),
        ({"crop": {"colour": 1}}, r"data.crop.colour; there are size"),
        ({"batch_size": 0}, r"'data.batch_size' is 0, expected at least 1"),
        ({"workers": -1}, r"'data.workers' is -1, expected at least 0"),
        ({"augment": {"flip": 2}}, r"'data.augment.flip' is 2, expected at most 1"),
    ],
)
def test_wrong_keys_and_values_are_refused_at_construction(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(**changes)


def test_a_wrong_data_set_is_refused_in_setup() -> None:
    with pytest.raises(UsageError, match="did you mean 'synthetic'"):
        small(name="syntetic").setup("fit")
    with pytest.raises(UsageError, match=r"data\.root"):
        small(name="davis").setup("validate")
    with pytest.raises(VOSError, match="no object is visible"):
        small(synthetic={**SMALL["synthetic"], "frames": 8}).setup("fit")


def test_the_arguments_are_the_data_part_of_the_configuration() -> None:
    config = DataConfig(crop=CropSettings((32, 48)), batch_size=3, mixture={"davis": {"root": "/davis", "weight": 2}})
    data = VOSDataModule.from_config(config)
    assert data.config == config == VOSDataModule(**to_plain(config)).config
    assert data.crop.size == (32, 48) and data.batch_size == 3 and data.mixture["davis"].weight == 2
    assert VOSDataModule().config == DataConfig()


def test_real_videos_make_training_batches(data_dir: Path) -> None:
    root = data_dir / "davis16_480p_part"
    if not root.is_dir():
        pytest.skip("the DAVIS pack is not on this machine")
    data = VOSDataModule(
        "davis",
        str(root),
        2016,
        train_split="val",
        sequences=["dog", "libby"],
        batch_size=2,
        workers=0,
        batches_per_epoch=2,
        crop={"size": [96, 160]},
    )
    data.setup("fit")
    for batch in data.train_dataloader():
        assert batch.frames.shape == (2, 4, 3, 96, 160)
        assert batch.masks[:, 0].flatten(1).any(dim=1).all()
    assert len(data.videos("val")) == 2
