"""The LightningModule around any target model: training by the unroll, tracking by the streaming engine."""

from __future__ import annotations

import math
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from vos_zoo.config.checking import check_keywords
from vos_zoo.config.schema import OptimConfig
from vos_zoo.config.settings.rules import build_settings
from vos_zoo.engine.box_start import BoxModel
from vos_zoo.engine.confidence import Calibration
from vos_zoo.engine.device_form import device_form, shared_copy
from vos_zoo.engine.former_hooks import adapt_former_hooks
from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.target_model import AnyTargetModel, TrackSettings
from vos_zoo.hub.pretrained import Pretrained
from vos_zoo.hub.weights import box_weights
from vos_zoo.metrics import DavisScores
from vos_zoo.nn.cpu import accelerate_cpu
from vos_zoo.nn.cpu import plain_cpu as use_plain_modules
from vos_zoo.prompts import PromptParser, check_fit, check_frame
from vos_zoo.registry import load_method
from vos_zoo.session.session import Session
from vos_zoo.tensors import ordinary_tensors
from vos_zoo.training.later import FiniteCheck, bad_loss, bad_norm, stopped
from vos_zoo.training.optimisation import (
    check_groups,
    freeze_unnamed,
    make_optimiser,
    make_schedule,
    parameter_groups,
)
from vos_zoo.training.validation import pictured_frames, track_and_score
from vos_zoo.types import Batch, Frame, FrameResult, Prompt, UsageError, VideoSequence


