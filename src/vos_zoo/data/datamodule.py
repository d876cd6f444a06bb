"""The data of a run for Lightning: training batches of mini-sequences, and whole videos to validate and test on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from vos_zoo.data.checking import STATIC_DATASETS, Selection, keep_sound, open_dataset
from vos_zoo.data.crops import CropSettings, JitterSettings, Masks
from vos_zoo.data.mixture import MixturePart, build_mixture, build_settings
from vos_zoo.data.sampling import ClipPlan, MiniSequenceSampler, SamplingSettings
from vos_zoo.data.static_images import StaticImage
from vos_zoo.data.transforms import AugmentSettings, Clip, ClipTransform
from vos_zoo.data.warps import StaticSettings, WarpTransform
from vos_zoo.types import Batch, UsageError, VideoDataset, VideoSequence


class ClipDataset(Dataset[Clip]):
    """Training clips by number; clip n is the same in every process and in every run with the same seed.

    Args:
        sampler: chooses object and frames.
        transform: augments and cuts them.
        length: clips per epoch, for loaders that ask; any number from 0 on is a clip.
        warps: makes the clips of static images; None treats them as videos that stand still.
    """

    def __init__(
        self, sampler: MiniSequenceSampler, transform: ClipTransform, length: int, warps: WarpTransform | None = None
    ) -> None:
        self.sampler, self.transform, self.length, self.warps = sampler, transform, length, warps

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, item: int) -> Clip:
        """Clip number `item`; only its frames are decoded."""
        chance = self.sampler.random(item)
        plan = self.sampler.draw(chance)
        sequence = self.sampler.datasets[plan.dataset][plan.sequence]
        order = plan.reference + plan.query
        if isinstance(sequence, StaticImage):
            return self._static_clip(sequence, plan, chance)
        pictures = {index: (sequence.frame(index), self._masks(sequence, index, plan)) for index in sorted(set(order))}
        frames, masks, boxes = self.transform(
            [pictures[index][0] for index in order],
            [pictures[index][1] for index in order],
            len(plan.reference),
            chance,
        )
        return self._clip(sequence, plan, frames, masks, boxes)

    def _static_clip(self, image: StaticImage, plan: ClipPlan, chance: np.random.Generator) -> Clip:
        """A clip that shows one picture, with its object in slot 0."""
        count, slots, frame = len(plan.reference + plan.query), self.sampler.settings.objects, image.frame(0)
        if self.warps is None:
            mask, box = self._masks(image, 0, plan), image.box()
            given = None if box is None else [box, *[None] * (slots - 1)]
            canvases = self.transform([frame] * count, [mask] * count, len(plan.reference), chance, given)
            return self._clip(image, plan, *canvases)
        frames, masks, boxes = self.warps(frame, image.soft_mask(), count, chance)
        empty = ((0, 0), (0, slots - 1))
        return self._clip(image, plan, frames, np.pad(masks, (*empty, (0, 0), (0, 0))), np.pad(boxes, (*empty, (0, 0))))

    def _clip(
        self,
        sequence: VideoSequence,
        plan: ClipPlan,
        frames: NDArray[np.float32],
        masks: NDArray[np.float32],
        boxes: NDArray[np.float32],
    ) -> Clip:
        valid = np.arange(self.sampler.settings.objects) < len(plan.ids)
        name = f"{sequence.name}/{'+'.join(str(identity) for identity in plan.ids)}"
        return Clip(frames, masks, valid, boxes, len(plan.reference), name)

    def _masks(self, sequence: VideoSequence, index: int, plan: ClipPlan) -> Masks:
        labels = sequence.labels(index)
        assert labels is not None, "a frame in which the object is visible has a mask"
        slots = np.zeros((self.sampler.settings.objects, *labels.shape), dtype=np.uint8)
        for slot, identity in enumerate(plan.ids):
            slots[slot] = labels == identity
        return slots


def collate(clips: Sequence[Clip]) -> Batch:
    """Stack clips of one shape to a batch: frames float32 ``(B, T, 3, h, w)``, masks ``(B, T, K, h, w)``."""
    return Batch(
        frames=torch.from_numpy(np.stack([clip.frames for clip in clips])),
        masks=torch.from_numpy(np.stack([clip.masks for clip in clips])),
        valid=torch.from_numpy(np.stack([clip.valid for clip in clips])),
        boxes=torch.from_numpy(np.stack([clip.boxes for clip in clips])),
        reference_frames=clips[0].reference_frames,
        names=[clip.name for clip in clips],
    )


def _ranks() -> tuple[int, int]:
    """Number of processes that train together, and which of them this is."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size(), torch.distributed.get_rank()
    return 1, 0


