"""vos-zoo: semi-supervised video object segmentation, published methods behind one interface.

Importing this package loads neither torch nor Lightning; each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vos_zoo import metrics
    from vos_zoo.create import convert_checkpoint, create_model
    from vos_zoo.model import VOSModel
    from vos_zoo.registry import available_models
    from vos_zoo.types import Box, FrameResult, Points, UsageError, VOSError

__version__ = "0.1.0"

__all__ = [
    "Box",
    "FrameResult",
    "Points",
    "UsageError",
    "VOSError",
    "VOSModel",
    "available_models",
    "convert_checkpoint",
    "create_model",
    "metrics",
]

_HOMES = {
    "Box": "vos_zoo.types",
    "FrameResult": "vos_zoo.types",
    "Points": "vos_zoo.types",
    "UsageError": "vos_zoo.types",
    "VOSError": "vos_zoo.types",
    "VOSModel": "vos_zoo.model",
    "available_models": "vos_zoo.registry",
    "convert_checkpoint": "vos_zoo.create",
    "create_model": "vos_zoo.create",
}


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return import_module("vos_zoo.metrics")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vos_zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
