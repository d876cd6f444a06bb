"""The image encoders of GIEL (sec. 3.2): a backbone up to stride 16; the support's has the mask as a fourth channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.backbones import ImageEncoder, ResNet, SmpEncoder, TimmEncoder, build_backbone
from vos_zoo.nn.norms import FrozenBatchNorm2d
from vos_zoo.nn.state_dicts import find_state_dict
from vos_zoo.nn.timm_encoder import fold_norms, freeze_norms
from vos_zoo.types import UsageError, VOSError

STRIDE = 16
MASK_INITS: dict[str, Callable[[Tensor], object]] = {
    "default": lambda kernel: None,  # PyTorch's default, already drawn
    "zeros": nn.init.zeros_,
    "orthogonal": nn.init.orthogonal_,
}
_PUBLISHED = {"maskrcnn_coco": "mask_rcnn", "imagenet": "imagenet"}
_BODY = "backbone.body."


def margins(height: int, width: int, multiple: int = STRIDE) -> tuple[int, int, int, int]:
    """Padding (left, right, top, bottom) to the next multiple, half on each side, the odd pixel right or below."""
    y, x = -height % multiple, -width % multiple
    return x // 2, x - x // 2, y // 2, y - y // 2


def crop_margins(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The inner ``(h, w)`` = `size` of padded maps ``(..., H, W)``."""
    left, _, top, _ = margins(*size)
    return maps[..., top : top + size[0], left : left + size[1]]


class Trunk(ImageEncoder):
    """A backbone up to stride 16.

    Args:
        backbone: "resnet50" (the paper's) or any other of `build_backbone`.
        init: None or "none" (random), "maskrcnn_coco", "imagenet", or the path of a state dict: of the ResNet, or of
            torchvision's Mask R-CNN with that body.
        mask_init: initialisation of the filters of a fourth input channel, the objects' mask: "default", "zeros" or
            "orthogonal"; None: there is no such channel.
        frozen_statistics: batch norms always use their running statistics (as in STM); False trains them.
        affine: the affine part of the batch norms is trained.
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        init: str | None = None,
        mask_init: str | None = None,
        frozen_statistics: bool = True,
        affine: bool = True,
    ) -> None:
        super().__init__()
        if mask_init is not None and mask_init not in MASK_INITS:
            raise UsageError(f"model.mask_channel_init is {mask_init!r}; choose {', '.join(MASK_INITS)}")
        self.frozen_statistics = frozen_statistics
        whole = _build(backbone, None if init in (None, "none") else init)
        self.normalise = whole.normalise
        self.channels: tuple[int, ...] = whole.channels[:3]
        self.body: nn.Module = _Stages(whole) if isinstance(whole, ResNet) else whole.network
        if isinstance(whole, ResNet):
            _exchange_norms(self.body, frozen_statistics)
        elif frozen_statistics:
            freeze_norms(self.body)
        if not affine:
            _fix_affine(self.body)
        if mask_init is not None:
            _widen(self.body, MASK_INITS[mask_init])
        if frozen_statistics and not isinstance(whole, ResNet):
            self.body.eval()
            fold_norms(self.body, 3 if mask_init is None else 4)
        self.train(self.training)

    def forward(self, frames: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Features at strides 4, 8 and 16 of the frames, padded with the mean colour to multiples of 16.

        Args:
            frames: float RGB ``(N, 3, h, w)``, 0..255.
            masks: mask of all objects, ``(N, 1, h, w)``, 0..1, if the trunk takes one; padded with 0.

        Returns:
            ``(N, C, h/4, w/4)``, ``(N, C, h/8, w/8)``, ``(N, C, h/16, w/16)``, sizes of multiples of 16.
        """
        x = self.normalise(frames)
        if masks is not None:
            x = torch.cat([x, masks.to(x.dtype)], dim=1)
        r2, r3, r4 = self.body(F.pad(x, margins(x.shape[-2], x.shape[-1])))
        return r2, r3, r4

    def train(self, mode: bool = True) -> Self:
        """Training mode; norms with frozen statistics stay in eval."""
        super().train(mode)
        if self.frozen_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


