"""Encoding, reading and decoding as compiled graphs for tracking, one per shape, with a bounded number of shapes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from vos_zoo.engine.decoded import Decoded
from vos_zoo.engine.features import Features
from vos_zoo.engine.memory import Memory, for_reading
from vos_zoo.engine.target_model import AnyTargetModel

_log = logging.getLogger(__name__)
MAX_SHAPES = 8
"""Shapes per verb that are compiled; later ones run as they are."""
SEEN_BEFORE = 3
"""Calls with a shape before it is compiled: a shape that occurs once is not worth it."""
_MAX_COUNTED = 1024
BACKEND = "inductor"
"""Compiler of `torch.compile`; on a GPU its graphs are captured as CUDA graphs, too."""


_known: WeakKeyDictionary[AnyTargetModel, CompiledVerbs] = WeakKeyDictionary()


def compiled_verbs(model: AnyTargetModel) -> CompiledVerbs:
    """The compiled verbs of a network: the same ones for all videos."""
    if model not in _known:
        _known[model] = CompiledVerbs(model)
    return _known[model]


class CompiledVerbs:
    """`encode`, `read` and `decode` of a network; a shape that cannot be compiled runs as it is, with one warning.

    Canvases of search regions have one size, so their shapes differ in the number of objects alone; full frames have
    one size per video. A memory changes its shape while it fills, and is read by a graph when it is full; one that
    does not say what reading needs of it (`for_reading`) is read as it is.

    Args:
        model: the network, in eval mode.
        backend: see `BACKEND`; None: that.
    """

    def __init__(self, model: AnyTargetModel, backend: str | None = None) -> None:
        self._backend = backend or BACKEND
        self._captures = next(model.parameters()).is_cuda and self._backend == "inductor"
        self._model = ref(model)  # not a reference that keeps it: it is the key under which these are found
        self._calls: Counter[Hashable] = Counter()
        self._compiled: dict[Hashable, Callable[..., Any]] = {}

    def encode(self, frames: Tensor) -> Features:
        """See `TargetModel.encode`."""
        found: Features = self._run("encode", frames)
        return found

    def read(self, memory: Memory, features: Features) -> object:
        """See `TargetModel.read`."""
        known = for_reading(memory)
        return self._plain("read")(memory, features) if known is None else self._run("read", known, features)

    def decode(self, readout: object, features: Features) -> Tensor | Decoded:
        """See `TargetModel.decode`."""
        found: Tensor | Decoded = self._run("decode", readout, features)
        return found

    def _run(self, verb: str, *inputs: Any) -> Any:
        key = verb, _shapes(inputs)
        run, limits = self._compiled.get(key), nullcontext()
        if run is None:
            if len(self._calls) >= _MAX_COUNTED:  # of shapes that do not recur
                self._calls.clear()
            self._calls[key] += 1
            shapes = sum(known[0] == verb for known in self._compiled)  # type: ignore[index]
            if self._calls[key] <= SEEN_BEFORE or shapes >= MAX_SHAPES:
                return self._plain(verb)(*inputs)
            mode = "reduce-overhead" if self._captures else None
            run = torch.compile(self._plain(verb), fullgraph=True, dynamic=False, backend=self._backend, mode=mode)
            self._compiled[key] = run
            limits = torch._dynamo.config.patch(recompile_limit=MAX_SHAPES + 1)
        try:
            with limits:
                return self._owned(run(*inputs))
        except Exception as error:  # whatever a compiler raises: the plain verb says whether the inputs are at fault
            found = self._plain(verb)(*inputs)
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            _log.warning("track.compile: %s runs uncompiled, for it cannot be compiled (%s)", verb, reason)
            self._compiled[key] = self._plain(verb)
            return found

    def _plain(self, verb: str) -> Callable[..., Any]:
        run: Callable[..., Any] = getattr(self._model(), verb)
        return run

    def _owned(self, found: Any) -> Any:
        """What a CUDA graph has written, copied: its next run overwrites it."""
        return _copied(found) if self._captures else found


def _shapes(value: Any) -> Hashable:
    """Shapes and formats of the tensors in arguments, and what else a graph depends on."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype
    if is_dataclass(value):
        return type(value), tuple(_shapes(getattr(value, item.name)) for item in fields(value))
    if isinstance(value, (tuple, list)):
        return tuple(_shapes(part) for part in value)
    if isinstance(value, dict):
        return tuple((name, _shapes(part)) for name, part in value.items())
    known: Any = value if isinstance(value, Hashable) else type(value)
    return known


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{item.name: _copied(getattr(value, item.name)) for item in fields(value)})
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_copied(part) for part in value)
    return value
