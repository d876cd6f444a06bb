"""The data of a run for Lightning: training batches of mini-sequences, and whole videos to validate and test on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CUDAAccelerator
from pytorch_lightning.trainer.states import TrainerFn
from torch.utils.data import DataLoader

from vos_zoo.config.settings.data import DataConfig, MixturePart, SourceSettings
from vos_zoo.config.settings.rules import build_settings
from vos_zoo.data.clips.frame_clips import FrameClipTransform
from vos_zoo.data.clips.gaps import OrderedSampler
from vos_zoo.data.clips.mixture import mixture_weights
from vos_zoo.data.clips.numbered import ClipDataset, FrameClips, NumberedClips, collate
from vos_zoo.data.clips.pipeline import ClipPipeline
from vos_zoo.data.clips.sampling import MiniSequenceSampler
from vos_zoo.data.clips.transforms import ClipTransform
from vos_zoo.data.clips.warps import WarpTransform
from vos_zoo.data.datasets.checking import Selection, keep_sound
from vos_zoo.data.datasets.packing import pack_dataset
from vos_zoo.data.loader import ClipLoader, ClipNumbers, VideoNumbers, seed_worker
from vos_zoo.data.opening import open_dataset
from vos_zoo.data.spare import WithSpares
from vos_zoo.dataset_registry import load_dataset
from vos_zoo.types import UsageError, VideoDataset


class VOSDataModule(pl.LightningDataModule):
    """Training batches (`Batch`), and validation and test videos (`VideoSequence`, one at a time).

    Clips come from the data set named, or from a `mixture` of several with weights; validation and test videos always
    come from the one named. Static images ("coco", "saliency", "instances") can be trained on only.

    The arguments are the fields of `DataConfig`, the `data` part of the configuration; groups may be given as keys and
    values. `batch_size` counts clips per process. Under `torch.distributed` every process trains on its own clips and
    evaluates its own videos.

    Args:
        name: a data set of `vos_zoo.dataset_registry.available_datasets`.
        root: folder of the data set.
        year: edition of the data set.
        settings: the other fields of `DataConfig`.

    Attributes:
        config: all of them.
        mixture: the parts of the training mixture by label.

    Raises:
        UsageError: an unknown key or a value that makes no sense.
    """

    def __init__(
        self,
        name: str = DataConfig.name,
        root: str | None = DataConfig.root,
        year: int = DataConfig.year,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = build_settings(DataConfig, {"name": name, "root": root, "year": year, **settings}, DataConfig.KEY)
        self.config, self.name = config, config.name
        self.splits = {"train": config.train_split, "val": config.val_split, "test": config.test_split}
        self.batch_size, self.workers = config.batch_size, config.workers
        self.batches_per_epoch = config.batches_per_epoch
        self.sampling, self.gaps, self.frame = config.sampling, config.gaps, config.frame
        self.crop, self.jitter, self.augment, self.static = config.crop, config.jitter, config.augment, config.static
        self.mixture = config.mixture_parts()
        self._shared: dict[str, Any] = {
            "skip_broken": config.skip_broken,
            "synthetic": config.synthetic,
            "composed": config.composed,
            "seed": config.seed,
            "min_area": config.static.min_area,
            "repeat": config.static.repeat,
        }
        self._opened: dict[str, VideoDataset] = {}
        self._clips: NumberedClips | None = None

    @classmethod
    def from_config(cls, config: DataConfig) -> VOSDataModule:
        """The data module of the `data` part of a configuration."""
        return cls(**{item.name: getattr(config, item.name) for item in fields(config)})

    def videos(self, part: str) -> VideoDataset:
        """The videos of "train", "val" or "test", opened and looked through at first use.

        Raises:
            UsageError: the data set cannot be opened.
            VOSError: something in it is broken and `skip_broken` is off.
        """
        if part not in self._opened:
            if part != "train" and load_dataset(self.config.name).static:
                raise UsageError(
                    f"data set {self.name!r} holds single images, on which nothing can be tracked; name videos "
                    f"(--data davis) and train on data.mixture.{self.name}.root=..., or set trainer.limit_val_batches=0"
                )
            dataset = open_dataset(split=self.splits[part], **_source(self.config), **self._shared)
            limit = self.config.val_sequences if part == "val" else None
            if limit is not None and limit < len(dataset):
                dataset = Selection(dataset, range(limit))
            self._opened[part] = keep_sound(dataset, skip_broken=self.config.skip_broken)
        return self._opened[part]

    def clips(self) -> NumberedClips:
        """The training clips; the first call opens the data set and checks that it yields a clip."""
        if self._clips is None:
            datasets = [self._part(label, part) for label, part in self.mixture.items()] or [self.videos("train")]
            if self.config.pack is not None:
                pack, short_side = self.config.pack, self.config.pack_short_side
                datasets = [
                    pack_dataset(dataset, pack, short_side, skip_broken=self.config.skip_broken) for dataset in datasets
                ]
            weights = mixture_weights([*self.mixture.values()], [len(dataset) for dataset in datasets])
            make = self._frame_clips if self.config.canvas == "frame" else self._crops
            self._clips = make(datasets, weights)
            self._clips.reduced, self._clips.skip_broken = self.config.reduced_decoding, self.config.skip_broken
            if self.config.augment.pipeline:
                self._clips.pipeline = ClipPipeline(self.config.augment.pipeline, self.config.crop.size)
        return self._clips

    def _crops(self, datasets: Sequence[VideoDataset], weights: Sequence[float] | None) -> ClipDataset:
        """Clips cut around an object; every data set is tried."""
        sampler = MiniSequenceSampler(datasets, self.sampling, self.config.seed, weights)
        transform = ClipTransform(self.crop, self.jitter, self.augment, self._dtype)
        for dataset in datasets:
            MiniSequenceSampler([dataset], self.sampling, self.config.seed).plan(0)
        return ClipDataset(sampler, transform, self.batch_size * self.batches_per_epoch, self._warps())

    def _frame_clips(self, datasets: Sequence[VideoDataset], weights: Sequence[float] | None) -> FrameClips:
        """Clips of whole frames."""
        steps = [part.frame_step for part in self.mixture.values()] or [self.config.frame_step]
        known = [step or dataset.frame_step for step, dataset in zip(steps, datasets, strict=True)]
        sampler = OrderedSampler(datasets, self.sampling, self.gaps, self.config.seed, weights, known)
        flip, gray = self.augment.flip, self.augment.grayscale
        transform = FrameClipTransform(self.crop.size, self.frame, flip, gray, self._dtype)
        return FrameClips(sampler, transform, self.batch_size * self.batches_per_epoch, self._warps())

    def _warps(self) -> WarpTransform | None:
        if self.static.motion != "warps":
            return None
        return WarpTransform(self.crop.size, self.static, self.augment.flip, self.augment.grayscale, self._dtype)

    @property
    def _dtype(self) -> type[np.float32] | type[np.uint8]:
        return np.uint8 if self.config.compact else np.float32

    def _part(self, label: str, part: MixturePart) -> VideoDataset:
        """A data set of the mixture, opened and looked through."""
        if part.root is None and not load_dataset(part.name).generated:
            raise UsageError(f"data set {part.name!r}: no folder given; set data.mixture.{label}.root=FOLDER")
        return keep_sound(
            open_dataset(split=part.split, **_source(part), **self._shared), skip_broken=self.config.skip_broken
        )

    def setup(self, stage: str) -> None:
        """Open and check what the stage ("fit", "validate", "test") needs, so that errors appear early."""
        if stage == "fit":
            self.clips()
            if self.trainer is not None and self.trainer.limit_val_batches == 0:
                return
        self.videos("test" if stage == "test" else "val")

    def train_dataloader(self) -> ClipLoader:
        """Batches of mini-sequences, see `Batch`; an epoch continues after the batches trained so far."""
        clips = self.clips()
        if isinstance(clips, FrameClips):
            clips.sampler.total = self._course()
        return ClipLoader(
            clips,
            batch_size=self.batch_size,
            sampler=ClipNumbers(clips, self.batch_size, self.batches_per_epoch, self._trained),
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=self._on_gpu(),
            worker_init_fn=seed_worker,
            persistent_workers=self.workers > 0,
        )

    def _on_gpu(self) -> bool:
        """Whether batches go to a GPU; a run on the CPU does not touch one that is there."""
        if self.trainer is not None:
            return isinstance(self.trainer.accelerator, CUDAAccelerator)
        return torch.cuda.is_available()

    def _trained(self) -> int | None:
        """Batches the run has been trained on; None outside a run."""
        if self.trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return None
        total: Any = self.trainer.fit_loop.epoch_loop.batch_progress.total
        return int(total.processed)  # not `ready`: a batch that was interrupted is trained again

    def _course(self) -> int | None:
        """Clips of the whole run over all processes; None outside a run.

        Raises:
            UsageError: gaps that change in the course of a run without end.
        """
        if self.trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return None
        limit, epochs, steps = self.trainer.limit_train_batches or 0, self.trainer.max_epochs, self.trainer.max_steps
        epoch = min(limit, self.batches_per_epoch) if isinstance(limit, int) else int(limit * self.batches_per_epoch)
        ends = [epochs * epoch] if epochs is not None and epochs >= 0 else []
        ends += [steps * self.trainer.accumulate_grad_batches] if steps >= 0 else []
        if not ends and not self.gaps.constant:
            raise UsageError(
                "data.gaps.limits change during the training, which has no end; "
                "set trainer.max_epochs or trainer.max_steps"
            )
        return min(ends) * self.batch_size * self.trainer.world_size if ends else None

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation videos of this process, one `VideoSequence` at a time."""
        return self._video_loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """The test videos of this process, one `VideoSequence` at a time."""
        return self._video_loader("test")

    def _video_loader(self, part: str) -> DataLoader[Any]:
        videos: Any = WithSpares(self.videos(part))
        return DataLoader(videos, batch_size=None, sampler=VideoNumbers(videos), num_workers=0, collate_fn=_as_it_is)


def _as_it_is(video: Any) -> Any:
    return video


def _source(settings: SourceSettings) -> dict[str, Any]:
    """What says which videos of which data set are read, as keywords of `open_dataset`."""
    names = [item.name for item in fields(SourceSettings) if item.name != "frame_step"]
    return {name: getattr(settings, name) for name in names}
