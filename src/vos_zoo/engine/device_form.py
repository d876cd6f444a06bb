"""A network as a GPU runs it fastest in tracking: frozen norms inside convolutions, weights in the format of the run.

Autocast casts every weight in every frame, since nothing is kept without gradients; a frozen norm is a pass over the
image. Both are done once here, on a copy that shares all other tensors with the network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from vos_zoo.engine.target_model import AnyTargetModel
from vos_zoo.nn.norms import FrozenBatchNorm2d, folded
from vos_zoo.nn.precision import FORMATS


def shared_copy(network: AnyTargetModel) -> AnyTargetModel:
    """A copy in eval mode that shares all parameters and buffers with the network."""
    shared: dict[int, object] = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared).eval()


def device_form(form: AnyTargetModel, precision: str) -> AnyTargetModel:
    """A copy of a network, changed in place for tracking in `precision` (one of `PRECISIONS`); equal up to rounding.

    Weights trained later do not reach what is folded or cast: make another copy then.

    Args:
        form: see `shared_copy`, of plain modules.
        precision: the format.
    """
    with torch.no_grad():
        for owner, conv_name, norm_name in list(_pairs(form)):
            conv, norm = getattr(owner, conv_name), getattr(owner, norm_name)
            weight, bias = folded(conv, norm)
            conv.weight, conv.bias = _constant(weight), _constant(bias)
            setattr(owner, norm_name, nn.Identity())
    if precision in ("bf16", "fp16"):
        for module in form.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                _cast_when_used(module, FORMATS[precision])
    return form


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Convolutions followed by a frozen norm: an owner, and the names of both in it.

    Names are those of torchvision's blocks, and of consecutive modules of an `nn.Sequential`.
    """
    for owner in network.modules():
        parts = dict(owner.named_children())
        pairs = [(name, name.replace("conv", "bn")) for name in parts if name.startswith("conv")]
        if isinstance(owner, nn.Sequential):
            pairs = list(pairwise(parts))
        for first, second in pairs:
            if isinstance(parts[first], nn.Conv2d) and isinstance(parts.get(second), FrozenBatchNorm2d):
                yield owner, first, second


def _cast_when_used(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast a module's weights when it is first called, if autocast would: some parts stay in float32."""

    def cast(module: nn.Module, _inputs: object) -> None:
        handle.remove()
        weight = module.weight
        assert isinstance(weight, Tensor)
        if torch.is_autocast_enabled(weight.device.type):
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, _constant(parameter.detach().to(dtype)))

    handle = module.register_forward_pre_hook(cast)


def _constant(tensor: Tensor) -> nn.Parameter:
    """A weight that is not trained; filters are channels last, as tensor cores want them."""
    last = torch.channels_last if tensor.dim() == 4 else torch.preserve_format
    return nn.Parameter(tensor.contiguous(memory_format=last) if tensor.dim() == 4 else tensor, requires_grad=False)
