"""Faster ways of computing the same in float32 on a CPU, applied to plain modules from outside.

Importing this package alone loads no torch: programs set the allocator first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vos_zoo.nn.cpu.accelerate import accelerate_cpu, plain_cpu

__all__ = ["accelerate_cpu", "plain_cpu"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from vos_zoo.nn.cpu import accelerate

        return getattr(accelerate, name)
    raise AttributeError(f"module 'vos_zoo.nn.cpu' has no attribute {name!r}")
