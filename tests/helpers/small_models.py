"""A small model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tests.helpers.contract_settings import BY_METHOD
from vos_zoo.methods.lwl.checkpoint import PREFIXES
from vos_zoo.model import VOSModel

# -- files that want to run something --------------------------------------------------------------------------------


class Payload:
    """Pickles as a call; unpickling it the ordinary way runs the call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.recipe = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.recipe

    def __call__(self) -> None:
        """A payload may stand where pickle wants something that can be called: the outcome of one call is called."""


# -- conversion ------------------------------------------------------------------------------------------------------


SMALL = {**BY_METHOD["lwl"].model}


def theirs(model: VOSModel) -> dict[str, Tensor]:
    """The weights of a small model under the authors' entry names."""
    renamed = {}
    for name, tensor in model.network.state_dict().items():
        ours = next(prefix for prefix in PREFIXES if name.startswith(prefix))
        renamed[PREFIXES[ours] + name.removeprefix(ours)] = tensor
    return renamed
