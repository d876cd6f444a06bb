"""What the network has computed of a clip's pixels, and which of its frames it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from vos_zoo.tensors import picked
from vos_zoo.types import Box, Points

_NOT_PER_FRAME = ("window", "plan", "hints")


@dataclass(frozen=True)
class ClipPlan:
    """Frames of a clip that go through the network, if not all are needed.

    Attributes:
        length: frames of the clip.
        encoded: positions that are encoded, ascending; only these reach `TargetModel.encode`.
        decoded: positions whose logits are needed, ascending; all of them are encoded.
    """

    length: int
    encoded: tuple[int, ...]
    decoded: tuple[int, ...]

    @classmethod
    def whole(cls, length: int) -> ClipPlan:
        """Every frame is encoded and decoded."""
        return cls(length, tuple(range(length)), tuple(range(length)))


@dataclass(frozen=True)
class Features:
    """What depends on the pixels only: the canvases and their feature pyramid.

    Several objects may share a canvas (their search windows coincide). Tensors are kept per *canvas*, ``U`` of
    them; `window` says which canvas each of the ``B`` objects looks at. Methods derive from this class to add features,
    tensors ``(U, T, ...)`` or None.

    Attributes:
        pixels: float32 RGB ``(U, T, 3, h, w)``, 0..255: label generators and value encoders need image and mask.
        f4, f8, f16, f32: backbone features ``(U, T, C, h/s, w/s)``, the name says the stride s; None: the method has
            none. In training those that only decoding needs may lack the reference frames
            (`TargetModel.encode_sequences`).
        window: int64 ``(B,)``, canvas of each object; None: object b looks at canvas b.
        plan: which frames of a clip these are and which are to be decoded; None: all of them.
        hints: in `initialise`, the box or the points of each new object in canvas pixels, None where its mask was
            given; None: there are none, or the view cannot locate them.
    """

    pixels: Tensor
    f4: Tensor | None = None
    f8: Tensor | None = None
    f16: Tensor | None = None
    f32: Tensor | None = None
    window: Tensor | None = None
    plan: ClipPlan | None = None
    hints: tuple[Box | Points | None, ...] | None = None

    def spread(self, window: Tensor | None) -> Self:
        """The same features with each object's canvas named by `window` ``(B,)``; nothing is copied."""
        return replace(self, window=window)

    def gather(self, tensor: Tensor) -> Tensor:
        """A tensor that depends on the canvas only, ``(U, ...)``, repeated for the objects, ``(B, ...)``."""
        if self.window is None:
            return tensor
        if tensor.shape[0] == 1:
            return tensor.expand(len(self.window), *tensor.shape[1:])
        return tensor[self.window]

    def rows(self, rows: Sequence[int]) -> Self:
        """The features as seen by the objects `rows` only; a class that adds tensors per object overrides this."""
        window = torch.arange(self.pixels.shape[0], device=self.pixels.device) if self.window is None else self.window
        return self.spread(picked(window, rows))

    def frames(self, start: int, stop: int | None) -> Self:
        """Frames `start` to `stop` of the clip (None: to its end), without a copy."""
        return self._select(slice(start, stop))

    def split(self, lengths: Sequence[int]) -> list[Self]:
        """Consecutive stretches of the clip, without a copy.

        Features that the first frames lack are missing in the first stretches.
        """
        per_frame = {}
        for name, value in self._per_frame().items():
            left_out = sum(lengths) - value.shape[1]
            per_frame[name] = value.split(_without_first(lengths, left_out), dim=1)
        stretches = zip(*per_frame.values(), strict=True)
        return [replace(self, **dict(zip(per_frame, parts, strict=True)), plan=None) for parts in stretches]

    def pick(self, frames: Sequence[int]) -> Self:
        """Some frames of the clip, copied so that the others can be freed; all of them are the features themselves."""
        if list(frames) == list(range(self.pixels.shape[1])):
            return replace(self, plan=None)
        return self._select(list(frames))

    def without(self, *names: str) -> Self:
        """The features without these tensors, so that they can be freed."""
        gone: dict[str, Any] = dict.fromkeys(names)
        return replace(self, **gone)

    def _select(self, frames: slice | list[int]) -> Self:
        own = self._per_frame().items()
        if isinstance(frames, slice):
            chosen: dict[str, Any] = {name: value[:, frames] for name, value in own}
        else:
            chosen = {name: picked(value, frames, dim=1) for name, value in own}
        return replace(self, **chosen, plan=None)

    def _per_frame(self) -> dict[str, Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_PER_FRAME}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Pyramid(Features):
    """Features of which all four levels are there."""

    f4: Tensor
    f8: Tensor
    f16: Tensor
    f32: Tensor


FeaturesT = TypeVar("FeaturesT", bound=Features)
"""The features of a method."""
ReadoutT = TypeVar("ReadoutT")
"""What a method reads from its memory: ``(B, T, K, C, h/s, w/s)``, or its own dataclass."""


def _without_first(lengths: Sequence[int], frames: int) -> list[int]:
    """Lengths of consecutive stretches when the first `frames` are removed."""
    found = []
    for length in lengths:
        taken = min(length, frames)
        found.append(length - taken)
        frames -= taken
    return found