class VOSModel(Pretrained):
    """A video object segmentation model.

    Args:
        method: one of `vos_zoo.available_models()`.
        model: keyword arguments of the method's target model.
        track: inference settings (and "preset") that belong to the weights.
        optim: "groups" (parameter-name prefix -> learning rate; the rest is frozen), and the other settings of
            `OptimConfig`.
        plain_cpu: compute by plain torch operations on a CPU, too, instead of the faster forms of `vos_zoo.nn.cpu`.
            It belongs to a run, not to the weights, so it is not saved. The environment variable VOS_ZOO_PLAIN_CPU=1
            does the same for every model.

    Attributes:
        network: the target model.
        pictures: number of validation videos whose label maps are returned for images.
    """

    def __init__(
        self,
        method: str,
        model: dict[str, Any] | None = None,
        track: dict[str, Any] | None = None,
        optim: dict[str, Any] | None = None,
        plain_cpu: bool = False,
    ) -> None:
        super().__init__()
        constructor = load_method(method).load_target_model()
        model = dict(model or {})
        check_keywords(model, constructor, "model")
        self.network: AnyTargetModel = constructor(**model)
        adapt_former_hooks(self.network)
        if not plain_cpu:
            accelerate_cpu(self.network)
        for name in self.network.initial_weights:
            model.pop(name, None)
        model.update(self.network.decided)
        self._settings_kept = dict(track or {})
        self.network.track_settings(**self._settings_kept)
        self.optim = dict(optim or {})
        self._groups: dict[str, float] = self.optim.get("groups") or {"": 1e-4}
        check_groups(self.network, self._groups)
        self.method = method
        self.save_hyperparameters({"method": method, "model": model, "track": self._settings_kept, "optim": self.optim})
        self.pictures = 0
        self._box_model: BoxModel | None = None
        self._scores: DavisScores | None = None
        self._optimised = False
        self._compiled = False
        self._finite = FiniteCheck()
        self._form: tuple[Any, AnyTargetModel] | None = None
        self._stopped = partial(stopped, 0, [])

    # -- running -----------------------------------------------------------------------------------------------------

    def track_settings(self, preset: str | None = None, **overrides: Any) -> TrackSettings:
        """Inference settings: the preset's, then those kept with the model, then `overrides`."""
        kept = {name: value for name, value in self._settings_kept.items() if name != "preset"}
        preset = preset or self._settings_kept.get("preset")
        return self.network.track_settings(preset, **{**kept, **overrides})

    def propagator(self, preset: str | None = None, mask_threshold: int | None = None, **overrides: Any) -> Propagator:
        """A streaming engine for one video; several may exist at once.

        Args:
            preset: named settings of the method.
            mask_threshold: see `track`.
            overrides: single inference settings.
        """
        return self.stream(self.track_settings(preset, **overrides), mask_threshold)

    def stream(self, settings: TrackSettings, mask_threshold: int | None = None) -> Propagator:
        """As `propagator`, with settings from `track_settings`."""
        network = self._network_of(settings.precision)
        return Propagator(network, settings, self.device, mask_threshold, self._find_box_model, self.calibration)

    def _network_of(self, precision: str) -> AnyTargetModel:
        """The network as its device runs it fastest; on a GPU a copy, made anew when weights have changed."""
        if self.device.type != "cuda":
            return self.network
        tensors = (*self.network.parameters(), *self.network.buffers())
        key = precision, tuple((id(tensor), tensor._version) for tensor in tensors)
        if self._form is None or self._form[0] != key:
            with ordinary_tensors():
                form = shared_copy(self.network)
                use_plain_modules(form)
                self._form = key, device_form(form, precision)
        return self._form[1]

    def session(self, video: Any, folder: str | Path | None = None, **options: Any) -> Session:
        """Start a session: prompts at any frame, tracking both ways, corrections, saving; see `Session.start`."""
        return Session.start(self, video, folder, **options)

    def load_session(self, folder: str | Path, video: Any, *, cache_bytes: int | None = None) -> Session:
        """Continue a session that was saved by `Session.save`; the arguments are those of `Session.load`."""
        return Session.load(self, folder, video, cache_bytes)

    @property
    def boxes_drawn_by(self) -> str | None:
        """Name of the shipped weights that predicted masks from boxes for this model; None: none so far."""
        return None if self._box_model is None else self._box_model.name

    def _find_box_model(self) -> BoxModel | None:
        """The shipped model that predicts masks from boxes, loaded once; it is not a submodule."""
        found = None if self._box_model is not None else box_weights()
        if found is not None:
            with ordinary_tensors():
                model = VOSModel.from_pretrained(found.known.name)
            self._box_model = BoxModel(found.known.name, found.known.licence, model.network)
        return self._box_model

    def track(
        self,
        frames: Iterable[Frame],
        prompts: Mapping[int, Prompt],
        preset: str | None = None,
        output_frames: Container[int] | None = None,
        skip_others: bool = False,
        mask_threshold: int | None = None,
        **overrides: Any,
    ) -> Iterator[FrameResult]:
        """Segment a video, lazily.

        Args:
            frames: uint8 RGB ``(H, W, 3)``, any iterable.
            prompts: frame index -> label map ``(H, W)`` of integers, or object id -> box (x, y, w, h) or `Points`
                inside the frame; at least one object. Ids go from 1 to 254; 0 says nothing. 255 is object 1 where no
                mask has an id, else void. A prompt that names no object is left out. Where the model takes no boxes, a
                shipped model draws masks in them, and a warning is logged that says which; points are for models that
                take them.
            preset: named settings of the method, for example "stream" or "paper".
            output_frames: indices of the frames whose results are returned; None: all.
            skip_others: whether the network leaves out all other frames, which changes the results. Otherwise objects
                are tracked through them, and results do not depend on `output_frames`; methods that need not decode
                the others save the time.
            mask_threshold: turns masks into one object, id 1, where they are at least this level, 1..255 (for masks
                with soft edges, which are refused otherwise); None reads ids.
            overrides: single inference settings.

        Yields:
            One result per requested frame, in order, at the frame's resolution.

        Raises:
            UsageError: no prompt, an unknown setting, or a frame or prompt that does not fit; raised before any frame
                is read if possible.

        Examples:
            >>> from itertools import islice
            >>> from vos_zoo import VOSModel, samples
            >>> clip = samples.clip()
            >>> model = VOSModel.from_pretrained("pcvos-small")
            >>> for result in model.track(islice(clip.frames(), 2), prompts={0: clip.first_mask()}):
            ...     print(result.index, result.label_map().shape)
            0 (360, 640)
            1 (360, 640)
        """
        if "wanted" in overrides or "unwanted" in overrides:
            warnings.warn(
                "track: wanted and unwanted are now output_frames and skip_others", FutureWarning, stacklevel=2
            )
            output_frames, skip_others = overrides.pop("wanted", None), overrides.pop("unwanted", "follow") == "skip"
        if not (isinstance(frames, Iterable) or hasattr(frames, "__getitem__")):
            raise UsageError(f"frames is a {type(frames).__name__}; give an iterable of uint8 RGB arrays (H, W, 3)")
        if output_frames is not None and not isinstance(output_frames, Container):
            raise UsageError(f"output_frames is {output_frames!r}; give the numbers of the frames, such as [0, 5, 10]")
        length = len(frames) if isinstance(frames, Sized) else None
        parsed = PromptParser(mask_threshold).parse(prompts, length)
        propagator = self.propagator(preset, **overrides)
        for prompt in parsed.values():
            propagator.boxes.prepare(prompt)
        return self._run(propagator, frames, parsed, output_frames, skip_others)

    def _run(
        self,
        propagator: Propagator,
        frames: Iterable[Frame],
        prompts: dict[int, Prompt],
        output_frames: Container[int] | None,
        skip_others: bool,
    ) -> Iterator[FrameResult]:
        for index, frame in enumerate(frames):
            if index == 0:
                check_frame(frame, None, 0)
                for number, prompt in prompts.items():
                    check_fit(prompt, number, (frame.shape[0], frame.shape[1]))
            asked = output_frames is None or index in output_frames
            if skip_others and not asked and index not in prompts:
                propagator.skip()
                continue
            with self.evaluating():
                results = propagator.push(frame, prompts.pop(index, None), asked)
            yield from results
        with self.evaluating():
            results = propagator.flush()
        yield from results
        if prompts:
            raise UsageError(f"a prompt was given for frame {min(prompts)}, but the video ended before it")

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode for one call, without compiled parts: other streams, or training, may run between two frames."""
        awake = [module for module in self.network.modules() if module.training]
        self.network.eval()
        try:
            with torch.compiler.set_stance("force_eager") if self._compiled else nullcontext():
                yield
        finally:
            for module in awake:
                module.training = True

    # -- training ----------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Freeze parameters without a learning rate, before the strategy wraps the module.

        A calibration is that of the weights, so training ends it.
        """
        if stage == "fit":
            self.calibration = Calibration()
            freeze_unnamed(self.network, self._groups)
            self._optimised = True
            self.train()

    def compile_parts(self) -> None:
        """Compile the parts of the network (backbone, encoders, decoder) for training, each at its first call.

        The unroll, the learner's memory and the losses are not compiled; tracking is not compiled either, since
        sizes of videos vary.
        """
        for part in self.network.children():
            part.compile()
        self._compiled = True

    def train(self, mode: bool = True) -> Self:
        """Training mode; frozen parts stay in eval mode, so that their norms do not change."""
        super().train(mode)
        if mode and self._optimised:
            for module in self.network.modules():
                parameters = list(module.parameters())
                if parameters and not any(parameter.requires_grad for parameter in parameters):
                    module.eval()
        return self

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser with one rate per group, and the schedule of the rates."""
        settings = build_settings(OptimConfig, self.optim, "optim")
        optimiser = make_optimiser(parameter_groups(self.network, self._groups), settings)
        schedule, interval = make_schedule(optimiser, settings, self._run_lengths)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": interval}}

    def _run_lengths(self) -> dict[str, float]:
        """Epochs and optimiser steps of the whole run; infinite if it has no end."""
        steps = float(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs
        return {"step": steps, "epoch": math.inf if epochs is None or epochs < 0 else float(epochs)}

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """Unroll a batch of mini-sequences and sum the method's losses."""
        self._finite.settle()
        batch = replace(batch, step=self.global_step)
        unrolled = self.network.training_forward(batch)
        terms = self.network.losses(unrolled, batch)
        parts = torch.stack(list(terms.values()))
        loss = parts.sum()
        self._stopped = partial(stopped, self.global_step, batch.names)
        self._finite.watch(torch.cat([loss.detach()[None], parts.detach()]), partial(bad_loss, self._stopped, [*terms]))
        size, shared = len(batch.frames), self._trainer is not None and self.trainer.world_size > 1
        self.log(
            "train/loss", loss.detach(), prog_bar=True, on_step=True, on_epoch=True, batch_size=size, sync_dist=shared
        )
        for name, value in terms.items():
            self.log(f"train/{name}", value.detach(), batch_size=size, sync_dist=shared)
        overlap = mean_jaccard(unrolled.logits, unrolled.truth, batch.valid)
        self.log("train/iou", overlap, prog_bar=True, batch_size=size)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the norm of the gradient, before it is clipped, and stop if it is not finite.

        With fp16 an overflow is not an error: the step is skipped and the loss scale is lowered.
        """
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        self.log("train/grad_norm", norm, on_step=True, batch_size=1)
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            self._finite.watch(norm[None], partial(bad_norm, self._stopped))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save no weights that a loss or gradient which is not finite has changed."""
        self._finite.settle()

    def on_train_end(self) -> None:
        """Check the last step."""
        self._finite.settle()

    def on_validation_epoch_start(self) -> None:
        """Check the steps so far, and reset the counters."""
        self._finite.settle()
        self._scores = DavisScores().to(self.device)

    def validation_step(self, sequence: VideoSequence, index: int) -> dict[str, Any]:
        """Track one validation video and score it; returns the label maps for images, by frame."""
        assert self._scores is not None
        wanted = pictured_frames(sequence) if index < self.pictures else []
        scores, kept = track_and_score(self.track, sequence, wanted)
        if scores is not None:
            self._scores.update(scores)
        return {"labels": kept}

    def on_validation_epoch_end(self) -> None:
        """Log J, F and J&F, means over the objects of all videos and processes."""
        assert self._scores is not None
        values = self._scores.compute()
        self.log("val/J", values["J-Mean"].float())
        self.log("val/F", values["F-Mean"].float())
        self.log("val/J&F", values["J&F-Mean"].float(), prog_bar=True)
        self._scores = None


def mean_jaccard(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over images of the IoU of (probability > 0.5); 1 if both are empty, or no object is valid.

    Args:
        logits: ``(B, T, K, h, w)``.
        target: the same shape, 0 or 1.
        valid: bool ``(B, K)``, slots that hold an object; None: all.
    """
    predicted, present = logits.detach() > 0, target > 0.5
    intersection = (predicted & present).sum(dim=(-2, -1)).float()
    union = (predicted | present).sum(dim=(-2, -1)).float()
    values = torch.where(union > 0, intersection / union.clamp(min=1), torch.ones_like(union))
    counted = torch.ones_like(values) if valid is None else valid[:, None].expand_as(values).to(values.dtype)
    number = counted.sum()
    return torch.where(number > 0, (values * counted).sum() / number.clamp(min=1), torch.ones_like(number))