class ClipNumbers(DistributedSampler[int]):
    """Numbers of the clips of an epoch: of batch n, process r of R takes clips (n * R + r) * batch_size onwards.

    There is no shuffling, because clip numbers already are random draws, and no state: an epoch is the next `batches`
    batches behind those trained so far. So a run that is resumed, in the middle of an epoch or not, sees the very
    batches it would have seen. (A `DistributedSampler`, so that Lightning leaves it in place.)

    Args:
        clips: the data set.
        batch_size: clips per batch and process.
        batches: batches per epoch.
        trained: says how many batches have been trained; None outside a run, where those given out are counted.

    Attributes:
        given: number of batches the loader has given out.
    """

    def __init__(self, clips: ClipDataset, batch_size: int, batches: int, trained: Callable[[], int | None]) -> None:
        world, rank = _ranks()
        super().__init__(clips, num_replicas=world, rank=rank, shuffle=False)
        self.batch_size, self.batches, self.trained = batch_size, batches, trained
        self.given = 0

    def __len__(self) -> int:
        return self.batch_size * self.batches

    def __iter__(self) -> Iterator[int]:
        """Clip numbers, batch after batch."""
        trained = self.trained()
        first = self.given if trained is None else trained
        for batch in range(first, first + self.batches):
            start = (batch * self.num_replicas + self.rank) * self.batch_size
            yield from range(start, start + self.batch_size)


class VideoNumbers(DistributedSampler[int]):
    """Numbers of the videos of this process: every video once, none twice (unlike the base class, which pads)."""

    def __init__(self, videos: Any) -> None:
        world, rank = _ranks()
        super().__init__(videos, num_replicas=world, rank=rank, shuffle=False)
        self.numbers = range(rank, len(videos), world)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[int]:
        """The numbers, ascending."""
        return iter(self.numbers)


class ClipLoader(DataLoader[Any]):
    """A loader that counts the batches it has given out, and can be set back to such a count.

    Inside a Lightning run the trainer's own count wins (it is what the weights have seen); the loader's serves loops
    without a trainer.
    """

    sampler: ClipNumbers

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # a generator, so that a batch is counted when taken
        """The batches of an epoch."""
        for batch in super().__iter__():
            self.sampler.given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The number of batches given out."""
        return {"given": self.sampler.given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on behind so many batches."""
        self.sampler.given = int(state["given"])


def seed_worker(worker: int) -> None:
    """Seed the global generators of a loader process and keep OpenCV to one thread.

    The clips draw from their own generators; this is for code of others that uses the global ones.
    """
    import cv2

    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
    cv2.setNumThreads(0)