class _Stages(nn.Module):
    """A ResNet through `layer3`, under torchvision's names."""

    def __init__(self, whole: ResNet) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2, self.layer3 = whole.layer1, whole.layer2, whole.layer3

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images ``(N, 3 or 4, h, w)`` -> features at strides 4, 8, 16."""
        r2 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        r3 = self.layer2(r2)
        return r2, r3, self.layer3(r3)


def _build(backbone: str, init: str | None) -> ResNet | TimmEncoder | SmpEncoder:
    """The whole backbone with its initial weights."""
    stages, norms = (3, "batch") if backbone.startswith(("timm:", "smp:")) else (4, None)
    if init is None or init in _PUBLISHED:
        try:
            whole = build_backbone(backbone, _PUBLISHED[init] if init else None, stages, norms)
        except VOSError as error:
            raise type(error)(f"model.init={init}: {error}") from error
        if init == "maskrcnn_coco":
            absorb_eps(whole)
        return whole
    if not Path(init).is_file():
        raise UsageError(f"model.init: {init!r} is neither a file nor one of none, {', '.join(_PUBLISHED)}")
    if norms:
        return build_backbone(backbone, init, stages, norms)
    whole = build_backbone(backbone)
    given = find_state_dict(torch.load(init, map_location="cpu", weights_only=True))
    detector = any(name.startswith(_BODY) for name in given)
    state = {name.removeprefix(_BODY): value for name, value in given.items()}
    wanted = {name: value for name, value in whole.state_dict().items() if not name.startswith("layer4.")}
    missing = [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]
    wrong = [n for n in wanted if n in state and state[n].shape != wanted[n].shape]
    if missing or wrong:
        what = f"lacks {missing[0]!r}" if missing else f"has {wrong[0]!r} of shape {tuple(state[wrong[0]].shape)}"
        raise UsageError(f"model.init: {init!r} {what}, which {backbone!r} needs; give weights of that network")
    whole.load_state_dict({**whole.state_dict(), **{n: state[n] for n in wanted if n in state}})
    if detector:
        absorb_eps(whole)
    return whole


def absorb_eps(network: nn.Module) -> None:
    """Adapt norms that were trained without an epsilon (Mask R-CNN's) to ours.

    The stored variance is lowered by epsilon, so that saved weights need no note of their origin.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            module.running_var.sub_(module.eps)


def _exchange_norms(network: nn.Module, frozen: bool) -> None:
    """Replace torch's batch norms by the requested kind, with the same entries; norms of other classes are kept."""
    old, new = (nn.BatchNorm2d, FrozenBatchNorm2d) if frozen else (FrozenBatchNorm2d, nn.BatchNorm2d)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is old:
                norm = new(child.num_features, child.eps)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)


def _fix_affine(network: nn.Module) -> None:
    """Turn the affine parts of all batch norms into buffers: saved under the same names, not trained."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name in ("weight", "bias"):
                value: Tensor = getattr(module, name).detach()
                delattr(module, name)
                module.register_buffer(name, value)


def _widen(network: nn.Module, init: Callable[[Tensor], object]) -> None:
    """Give the first convolution a fourth input channel; its RGB filters are kept."""
    conv = _first_convolution(network)
    mask = nn.Conv2d(1, conv.out_channels, conv.kernel_size)  # type: ignore[arg-type]
    init(mask.weight)
    conv.weight = nn.Parameter(torch.cat([conv.weight, mask.weight], dim=1).detach())
    conv.in_channels = 4


def _first_convolution(network: nn.Module) -> nn.Conv2d:
    """The convolution that reads the image."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            return module
    raise UsageError(
        "model.backbone: this encoder has no first convolution over RGB, so it cannot take a mask as a fourth channel"
    )


class KeyValueHead(nn.Module):
    """Key and value of every position, one convolution of the stride-16 features each (eq. 3).

    Args:
        channels: channels C of the features.
        key: channels of the keys (paper: C/8).
        value: channels of the values (C/2); 0: no values.
        kernel: 1 as in the paper, or 3 as in STM.
    """

    def __init__(self, channels: int, key: int, value: int, kernel: int = 1) -> None:
        super().__init__()
        if kernel not in (1, 3):
            raise UsageError(f"model.kv_kernel is {kernel}; choose 1 or 3")
        self.key = nn.Conv2d(channels, key, kernel, padding=kernel // 2)
        self.value = nn.Conv2d(channels, value, kernel, padding=kernel // 2) if value else None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, C, h, w)`` -> keys ``(N, key, h, w)`` and values ``(N, value, h, w)``."""
        keys = self.key(features)
        return keys, keys[:, :0] if self.value is None else self.value(features)


def start_alike(heads: Sequence[KeyValueHead], gain: float) -> None:
    """Start the keys of all heads as one orthogonal projection of the features, times `gain`.

    Support and query keys then already match as the features of the two trunks do. With independent random projections
    of large features the softmax of eq. 4 starts saturated at arbitrary positions, where the keys get no gradient.
    """
    projection = nn.init.orthogonal_(heads[0].key.weight.new_empty(heads[0].key.weight.shape[:2]), gain)
    for head in heads:
        middle = head.key.kernel_size[0] // 2
        with torch.no_grad():
            head.key.weight.zero_()[:, :, middle, middle] = projection
        nn.init.zeros_(cast(Tensor, head.key.bias))
