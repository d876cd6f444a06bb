"""Encoders of segmentation-models-pytorch by name: features at strides 4 to 32."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vos_zoo.nn.timm_encoder import fitting_entries, freeze_and_fold, read_state
from vos_zoo.types import UsageError, VOSError

_STRIDES = (4, 8, 16, 32)
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "input_range": [0, 1], "input_space": "RGB"}


class SmpFeatures(nn.Module):
    """The feature maps of an encoder at strides 4, 8, 16 (and 32), without those before.

    Args:
        name: segmentation-models-pytorch's name, without "tu-" (timm's encoders are "timm:NAME").
        weights: None, the name of published weights (such as "imagenet"), or the path of the encoder's state dict.
        stages: 4, or 3: without stride 32 and the layers that only it needs.
        frozen: batch norms are replaced by frozen ones and folded into the convolutions before them.

    Attributes:
        channels: per stride.
        preprocessing: "mean", "std", "input_range" and "input_space" that the weights were trained with.

    Raises:
        UsageError: unknown encoder or weights, or no features at these strides.
        VOSError: the weights cannot be fetched.
    """

    def __init__(self, name: str, weights: str | None, stages: int, frozen: bool) -> None:
        super().__init__()
        self.encoder = _build(name, weights, stages + 1)
        self.preprocessing = _preprocessing(name, weights)
        self.channels: tuple[int, ...] = tuple(self.encoder.out_channels[2 : 2 + stages])
        _check_strides(name, self.encoder, stages)
        if frozen:
            freeze_and_fold(self.encoder)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Feature maps of normalised frames ``(B, 3, h, w)``."""
        return list(self.encoder(frames))[2:]


def _build(name: str, weights: str | None, depth: int) -> Any:
    from segmentation_models_pytorch.encoders import encoders, get_encoder

    if name not in encoders:
        near = difflib.get_close_matches(name, encoders, n=3) or sorted(encoders)[:3]
        raise UsageError(f"segmentation-models-pytorch has no encoder {name!r}; similar names: {', '.join(near)}")
    published = encoders[name]["pretrained_settings"]
    file = weights is not None and weights not in published
    if file and not Path(str(weights)).is_file():
        known = ", ".join((*published, "a file", "null"))
        raise UsageError(f"backbone_weights {weights!r} do not fit 'smp:{name}'; give one of: {known}")
    try:
        encoder: Any = get_encoder(name, depth=depth, weights=None if file else weights)
    except (OSError, RuntimeError) as error:
        raise VOSError(
            f"model.backbone_weights={weights}: the weights of 'smp:{name}' cannot be fetched ({error}); download them "
            "elsewhere and give their path, or null for random weights"
        ) from error
    except (KeyError, ValueError) as error:
        raise UsageError(f"'smp:{name}' cannot be built with features down to stride {2**depth}: {error}") from error
    if file:
        state = read_state(str(weights))
        encoder.load_state_dict(fitting_entries(state, encoder.state_dict(), ("fc.", "last_linear."), str(weights)))
    _drop_unused(encoder)
    return encoder


def _preprocessing(name: str, weights: str | None) -> dict[str, Any]:
    """How the encoder's frames are normalised; as for ImageNet where its weights do not say."""
    from segmentation_models_pytorch.encoders import encoders

    published = encoders[name]["pretrained_settings"]
    found: dict[str, Any] = published.get(weights) or next(iter(published.values()), {})
    return {key: found.get(key) or value for key, value in _IMAGENET.items()}


def _check_strides(name: str, encoder: Any, stages: int) -> None:
    size = 64
    with torch.no_grad():
        maps = list(encoder.eval()(torch.zeros(1, 3, size, size)))[2:]
    encoder.train()
    found = [size // max(features.shape[-1], 1) for features in maps]
    if found != list(_STRIDES[:stages]):
        raise UsageError(f"'smp:{name}' has features at strides {found}; it needs strides {_STRIDES[:stages]}")


def _drop_unused(encoder: nn.Module) -> None:
    """Remove layers that no feature depends on, which some encoders keep and even compute and which get no gradient.

    They are kept if the encoder does not run without them.
    """
    frames = torch.zeros(1, 3, 64, 64)
    encoder.eval()
    with torch.enable_grad():
        before = list(encoder(frames))[1:]
        torch.stack([features.mean() for features in before]).sum().backward()
    trained = {parameter for parameter in encoder.parameters() if parameter.grad is not None}
    encoder.zero_grad()
    taken: list[tuple[nn.Module, str, nn.Module]] = []
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            parameters = list(child.parameters())
            if parameters and trained.isdisjoint(parameters) and trained & set(parent.parameters()):
                taken.append((parent, name, child))
    for parent, name, _ in taken:
        setattr(parent, name, nn.Identity())
    try:
        with torch.no_grad():
            after = list(encoder(frames))[1:]
        same = all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    except (RuntimeError, AttributeError, ValueError):
        same = False
    if not same:
        for parent, name, child in taken:
            setattr(parent, name, child)
    encoder.train()
