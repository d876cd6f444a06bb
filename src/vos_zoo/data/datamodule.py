"""The data of a run for Lightning: training batches of mini-sequences, and whole videos to validate and test on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch.utils.data import DataLoader

from vos_zoo.data.clips.crops import CropSettings, JitterSettings
from vos_zoo.data.clips.frame_clips import FrameClipTransform, FrameSettings
from vos_zoo.data.clips.gaps import GapSettings, OrderedSampler
from vos_zoo.data.clips.mixture import MixturePart, build_mixture, build_settings, mixture_weights
from vos_zoo.data.clips.numbered import ClipDataset, FrameClips, NumberedClips, collate
from vos_zoo.data.clips.sampling import MiniSequenceSampler, SamplingSettings
from vos_zoo.data.clips.transforms import AugmentSettings, ClipTransform
from vos_zoo.data.clips.warps import StaticSettings, WarpTransform
from vos_zoo.data.datasets.checking import GENERATED_DATASETS, STATIC_DATASETS, Selection, keep_sound, open_dataset
from vos_zoo.data.datasets.packing import pack_dataset
from vos_zoo.data.loader import ClipLoader, ClipNumbers, VideoNumbers, seed_worker
from vos_zoo.types import UsageError, VideoDataset

CANVASES = ("object", "frame")
"""What a training canvas shows: the surroundings of an object, or a part of the frame."""
_SHARES = ("weight", "repeats", "frame_step")


class VOSDataModule(pl.LightningDataModule):
    """Training batches (`Batch`), and validation and test videos (`VideoSequence`, one at a time).

    Clips come from the data set named, or from a `mixture` of several with weights; validation and test videos always
    come from the one named. Static images ("coco", "saliency", "instances") can be trained on only.

    The arguments are the `data` part of the configuration; `batch_size` counts clips per process. Under
    `torch.distributed` every process trains on its own clips and evaluates its own videos.

    Args:
        name: "synthetic", "composed", "davis", "youtube_vos", "folder", "coco", "saliency" or "instances".
        root: folder of the data set.
        year: DAVIS: 2016 or 2017; YouTube-VOS: 2018 or 2019.
        resolution: DAVIS: sub-folder of the resolution.
        layout: YouTube-VOS: folder of a split below the root; None finds it.
        train_split: split to train on.
        val_split: split to validate on.
        test_split: split to test on.
        sequences: use only these videos, in all splits.
        val_sequences: at most so many validation videos.
        skip_broken: leave broken videos out with a warning instead of refusing the data set.
        mask_threshold: the smallest level, 1..255, of the one object of masks with soft edges (a part of a mixture has
            its own); None reads object ids.
        batch_size: clips per batch.
        workers: loader processes for training.
        batches_per_epoch: length of an epoch.
        pack: folder in which decoded training videos are kept (`pack_dataset`); None decodes files again and again.
        pack_short_side: the shorter side that larger packed frames are shrunk to; None keeps every pixel.
        compact: frames and masks of batches are uint8 until `Batch.to` brings them to their device: a quarter of the
            bytes to copy. Only pixels brightened by `data.augment` are rounded by it.
        reduced_decoding: pictures of which a canvas keeps half the pixels or fewer per axis are decoded at that size
            (`read_reduced`; canvas "frame" and warps of static images).
        seed: seed of clips and synthetic videos.
        canvas: "object" cuts canvases around an object (`ClipDataset`), "frame" out of whole frames (`FrameClips`).
        frame_step: video frames per frame of the data set, which limits of gaps are divided by; None asks it.
        sampling: see `SamplingSettings`; with canvas "frame" only the numbers of frames and objects count.
        gaps: see `GapSettings`; for canvas "frame".
        frame: see `FrameSettings`; for canvas "frame".
        crop: see `CropSettings`; with canvas "frame" only the size counts.
        jitter: see `JitterSettings`.
        augment: see `AugmentSettings`.
        synthetic: see `SyntheticSettings`; and train_videos, val_videos, test_videos, device.
        composed: see `ComposedSettings`; and kind, videos, backgrounds
            (see `open_composed`), train_videos, val_videos, test_videos.
        static: see `StaticSettings`.
        mixture: label -> fields of `MixturePart`; the name is the label unless given, and what is None is not used.

    Raises:
        UsageError: an unknown key or a value that makes no sense.
    """

    def __init__(
        self,
        name: str = "synthetic",
        root: str | None = None,
        year: int = 2017,
        resolution: str = "480p",
        layout: str | None = None,
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "val",
        sequences: Sequence[str] | None = None,
        val_sequences: int | None = None,
        skip_broken: bool = False,
        mask_threshold: int | None = None,
        batch_size: int = 20,
        workers: int = 2,
        batches_per_epoch: int = 1000,
        pack: str | None = None,
        pack_short_side: int | None = None,
        compact: bool = False,
        reduced_decoding: bool = False,
        seed: int = 0,
        canvas: str = "object",
        frame_step: int | None = None,
        sampling: Mapping[str, Any] | None = None,
        gaps: Mapping[str, Any] | None = None,
        frame: Mapping[str, Any] | None = None,
        crop: Mapping[str, Any] | None = None,
        jitter: Mapping[str, Any] | None = None,
        augment: Mapping[str, Any] | None = None,
        synthetic: Mapping[str, Any] | None = None,
        composed: Mapping[str, Any] | None = None,
        static: Mapping[str, Any] | None = None,
        mixture: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> None:
        super().__init__()
        for key, value, least in (
            ("batch_size", batch_size, 1),
            ("batches_per_epoch", batches_per_epoch, 1),
            ("workers", workers, 0),
            ("pack_short_side", 1 if pack_short_side is None else pack_short_side, 1),
        ):
            if value < least:
                raise UsageError(f"data.{key}: {value} must be at least {least}")
        if canvas not in CANVASES:
            raise UsageError(f"data.canvas: {canvas!r} is not known; use one of {', '.join(CANVASES)}")
        self.name, self.skip_broken, self.val_sequences = name, skip_broken, val_sequences
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        self.batch_size, self.workers, self.batches_per_epoch, self.seed = batch_size, workers, batches_per_epoch, seed
        self.pack, self.pack_short_side, self.compact, self.reduced = pack, pack_short_side, compact, reduced_decoding
        self.canvas, self.frame_step = canvas, frame_step
        self.sampling = build_settings(SamplingSettings, sampling, "data.sampling")
        self.gaps = build_settings(GapSettings, gaps, "data.gaps")
        self.frame = build_settings(FrameSettings, frame, "data.frame")
        self.crop = build_settings(CropSettings, crop, "data.crop")
        self.jitter = build_settings(JitterSettings, jitter, "data.jitter")
        self.augment = build_settings(AugmentSettings, augment, "data.augment")
        self.static = build_settings(StaticSettings, static, "data.static")
        self.mixture = build_mixture(mixture)
        self._named: dict[str, Any] = {
            "root": root,
            "year": year,
            "resolution": resolution,
            "layout": layout,
            "sequences": sequences,
            "mask_threshold": mask_threshold,
        }
        self._shared: dict[str, Any] = {
            "skip_broken": skip_broken,
            "synthetic": synthetic,
            "composed": composed,
            "seed": seed,
            "min_area": self.static.min_area,
            "repeat": self.static.repeat,
        }
        self._opened: dict[str, VideoDataset] = {}
        self._clips: NumberedClips | None = None
        # With few videos a process may have none to evaluate; that is no error.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    def videos(self, part: str) -> VideoDataset:
        """The videos of "train", "val" or "test", opened and looked through at first use.

        Raises:
            UsageError: the data set cannot be opened.
            VOSError: something in it is broken and `skip_broken` is off.
        """
        if part not in self._opened:
            if part != "train" and self.name in STATIC_DATASETS:
                raise UsageError(
                    f"data set {self.name!r} holds single images, on which nothing can be tracked; name videos "
                    f"(--data davis) and train on data.mixture.{self.name}.root=..., or set trainer.limit_val_batches=0"
                )
            dataset = open_dataset(str(self.name), split=self.splits[part], **self._named, **self._shared)
            limit = self.val_sequences if part == "val" else None
            if limit is not None and limit < len(dataset):
                dataset = Selection(dataset, range(limit))
            self._opened[part] = keep_sound(dataset, skip_broken=self.skip_broken)
        return self._opened[part]

    def clips(self) -> NumberedClips:
        """The training clips; the first call opens the data set and checks that it yields a clip."""
        if self._clips is None:
            datasets = [self._part(label, part) for label, part in self.mixture.items()] or [self.videos("train")]
            if self.pack is not None:
                datasets = [
                    pack_dataset(dataset, self.pack, self.pack_short_side, skip_broken=self.skip_broken)
                    for dataset in datasets
                ]
            weights = mixture_weights([*self.mixture.values()], [len(dataset) for dataset in datasets])
            make = self._frame_clips if self.canvas == "frame" else self._crops
            self._clips = make(datasets, weights)
            self._clips.reduced, self._clips.skip_broken = self.reduced, self.skip_broken
        return self._clips

    def _crops(self, datasets: Sequence[VideoDataset], weights: Sequence[float] | None) -> ClipDataset:
        """Clips cut around an object; every data set is tried."""
        sampler = MiniSequenceSampler(datasets, self.sampling, self.seed, weights)
        transform = ClipTransform(self.crop, self.jitter, self.augment, self._dtype)
        for dataset in datasets:
            MiniSequenceSampler([dataset], self.sampling, self.seed).plan(0)
        return ClipDataset(sampler, transform, self.batch_size * self.batches_per_epoch, self._warps())

    def _frame_clips(self, datasets: Sequence[VideoDataset], weights: Sequence[float] | None) -> FrameClips:
        """Clips of whole frames."""
        steps = [part.frame_step for part in self.mixture.values()] or [self.frame_step]
        known = [step or dataset.frame_step for step, dataset in zip(steps, datasets, strict=True)]
        sampler = OrderedSampler(datasets, self.sampling, self.gaps, self.seed, weights, known)
        flip, gray = self.augment.flip, self.augment.grayscale
        transform = FrameClipTransform(self.crop.size, self.frame, flip, gray, self._dtype)
        return FrameClips(sampler, transform, self.batch_size * self.batches_per_epoch, self._warps())

    def _warps(self) -> WarpTransform | None:
        if self.static.motion != "warps":
            return None
        return WarpTransform(self.crop.size, self.static, self.augment.flip, self.augment.grayscale, self._dtype)

    @property
    def _dtype(self) -> type[np.float32] | type[np.uint8]:
        return np.uint8 if self.compact else np.float32

    def _part(self, label: str, part: MixturePart) -> VideoDataset:
        """A data set of the mixture, opened and looked through."""
        source = {field.name: getattr(part, field.name) for field in fields(part) if field.name not in _SHARES}
        if part.root is None and part.name not in GENERATED_DATASETS:
            raise UsageError(f"data set {part.name!r}: no folder given; set data.mixture.{label}.root=FOLDER")
        return keep_sound(open_dataset(**source, **self._shared), skip_broken=self.skip_broken)

    def setup(self, stage: str) -> None:
        """Open and check what the stage ("fit", "validate", "test") needs, so that nothing breaks half-way."""
        if stage == "fit":
            self.clips()
            if self.trainer is not None and self.trainer.limit_val_batches == 0:
                return
        self.videos("test" if stage == "test" else "val")

    def train_dataloader(self) -> ClipLoader:
        """Batches of mini-sequences, see `Batch`; an epoch goes on behind the batches trained so far."""
        clips = self.clips()
        if isinstance(clips, FrameClips):
            clips.sampler.total = self._course()
        return ClipLoader(
            clips,
            batch_size=self.batch_size,
            sampler=ClipNumbers(clips, self.batch_size, self.batches_per_epoch, self._trained),
            num_workers=self.workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=seed_worker,
            persistent_workers=self.workers > 0,
        )

    def _trained(self) -> int | None:
        """Batches the run's weights have seen; None outside a run."""
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
                "data.gaps.limits change in the course of the training, which has no end; "
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
        videos: Any = self.videos(part)
        return DataLoader(videos, batch_size=None, sampler=VideoNumbers(videos), num_workers=0, collate_fn=_as_it_is)


def _as_it_is(video: Any) -> Any:
    return video
