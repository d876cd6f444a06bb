"""The one LightningModule: any target model, trained by the unroll, run by the streaming engine, saved for the hub."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import numpy as np
import pytorch_lightning as pl
import torch
from huggingface_hub import PyTorchModelHubMixin
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vos_zoo.checking import check_keywords
from vos_zoo.core.optimisation import (
    check_groups,
    freeze_unnamed,
    make_optimiser,
    make_schedule,
    parameter_groups,
)
from vos_zoo.core.propagator import Propagator
from vos_zoo.core.target_model import TargetModel, TrackSettings
from vos_zoo.core.validation import track_and_score
from vos_zoo.metrics import DavisScores
from vos_zoo.registry import available_models, load_method
from vos_zoo.resources import model_card
from vos_zoo.types import Batch, Frame, FrameResult, Prompt, UsageError, VideoSequence

FORMAT_VERSION = 1


class VOSModel(pl.LightningModule, PyTorchModelHubMixin, library_name="vos-zoo", tags=["video-object-segmentation"]):
    """A video object segmentation model.

    Args:
        method: one of `vos_zoo.available_models()`.
        model: keyword arguments of the method's target model.
        track: inference settings (and "preset") that go with the weights.
        optim: "groups" (parameter-name prefix -> learning rate; the rest is frozen), and what `make_optimiser` and
            `make_schedule` take.

    Attributes:
        network: the target model.
        pictures: so many validation videos return label maps for pictures.
    """

    def __init__(
        self,
        method: str,
        model: dict[str, Any] | None = None,
        track: dict[str, Any] | None = None,
        optim: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        constructor = load_method(method).load_target_model()
        model = dict(model or {})
        check_keywords(model, constructor, "model")
        self.network: TargetModel = constructor(**model)
        for name in self.network.initial_weights:
            model.pop(name, None)
        self._settings_kept = dict(track or {})
        self.network.track_settings(**self._settings_kept)
        self.optim = dict(optim or {})
        self._groups: dict[str, float] = self.optim.get("groups") or {"": 1e-4}
        check_groups(self.network, self._groups)
        self.method = method
        self.save_hyperparameters({"method": method, "model": model, "track": self._settings_kept, "optim": self.optim})
        self.pictures = 0
        self._scores: DavisScores | None = None
        self._optimised = False

    # -- running -----------------------------------------------------------------------------------------------------

    def track_settings(self, preset: str | None = None, **overrides: Any) -> TrackSettings:
        """Inference settings: the preset's, then those kept with the model, then `overrides`."""
        kept = {name: value for name, value in self._settings_kept.items() if name != "preset"}
        preset = preset or self._settings_kept.get("preset")
        return self.network.track_settings(preset, **{**kept, **overrides})

    def propagator(self, preset: str | None = None, **overrides: Any) -> Propagator:
        """A streaming engine for one video; several may be alive at once."""
        return Propagator(self.network, self.track_settings(preset, **overrides), self.device)

    def track(
        self, frames: Iterable[Frame], prompts: Mapping[int, Prompt], preset: str | None = None, **overrides: Any
    ) -> Iterator[FrameResult]:
        """Segment a video, lazily.

        Args:
            frames: uint8 RGB ``(H, W, 3)``, any iterable.
            prompts: frame index -> uint8 label map ``(H, W)``, or id -> box; at least one.
            preset: named settings of the method, for example "stream" or "paper".
            overrides: single inference settings.

        Yields:
            One result per frame, in order, at the frame's resolution.

        Raises:
            UsageError: no prompt, an unknown setting, or a frame or prompt that does not fit; before any frame is read
                where possible.
        """
        if not prompts:
            raise UsageError("nothing to track: give a mask or a box in at least one frame (prompts={0: label_map})")
        if min(prompts) < 0:
            raise UsageError(f"a prompt was given for frame {min(prompts)}; frames count from 0")
        return self._run(self.propagator(preset, **overrides), frames, dict(prompts))

    def _run(
        self, propagator: Propagator, frames: Iterable[Frame], prompts: dict[int, Prompt]
    ) -> Iterator[FrameResult]:
        for index, frame in enumerate(frames):
            if index == 0:
                propagator.check_prompts(frame, prompts)
            with self._evaluating():
                results = propagator.push(frame, prompts.pop(index, None))
            yield from results
        with self._evaluating():
            results = propagator.flush()
        yield from results
        if prompts:
            raise UsageError(f"a prompt was given for frame {min(prompts)}, but the video ended before it")

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Eval mode for one call: between two frames other streams, or training, may go on."""
        awake = [module for module in self.network.modules() if module.training]
        self.network.eval()
        try:
            yield
        finally:
            for module in awake:
                module.training = True

    # -- training ----------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Freeze what no learning rate names, before the strategy wraps the module."""
        if stage == "fit":
            freeze_unnamed(self.network, self._groups)
            self._optimised = True
            self.train()

    def train(self, mode: bool = True) -> Self:
        """Training mode; frozen parts stay in eval, so that their norms never move."""
        super().train(mode)
        if mode and self._optimised:
            for module in self.network.modules():
                parameters = list(module.parameters())
                if parameters and not any(parameter.requires_grad for parameter in parameters):
                    module.eval()
        return self

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam with one rate per group, and the schedule of the rates."""
        optimiser = make_optimiser(parameter_groups(self.network, self._groups), self.optim)
        schedule, interval = make_schedule(optimiser, self.optim, self._run_lengths)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": interval}}

    def _run_lengths(self) -> dict[str, float]:
        """Epochs and optimiser steps of the whole run; infinite where it has no end."""
        steps = float(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs
        return {"step": steps, "epoch": math.inf if epochs is None or epochs < 0 else float(epochs)}

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Unroll a batch of mini-sequences and sum the method's losses."""
        unrolled = self.network.training_forward(batch)
        terms = self.network.losses(unrolled, batch)
        loss = torch.stack(list(terms.values())).sum()
        size = len(batch.frames)
        self.log("train/loss", loss.detach(), prog_bar=True, on_step=True, on_epoch=True, batch_size=size)
        for name, value in terms.items():
            self.log(f"train/{name}", value.detach(), batch_size=size)
        self.log("train/iou", mean_jaccard(unrolled.logits, unrolled.truth), prog_bar=True, batch_size=size)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} for {', '.join(batch.names[:4])}; last losses: {terms}"
            )
        return loss

    def on_validation_epoch_start(self) -> None:
        """Fresh counters."""
        self._scores = DavisScores().to(self.device)

    def validation_step(self, sequence: VideoSequence, index: int) -> dict[str, Any]:
        """Track one validation video and score it; returns the label maps wanted for pictures, by frame."""
        assert self._scores is not None
        wanted = self.pictured_frames(len(sequence)) if index < self.pictures else []
        scores, kept = track_and_score(self.track, sequence, wanted)
        if scores is not None:
            self._scores.update(scores)
        return {"labels": kept}

    @staticmethod
    def pictured_frames(length: int, count: int = 8) -> list[int]:
        """Frames of a video that go into its picture: evenly spread."""
        return sorted({round(t) for t in np.linspace(0, length - 1, min(count, length))})

    def on_validation_epoch_end(self) -> None:
        """Log J, F and J&F, means over the objects of all videos and processes."""
        assert self._scores is not None
        values = self._scores.compute()
        self.log("val/J", values["J-Mean"].float())
        self.log("val/F", values["F-Mean"].float())
        self.log("val/J&F", values["J&F-Mean"].float(), prog_bar=True)
        self._scores = None

    # -- saving and loading ------------------------------------------------------------------------------------------

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write model.safetensors, config.json and README.md (the method's card)."""
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, save_directory / "model.safetensors", metadata={"format": "pt"})
        config = {"format_version": FORMAT_VERSION, **json.loads(json.dumps(dict(self.hparams), default=list))}
        (save_directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        card = model_card(self.method)
        if card is not None:
            (save_directory / "README.md").write_text(card.read_text())

    @classmethod
    def from_pretrained(cls, source: str | Path, **overrides: Any) -> Self:  # type: ignore[override]
        """Load a model.

        Args:
            source: a folder written by `save_pretrained`, a checkpoint (.ckpt) written in training, or a hub id
                "owner/name".
            overrides: "track" (inference settings, merged into the saved ones), "optim"; for hub ids also revision,
                cache_dir, token, force_download and local_files_only.

        Raises:
            UsageError: nothing is found there, or it is not a saved model.
        """
        track = dict(overrides.pop("track", {}))
        model = cls._load_any(str(source), overrides)
        if track:
            model._settings_kept = {**model._settings_kept, **track}
            model.network.track_settings(**model._settings_kept)
            model.hparams["track"] = model._settings_kept
        return model.eval()

    @classmethod
    def _load_any(cls, source: str, overrides: dict[str, Any]) -> Self:
        path = Path(source)
        if path.is_file() and path.suffix == ".ckpt":
            try:
                loaded: Self = cls.load_from_checkpoint(path, map_location="cpu", weights_only=True, **overrides)
            except (AttributeError, EOFError, KeyError, RuntimeError, TypeError, UnpicklingError) as error:
                raise UsageError(f"{source!r} is not a checkpoint of vos-zoo: {_first_line(error)}") from error
            return loaded
        if path.is_file():
            raise UsageError(f"{source!r} is no folder or .ckpt; authors' files go through `vos-zoo convert` first")
        if path.is_dir() and not (path / "config.json").is_file():
            raise UsageError(f"folder {source!r} has no config.json; give a folder written by save_pretrained")
        if path.is_dir():
            return cls._load_folder(path, overrides)
        if source in available_models():
            raise UsageError(f"no weights named {source!r} are at hand; convert the authors' file, or give a folder")
        if source.count("/") != 1:
            raise UsageError(f"no weights at {source!r}: neither a folder, a .ckpt nor a hub id 'owner/name'")
        try:
            return super().from_pretrained(source, strict=True, **overrides)  # type: ignore[no-any-return]
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise UsageError(f"cannot load {source!r}: {_first_line(error)}") from error

    @classmethod
    def _load_folder(cls, folder: Path, overrides: dict[str, Any]) -> Self:
        """A folder written by `save_pretrained`, entry by entry."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            written = int(config.get("format_version", 1))
            if written > FORMAT_VERSION:
                raise UsageError(
                    f"{str(folder)!r} is of format {written}, this version reads {FORMAT_VERSION}; update vos-zoo"
                )
            known = {name: config[name] for name in ("method", "model", "track", "optim") if name in config}
            model = cls(**{**known, **overrides})
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, SafetensorError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{str(folder)!r} is not a saved model: {_first_line(error)}") from error
        except RuntimeError as error:
            entry = str(error).splitlines()[-1].strip()
            raise UsageError(f"the weights in {str(folder)!r} do not fit its config.json: {entry}") from error
        return model


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def mean_jaccard(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean over images of the IoU of (probability > 0.5); 1 where both are empty (sheet 5.3).

    Args:
        logits: ``(B, T, K, h, w)``.
        truth: the same shape, 0 or 1.
    """
    predicted, present = logits.detach() > 0, truth > 0.5
    intersection = (predicted & present).sum(dim=(-2, -1)).float()
    union = (predicted | present).sum(dim=(-2, -1)).float()
    return torch.where(union > 0, intersection / union.clamp(min=1), torch.ones_like(union)).mean()
