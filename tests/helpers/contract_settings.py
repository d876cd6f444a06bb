"""Small hyper-parameters per method, so that the contract suite runs every method in seconds on one core.

A new method adds one entry to `BY_METHOD`. A method of another package (entry point) brings its own: a mapping with
the same field names in the attribute `contract_settings` of its target model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from vos_zoo import registry
from vos_zoo.create import create_model
from vos_zoo.model import VOSModel
from vos_zoo.registry import load_method
from vos_zoo.types import Batch


@dataclass(frozen=True)
class ContractSettings:
    """How the suite builds, trains and runs one method.

    Attributes:
        model: hyper-parameters of a small network; every other one keeps its default.
        track: inference settings for videos of 64 to 96 pixels.
        variants: name -> further hyper-parameters under which every parameter gets a gradient in training; together
            they must reach all of the method's parameters.
        ablations: name -> hyper-parameters of the paper's ablation rows: they must train and track.
        frozen: parts that a training stage of the method leaves frozen.
        output: the layer (with bias) whose result is the logits.
        coincident: inference settings under which all objects look at the same canvas; None where that cannot be, or
            always is.
        selftest: further hyper-parameters of the network whose outputs are frozen in `tests/data`.
        selftest_gains: part of an entry's name -> factor on its filled weights, to balance what meets in the network.
        slots: object slots K per canvas in training.
        canvas: (h, w) of training canvases.
    """

    model: Mapping[str, Any]
    track: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"default": {}})
    ablations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    frozen: tuple[str, ...] = ("backbone",)
    output: str = "head"
    coincident: Mapping[str, Any] | None = None
    selftest: Mapping[str, Any] = field(default_factory=dict)
    selftest_gains: Mapping[str, float] = field(default_factory=dict)
    slots: int = 1
    canvas: tuple[int, int] = (64, 96)


BY_METHOD = {
    "lwl": ContractSettings(
        model={
            "backbone": "timm:resnet10t",
            "feature_channels": 32,
            "label_widths": [4, 8, 8],
            "label_channels": 6,
            "decoder_width": 8,
            "train_iterations": 3,
        },
        track={
            "size": [64, 96],
            "capacity": 4,
            "first_iterations": 4,
            "update_iterations": 2,
            "minimum_area": 20.0,
            "area_scale": 2.0,
        },
        variants={
            "released": {"refine_in_training": False},
            "paper": {"refine_in_training": True},
            "boxes": {"box_encoder": True, "trains": "boxes"},
        },
        ablations={
            "no label generator": {"label_generator": False},
            "no weight predictor": {"weight_predictor": False},
            "neither": {"label_generator": False, "weight_predictor": False},
            "not end to end": {"label_generator": False, "weight_predictor": False, "end_to_end": False},
            "labels, not end to end": {"end_to_end": False},
        },
        output="decoder.project.conv2",
        coincident={"area_scale": 8.0},
        selftest={"backbone": "resnet18"},
        selftest_gains={"label_encoder.label_pred.0.weight": 5.0, ".reduce.2.weight": 0.3, "filter_reg": 4.0},
    ),
    "joint": ContractSettings(
        model={
            "backbone": "timm:resnet10t",
            "feature_channels": 32,
            "key_channels": 16,
            "label_widths": [4, 8, 8],
            "label_channels": 6,
            "decoder_width": 8,
            "train_iterations": 3,
        },
        track={
            "size": [64, 96],
            "capacity": 4,
            "write_every": 2,
            "first_iterations": 4,
            "update_iterations": 2,
            "minimum_area": 20.0,
            "area_scale": 2.0,
        },
        ablations={
            "transduction only": {"induction": False},
            "induction only": {"transduction": False},
            "one head": {"two_heads": False},
            "no cosine loss": {"losses": {"lovasz": 100.0}},
        },
        output="decoder.project.conv2",
        coincident={"area_scale": 8.0},
        selftest={"backbone": "resnet18"},
        selftest_gains={
            "label_pred.0.weight": 5.0,
            "value_pred.weight": 5.0,
            ".reduce.2.weight": 0.3,
            "filter_reg": 4.0,
        },
    ),
    "llb": ContractSettings(
        model={
            "backbone": "timm:resnet10t",
            "feature_channels": 64,
            "key_channels": 16,
            "label_channels": 8,
            "label_widths": [4, 8, 8],
            "vitae_width": 64,
            "vitae_depth": 1,
            "decoder_width": 16,
            "train_iterations": 3,
        },
        track={
            "size": [64, 96],
            "capacity": 4,
            "write_every": 2,
            "first_iterations": 4,
            "update_iterations": 2,
            "minimum_area": 20.0,
            "area_scale": 2.0,
        },
        variants={
            "full": {},
            "mask through the cnn, sum": {"label_input": "mask", "label_encoder": "cnn", "fusion": "sum"},
        },
        ablations={
            "LLB-1": {"fusion": "sum"},
            "LLB-2": {"label_input": "mask", "label_encoder": "cnn"},
            "LLB-3": {"label_encoder": "cnn"},
            "LLB-4": {"label_input": "mask"},
            "baseline": {"label_input": "mask", "label_encoder": "cnn", "fusion": "sum"},
        },
        output="decoder.project.conv2",
        coincident={"area_scale": 8.0},
        selftest={"backbone": "resnet18"},
        selftest_gains={"label_pred_tm.0.weight": 3.0, ".reduce.2.weight": 0.1, "filter_reg": 12.0},
    ),
    "pcvos": ContractSettings(
        model={
            "backbone": "timm:resnet10t",
            "key_channels": 16,
            "value_channels": 32,
            "local_channels": 16,
            "thin_channels": 16,
            "value_width": 8,
            "decoder_width": 16,
            "train_clip": 2,
            "bootstrap": [0, 10, 0.5],
        },
        track={"clip_length": 3, "capacity": 4},
        variants={"multi-object": {}, "all frames remembered": {"train_memory": "all", "train_clip": 1}},
        ablations={
            "no refinement": {"refinement": False},
            "no dice": {"losses": {"cross_entropy": 1.0}},
            "frame by frame": {"train_clip": 1},
            "STCN": {"refinement": False, "train_clip": 1, "losses": {"cross_entropy": 1.0}},
            "longer windows": {"window": [3, 5, 5]},
            "per-frame windows": {"window": [1, 7, 7]},
        },
        output="decoder.pred",
        selftest={"backbone": "resnet18"},
        slots=2,
    ),
    "giel": ContractSettings(
        model={
            "backbone": "timm:test_resnet",
            "key_dim": 16,
            "value_dim": 24,
            "decoder_dim": 12,
            "attention_dim": 8,
            "attention_hidden": [8, 6],
            "label_mid": 8,
            "coarse_hidden": 10,
        },
        track={"short_edge": None, "capacity": 6},
        variants={"full": {}, "fast": {"refine_decoder": False}},
        ablations={
            "no instance embedding": {"instance_embedding": False},
            "no instance embedding, labels propagated": {
                "instance_embedding": False,
                "no_instance_mode": "label_propagation",
            },
            "no global embedding": {"global_embedding": False},
            "no temporal attention": {"temporal_attention": False},
            "no refine decoder": {"refine_decoder": False},
        },
        frozen=("query_encoder", "support_encoder"),
        output="instance_decoder.pred",
        selftest={"backbone": "resnet18"},
        selftest_gains={".conv2.weight": 0.3, "fc3.weight": 20.0, "norm2.weight": 3.0},
        slots=2,
    ),
}


def settings_of(method: str) -> ContractSettings:
    """The contract settings of a method, from the table or from its target model."""
    if method in BY_METHOD:
        return BY_METHOD[method]
    brought = getattr(load_method(method).load_target_model(), "contract_settings", None)
    assert brought is not None, (
        f"method {method!r} has no small settings: add an entry to BY_METHOD in tests/helpers/contract_settings.py, "
        "or give its target model the attribute `contract_settings`"
    )
    return ContractSettings(**brought)


def build(method: str, seed: int = 0, optim: Mapping[str, Any] | None = None, **overrides: Any) -> VOSModel:
    """A small model of the method with reproducible weights; in training mode, as a fresh model is."""
    settings = settings_of(method)
    torch.manual_seed(seed)
    return create_model(method, track=settings.track, optim=optim, **{**settings.model, **overrides})


def build_lively(method: str, seed: int = 0, **overrides: Any) -> VOSModel:
    """As `build`, in eval mode, with weights under which masks have structure: fresh networks often say one constant.

    Convolutions are drawn anew with unit gain; the output layer is scaled so that logits have mean 0 and, within a
    frame, deviation 2.
    """
    model = build(method, seed, **overrides).eval()
    for module in model.network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.weight is not None:
            nn.init.ones_(module.weight)
    batch, output = training_batch(method), model.network.get_submodule(settings_of(method).output)
    with torch.no_grad():
        spread = model.network.training_forward(batch).logits.std(dim=(-2, -1)).mean()
        output.weight.mul_(2 / spread)  # type: ignore[operator, union-attr]
        output.bias.sub_(model.network.training_forward(batch).logits.mean())  # type: ignore[operator, union-attr]
    return model


OUTSIDE = {
    "toy": "tests.helpers.toy_model",
    "sensory": "tests.helpers.sensory_model",
    "clicks": "tests.helpers.click_model",
}
"""Methods of "another package", by the module that describes them."""


@contextmanager
def toy_installed() -> Iterator[None]:
    """Pretend that an installed package offers the methods `OUTSIDE`."""
    points = {name: EntryPoint(name, module, registry.ENTRY_POINT_GROUP) for name, module in OUTSIDE.items()}
    others = registry._entry_points()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_entry_points", lambda: {**others, **points})
        load_method.cache_clear()
        yield
    load_method.cache_clear()


# -- videos ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Video:
    """Frames ``(T, H, W, 3)`` and label maps ``(T, H, W)``, uint8."""

    frames: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def only(self, *ids: int, frame: int = 0) -> NDArray[np.uint8]:
        """The label map of a frame with the objects `ids` alone."""
        return np.where(np.isin(self.labels[frame], ids), self.labels[frame], 0).astype(np.uint8)


def moving_squares(
    length: int = 7, size: tuple[int, int] = (64, 96), objects: int = 2, seed: int = 0, hidden: range = range(0)
) -> Video:
    """Coloured rectangles that drift over a noisy ground; nothing but numpy, so that inputs never change.

    Args:
        length: frames.
        size: (H, W).
        objects: rectangles; ids from 1.
        seed: of the colours and the noise.
        hidden: frames in which the last object is not there.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    ground = rng.integers(60, 120, (height, width, 3))
    colours = rng.integers(0, 255, (objects, 3))
    ys, xs = np.mgrid[:height, :width]
    frames, labels = [], []
    for t in range(length):
        frame, label = ground + rng.integers(-8, 9, ground.shape), np.zeros(size, np.uint8)
        for k in range(objects):
            if k == objects - 1 and t in hidden:
                continue
            top, left = 6 + 9 * k + t % 5, (5 + (width // (objects + 1)) * k + 2 * t) % (width - 22)
            inside = (ys >= top) & (ys < top + 22) & (xs >= left) & (xs < left + 20)
            frame[inside] = colours[k] + 12 * ((ys + xs) % 3)[inside, None]
            label[inside] = k + 1
        frames.append(frame.clip(0, 255).astype(np.uint8))
        labels.append(label)
    return Video(np.stack(frames), np.stack(labels))


def training_batch(method: str, queries: int = 2, sequences: int = 2, references: int = 1, seed: int = 0) -> Batch:
    """A batch of mini-sequences at the method's canvas and slots."""
    settings = settings_of(method)
    total = references + queries
    frames, masks = [], []
    for b in range(sequences):
        video = moving_squares(total, settings.canvas, settings.slots, seed + b)
        frames.append(torch.from_numpy(video.frames).permute(0, 3, 1, 2).float())
        ids = torch.arange(1, settings.slots + 1)[:, None, None]
        masks.append((torch.from_numpy(video.labels)[:, None] == ids).float())
    stacked = torch.stack(masks)
    boxes = torch.zeros(*stacked.shape[:3], 4)
    for b, t, k in np.ndindex(*stacked.shape[:3]):
        rows, columns = torch.nonzero(stacked[b, t, k], as_tuple=True)
        if len(rows):
            sides = (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1)
            boxes[b, t, k] = torch.stack([columns.min(), rows.min(), *sides])
    valid = torch.ones(sequences, settings.slots, dtype=torch.bool)
    names = [f"squares/{b}" for b in range(sequences)]
    return Batch(torch.stack(frames), stacked, valid, boxes, references, names)
