"""The models that the page offers: loaded when first used, shared by all tabs, few at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from vos_zoo.hub.weights import LocalWeights, known_weights
from vos_zoo.types import UsageError

if TYPE_CHECKING:
    from vos_zoo.model import VOSModel

MAX_LOADED = 2
"""Number of models that are held at a time."""


class ModelShelf:
    """Models by the name of their weights.

    One lock guards all networks: tabs that track at the same time take turns frame by frame.

    Args:
        load: name -> model in eval mode, on its device.
        names: names that are offered, the default first.

    Attributes:
        lock: to be held while a network runs.
        names: the offered names.
    """

    def __init__(self, load: Callable[[str], VOSModel], names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.lock = threading.Lock()
        self._load = load
        self._loaded: OrderedDict[str, VOSModel] = OrderedDict()
        self._loading = threading.Lock()

    def check(self, name: str) -> str:
        """The name, if it is offered.

        Raises:
            UsageError: it is not.
        """
        if name not in self.names:
            raise UsageError(f"weights {name!r} are not offered here; choose one of: {', '.join(self.names)}")
        return name

    def model(self, name: str) -> VOSModel:
        """The model with these weights.

        Raises:
            VOSError: it cannot be loaded.
        """
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = self._load(self.check(name))
            self._loaded.move_to_end(name)
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[name]


def offered_weights(first: str | None) -> dict[str, str]:
    """Name -> description of the weights that need nothing to be done by hand.

    `first` (a name or a path) leads, then those with the best J&F measured by us.
    """
    offered = sorted(
        (local for local in known_weights() if local.state != "missing"), key=lambda local: local.quality, reverse=True
    )
    found = {local.known.name: _about(local) for local in offered}
    return found if first is None else {first: found.get(first, first), **found}


def _about(local: LocalWeights) -> str:
    """Name, method, our J&F on real videos where it is measured, and whether they must be downloaded."""
    score = f", J&F {local.quality:.1f}" if local.quality else ""
    download = "; downloaded when used" if local.state == "to download" else ""
    return f"{local.known.name} ({local.method}{score}{download})"
