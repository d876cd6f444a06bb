"""Numbers of a GPU that are read a step later, so that the host need not wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vos_zoo.types import VOSError


class Later:
    """A small tensor on its way to the CPU.

    Args:
        values: on any device; on the CPU it is ready at once.
    """

    def __init__(self, values: Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        self._values = values.detach()
        if values.is_cuda:
            self._values = self._values.to("cpu", non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    @property
    def ready_at_once(self) -> bool:
        """Whether reading it never waits."""
        return self._copied is None

    def read(self) -> Tensor:
        """The values on the CPU; waits until they have arrived."""
        if self._copied is not None:
            self._copied.synchronize()
            self._copied = None
        return self._values


class FiniteCheck:
    """Stops a training whose numbers are not finite: on a CPU at once, on a GPU one step later.

    A GPU's step is then taken before it is known; so `settle` is called before anything is saved or validated.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Later, Callable[[Tensor], str]]] = deque()

    def watch(self, values: Tensor, describe: Callable[[Tensor], str]) -> None:
        """Check values ``(n,)``.

        Args:
            values: must be finite.
            describe: the message, from the values.

        Raises:
            VOSError: they are not.
        """
        self._waiting.append((Later(values), describe))
        if self._waiting[-1][0].ready_at_once:
            self.settle()

    def settle(self) -> None:
        """Check all that was watched.

        Raises:
            VOSError: something was not finite; the message is that of the first.
        """
        while self._waiting:
            later, describe = self._waiting.popleft()
            values = later.read()
            if not torch.isfinite(values).all():
                self._waiting.clear()
                raise VOSError(describe(values))


def stopped(step: int, names: Sequence[str], reason: str) -> str:
    """The error for a stopped training, with the clips of the batch and possible fixes."""
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return (
        f"training stopped at step {step}: {reason}, for the clips {shown}; check these clips, lower optim.groups, or "
        "set optim.clip_norm"
    )


def bad_loss(stopped: Callable[[str], str], names: Sequence[str], values: Tensor) -> str:
    """The error for a loss and its terms, ``(1 + n,)``."""
    total, *terms = values.tolist()
    found = ", ".join(f"{name} {value:g}" for name, value in zip(names, terms, strict=True))
    return stopped(f"the loss is {total:g} ({found})")


def bad_norm(stopped: Callable[[str], str], values: Tensor) -> str:
    """The error for the norm of a gradient, ``(1,)``."""
    return stopped(f"the norm of the gradient is {float(values[0]):g}")
