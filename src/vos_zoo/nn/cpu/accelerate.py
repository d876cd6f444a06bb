"""The switch between plain modules and their forms that are faster on a CPU.

Networks are written with plain modules. `accelerate_cpu` gives each module that has a faster form the class of that
form, a subclass that differs in `forward` alone: parameters, their names, modes, devices and copies are not touched,
and weights loaded later are used. A faster form computes the same up to rounding; where its kernels do not apply (other
number formats, other devices, compiled networks) it runs plain operations, with frozen norms folded into convolutions.
"""

from __future__ import annotations

from functools import cache

from torch import nn

from vos_zoo.environment import is_on
from vos_zoo.nn.backbones import ImageEncoder, ResNet, SmpEncoder, TimmEncoder
from vos_zoo.nn.blocks import RRB, ConvBranches, PartsConv2d, PartsSequential, ResBlock
from vos_zoo.nn.cpu.layers import (
    FastConv3x3,
    FastPartsConv3x3,
    FusedPartsSequential,
    FusedResBlock,
    FusedRRB,
    FusedSequential,
    StackedBranches,
    is_same_3x3,
)
from vos_zoo.nn.cpu.layout import ChannelsLastSmp, ChannelsLastTimm
from vos_zoo.nn.cpu.resize import BandedBicubic
from vos_zoo.nn.resize import Bicubic

SWITCH = "VOS_ZOO_PLAIN_CPU"
"""With 1 in this environment variable `accelerate_cpu` changes nothing."""


@cache
def faster_forms() -> dict[type[nn.Module], type[nn.Module]]:
    """Class of a module -> the class of its faster form; convolutions have one if they are 3x3 and keep the size."""
    from torchvision.models.resnet import BasicBlock, Bottleneck

    from vos_zoo.nn.cpu.residual import FastBasicBlock, FastBottleneck, FastResNet

    return {
        nn.Conv2d: FastConv3x3,
        nn.Sequential: FusedSequential,
        PartsConv2d: FastPartsConv3x3,
        PartsSequential: FusedPartsSequential,
        ConvBranches: StackedBranches,
        ResBlock: FusedResBlock,
        RRB: FusedRRB,
        Bicubic: BandedBicubic,
        BasicBlock: FastBasicBlock,
        Bottleneck: FastBottleneck,
        ResNet: FastResNet,
        TimmEncoder: ChannelsLastTimm,
        SmpEncoder: ChannelsLastSmp,
    }


def accelerate_cpu(model: nn.Module) -> None:
    """Let a model compute by the faster forms of its modules, in place; nothing with VOS_ZOO_PLAIN_CPU=1.

    Only modules of exactly the listed classes are changed, so a subclass with a `forward` of its own keeps it. Image
    encoders are changed as a whole, not inside.

    Args:
        model: any module; the number of changed modules may be zero.
    """
    if not is_on(SWITCH):
        _exchange(model, faster_forms())


def plain_cpu(model: nn.Module) -> None:
    """Undo `accelerate_cpu`, in place."""
    _exchange(model, {form: plain for plain, form in faster_forms().items()})


def _exchange(module: nn.Module, classes: dict[type[nn.Module], type[nn.Module]]) -> None:
    """Give a module and those inside it the classes that theirs map to."""
    other = classes.get(type(module))
    if other is not None and (is_same_3x3(module) or not isinstance(module, nn.Conv2d)):
        module.__class__ = other
    if not isinstance(module, ImageEncoder):
        for child in module.children():
            _exchange(child, classes)
