"""Small GIEL networks with weights under which outputs have structure, and clips to run them on, in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vos_zoo.methods.giel.memory import GielMemory
from vos_zoo.methods.giel.target_model import Giel
from vos_zoo.types import Batch

SMALL: dict[str, Any] = {
    "backbone": "timm:test_resnet",
    "key_dim": 16,
    "value_dim": 24,
    "decoder_dim": 12,
    "attention_dim": 8,
    "attention_hidden": [8, 6],
    "label_mid": 8,
    "coarse_hidden": 10,
}
BOTH = [{"refine_decoder": True}, {"refine_decoder": False}]


def network(seed: int = 0, **switches: Any) -> Giel:
    """A small network in float64 and eval mode; every layer matters in its output."""
    torch.manual_seed(seed)
    net = Giel(**{**SMALL, **switches}).double().eval()
    with torch.no_grad():
        for name, module in net.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.copy_(torch.exp(0.2 * torch.randn_like(module.running_var)))
                module.weight.normal_(1, 0.1)
                module.bias.normal_(0, 0.1)
            elif isinstance(module, nn.Conv2d):
                scale = 0.5 if ".layer" in name else 1.0
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu").mul_(scale)
                if module.bias is not None:
                    module.bias.normal_(0, 0.1)
        if net.temporal_attention is not None:
            net.temporal_attention.fc3.weight.mul_(3)
        for heads in (net.support_head, net.query_head):
            if heads is not None:
                heads.key.weight.mul_(3)
        if net.label_encoder is not None:
            net.label_encoder.norm1.weight.mul_(3)
            net.label_encoder.norm2.weight.mul_(3)
        for head in (net.global_decoder, net.instance_decoder):
            if head is not None:
                head.conv_in.weight.chunk(2, dim=1)[1].mul_(3)
    return net


def pictures(count: int, size: tuple[int, int] = (64, 96), seed: int = 0) -> Tensor:
    """Smooth random pictures ``(count, 3, h, w)``, 0..255."""
    noise = torch.rand(count, 3, size[0] // 8 + 1, size[1] // 8 + 1, generator=torch.Generator().manual_seed(seed))
    return 255 * nn.functional.interpolate(noise.double(), size, mode="bilinear", align_corners=True)


def boxes(count: int, objects: int, size: tuple[int, int] = (64, 96)) -> Tensor:
    """One-hot masks ``(count, objects, h, w)`` of boxes that drift and do not overlap."""
    masks = torch.zeros(count, objects, *size, dtype=torch.float64)
    width = size[1] // objects
    for t in range(count):
        for k in range(objects):
            top, left = 4 + 3 * t + 2 * k, k * width + t
            masks[t, k, top : top + 24, left : left + max(width - 4, 2)] = 1
    return masks


def soft_masks(count: int, objects: int, size: tuple[int, int] = (64, 96), seed: int = 1) -> Tensor:
    """Probabilities ``(count, objects, h, w)`` that leave something to the background."""
    logits = pictures(count * (objects + 1), size, seed)[:, 0].view(count, objects + 1, *size) / 20
    return logits.softmax(dim=1)[:, 1:]


def batch(objects: int = 2, frames: int = 4, clips: int = 1, slots: int | None = None, seed: int = 0) -> Batch:
    """A training batch in float64; the slots behind the objects are empty."""
    images = torch.stack([pictures(frames, seed=seed + b) for b in range(clips)])
    masks = torch.zeros(clips, frames, slots or objects, 64, 96, dtype=torch.float64)
    masks[:, :, :objects] = torch.stack([boxes(frames, objects).roll(3 * b, dims=-2) for b in range(clips)])
    valid = torch.zeros(clips, slots or objects, dtype=torch.bool)
    valid[:, :objects] = True
    places = torch.zeros(clips, frames, slots or objects, 4)
    return Batch(images, masks, valid, places)


@dataclass
class Segmented:
    """One query frame.

    Attributes:
        saliency: global logits G ``(B, 1, h, w)``.
        logits: of the objects' probabilities p, ``(B, K, h, w)``.
        merged: the distribution P, ``(B, 1 + K, h, w)``.
        objects: what was read, ``(B, K, C, h/16, w/16)``.
    """

    saliency: Tensor | None
    logits: Tensor
    merged: Tensor
    objects: Tensor

    @property
    def probabilities(self) -> Tensor:
        """p, ``(B, K, h, w)``."""
        return self.logits.sigmoid()


def support(
    net: Giel,
    frames: Tensor,
    given: Tensor,
    predicted: Tensor | None = None,
    saliency: Tensor | None = None,
    settings: Any = None,
) -> GielMemory:
    """A memory of frames ``(T, 3, h, w)``: the first with the masks `given` ``(K, h, w)``, the others as predicted.

    Args:
        net: the network.
        frames: the pictures.
        given: masks of the first.
        predicted: merged objects of the others, ``(T - 1, K, h, w)``.
        saliency: their global maps, ``(T - 1, h, w)``.
        settings: None: as in training.
    """
    memory = net.new_memory(settings)
    for t, frame in enumerate(frames):
        features = net.encode(frame[None, None])
        if t == 0:
            memory = net.initialise(memory, features, given[None, None], range(len(given)))
            continue
        assert predicted is not None
        if saliency is not None:
            features = replace(features, saliency=saliency[t - 1][None, None, None])
        memory = net.update(memory, features, predicted[t - 1][None, None])
    return memory


def segment(net: Giel, memory: GielMemory, frame: Tensor) -> Segmented:
    """Segment a frame ``(3, h, w)``, or one per clip ``(B, 3, h, w)``."""
    frames = frame[None] if frame.ndim == 3 else frame
    features = net.encode(frames[:, None])
    readout = net.read(memory, features)
    logits = net.decode(readout, features).logits[:, 0]
    valid = None if memory.complete else memory.valid
    return Segmented(readout.saliency, logits, net.merging.log_odds(logits, valid).softmax(dim=1), readout.objects)