class VOSDataModule(pl.LightningDataModule):
    """Training batches (`Batch`), and validation and test videos (`VideoSequence`, one at a time).

    Clips come from the data set named, or from a `mixture` of several with weights; validation and test videos always
    come from the one named. Static images ("coco", "saliency") can be trained on only.

    The arguments are the `data` part of the configuration; `batch_size` counts clips per process. Under
    `torch.distributed` every process trains on its own clips and evaluates its own videos.

    Args:
        name: "synthetic", "davis", "folder", "coco" or "saliency".
        root: folder of the data set.
        year: DAVIS: 2016 or 2017.
        resolution: DAVIS: sub-folder of the resolution.
        train_split: split to train on.
        val_split: split to validate on.
        test_split: split to test on.
        sequences: use only these videos, in all splits.
        val_sequences: at most so many validation videos.
        skip_broken: leave broken videos out with a warning instead of refusing the data set.
        batch_size: clips per batch.
        workers: loader processes for training.
        batches_per_epoch: length of an epoch.
        seed: seed of clips and synthetic videos.
        sampling: see `SamplingSettings`.
        crop: see `CropSettings`.
        jitter: see `JitterSettings`.
        augment: see `AugmentSettings`.
        synthetic: see `vos_zoo.data.synthetic.SyntheticSettings`; and train_videos, val_videos, test_videos, device.
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
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "val",
        sequences: Sequence[str] | None = None,
        val_sequences: int | None = None,
        skip_broken: bool = False,
        batch_size: int = 20,
        workers: int = 2,
        batches_per_epoch: int = 1000,
        seed: int = 0,
        sampling: Mapping[str, Any] | None = None,
        crop: Mapping[str, Any] | None = None,
        jitter: Mapping[str, Any] | None = None,
        augment: Mapping[str, Any] | None = None,
        synthetic: Mapping[str, Any] | None = None,
        static: Mapping[str, Any] | None = None,
        mixture: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> None:
        super().__init__()
        for key, value, least in (
            ("batch_size", batch_size, 1),
            ("batches_per_epoch", batches_per_epoch, 1),
            ("workers", workers, 0),
        ):
            if value < least:
                raise UsageError(f"data.{key}: {value} must be at least {least}")
        self.name, self.skip_broken, self.val_sequences = name, skip_broken, val_sequences
        self.splits = {"train": train_split, "val": val_split, "test": test_split}
        self.batch_size, self.workers, self.batches_per_epoch, self.seed = batch_size, workers, batches_per_epoch, seed
        self.sampling = build_settings(SamplingSettings, sampling, "data.sampling")
        self.crop = build_settings(CropSettings, crop, "data.crop")
        self.jitter = build_settings(JitterSettings, jitter, "data.jitter")
        self.augment = build_settings(AugmentSettings, augment, "data.augment")
        self.static = build_settings(StaticSettings, static, "data.static")
        self.mixture = build_mixture(mixture)
        self._named: dict[str, Any] = {"root": root, "year": year, "resolution": resolution, "sequences": sequences}
        self._shared: dict[str, Any] = {
            "skip_broken": skip_broken,
            "synthetic": synthetic,
            "seed": seed,
            "min_area": self.static.min_area,
            "repeat": self.static.repeat,
        }
        self._opened: dict[str, VideoDataset] = {}
        self._clips: ClipDataset | None = None
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

    def clips(self) -> ClipDataset:
        """The training clips; the first call opens the data set and checks that it yields a clip."""
        if self._clips is None:
            datasets = [self._part(label, part) for label, part in self.mixture.items()] or [self.videos("train")]
            weights = [part.weight for part in self.mixture.values()] or None
            sampler = MiniSequenceSampler(datasets, self.sampling, self.seed, weights)
            transform = ClipTransform(self.crop, self.jitter, self.augment)
            warps = WarpTransform(self.crop.size, self.static, self.augment.flip, self.augment.grayscale)
            self._clips = ClipDataset(
                sampler,
                transform,
                self.batch_size * self.batches_per_epoch,
                warps if self.static.motion == "warps" else None,
            )
            for dataset in datasets:
                MiniSequenceSampler([dataset], self.sampling, self.seed).plan(0)
        return self._clips

    def _part(self, label: str, part: MixturePart) -> VideoDataset:
        """A data set of the mixture, opened and looked through."""
        source = {field.name: getattr(part, field.name) for field in fields(part) if field.name != "weight"}
        if part.root is None and part.name != "synthetic":
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
