"""Views turn video frames into the canvases a network sees, and logits back to the plane where objects are merged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.tensors import constant
from vos_zoo.types import Box, Points


@dataclass(frozen=True)
class Canvases:
    """Images cropped for the network.

    Attributes:
        pixels: float32 RGB ``(U, T, 3, h, w)``, 0..255, one entry per *distinct* canvas.
        window: int64 ``(B,)``, canvas of each object; None when object b has canvas b.
        places: position of each of the ``B`` canvases in the video frame (private to the view).
    """

    pixels: Tensor
    window: Tensor | None
    places: Any = None

    def without_pixels(self) -> Canvases:
        """The same canvases with no pixels, for what needs to know their places alone."""
        return replace(self, pixels=self.pixels.new_empty(0))


class View(ABC):
    """Geometry between the video and a network's canvases; nothing here is learned.

    Objects are addressed by slot, their position in the order of introduction. The merge plane ``H' W'`` is where
    objects are merged: the image for search regions, the padded canvas for the full frame.

    Attributes:
        group_size: objects that share one memory and one forward pass; None: all of them.
    """

    group_size: int | None = None

    def working_size(self, frames: Iterable[tuple[int, ...]]) -> int | None:
        """The shorter side in pixels of what the network sees; None if frames are not resized and differ in size.

        Args:
            frames: (H, W) of the videos.
        """
        sizes = {min(size) for size in frames}
        return sizes.pop() if len(sizes) == 1 else None

    @abstractmethod
    def project(self, frames: Tensor, slots: Sequence[int]) -> Canvases:
        """Canvases of the objects `slots`.

        Args:
            frames: float RGB ``(T, 3, H, W)``, 0..255.
            slots: the objects.
        """

    @abstractmethod
    def lift(self, logits: Tensor, canvases: Canvases) -> Tensor:
        """Logits ``(B, T, K, h, w)`` -> the merge plane, ``(T, n, H', W')``, in slot order."""

    def lift_scores(self, scores: Tensor, canvases: Canvases) -> Tensor:
        """Scores ``(B, T, K)`` of the canvases' objects -> ``(T, n)``, in slot order.

        A view in which several canvases show one object merges their scores.
        """
        return scores.transpose(0, 1).flatten(1)

    @abstractmethod
    def lower(self, probabilities: Tensor, canvases: Canvases) -> Tensor:
        """Probabilities ``(T, n, H', W')`` of the canvases' objects -> masks on them, ``(B, T, K, h, w)``."""

    @abstractmethod
    def to_plane(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Given masks (or logits) ``(n, H, W)`` -> the merge plane ``(n, H', W')``; `outside` fills the surround."""

    @abstractmethod
    def emit(self, probabilities: Tensor) -> Tensor:
        """Probabilities ``(T, N+1, H', W')`` -> video size, ``(T, N+1, H, W)``."""

    @abstractmethod
    def admit(
        self, frame: Tensor, masks: Tensor, slots: Sequence[int], boxes: Sequence[Sequence[float] | None]
    ) -> tuple[Canvases, Tensor]:
        """Canvases on which objects start, and their masks there.

        Args:
            frame: float RGB ``(3, H, W)``, 0..255.
            masks: float ``(n, H, W)``, 0..1, one per new object.
            slots: slots of the new objects.
            boxes: x y w h where the user gave a box, else None.

        Returns:
            Canvases, and masks ``(B, 1, K, h, w)`` on them.
        """

    def on_canvas(self, hint: Box | Points) -> Box | Points | None:
        """A box or points of the video's frame in pixels of the canvas on which the object starts.

        None: the view cannot locate them (the default); the method then gets only the mask.
        """
        return None

    @abstractmethod
    def relocate(self, probabilities: Tensor) -> None:
        """Choose the next canvases from the merged probabilities ``(N+1, H', W')`` of the newest frame."""

    @abstractmethod
    def drop(self, slots: Sequence[int]) -> None:
        """Forget objects; the remaining ones are re-indexed."""


class FullFrame(View):
    """The whole frame, padded to a multiple, is the one canvas of all objects (``B = 1, K = N``).

    Args:
        multiple: canvas sides are multiples of this; padding is split evenly, the odd pixel goes right and below.
        short_edge: frames are resized so that the shorter side has this length; None keeps the size.
        resize: "bilinear" or "bicubic", without antialiasing; masks use the floor rule of "nearest".
        pad_value: RGB colour of the padding, 0..255 (the normalisation's mean pads with zeros after normalisation).
    """

    def __init__(
        self,
        multiple: int = 16,
        short_edge: int | None = None,
        resize: str = "bilinear",
        pad_value: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.multiple = multiple
        self.short_edge = short_edge
        self.resize = resize
        self.pad_value = pad_value
        self._video: tuple[int, int] = (0, 0)

    def working_size(self, frames: Iterable[tuple[int, ...]]) -> int | None:
        """The short edge that frames are resized to, or that of the frames."""
        return super().working_size(frames) if self.short_edge is None else self.short_edge

    def _sizes(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """Resized size (h, w) and padding (left, right, top, bottom)."""
        size = (height, width)
        if self.short_edge is not None and min(size) != self.short_edge:
            long_edge = self.short_edge * max(size) // min(size)
            size = (self.short_edge, long_edge) if height <= width else (long_edge, self.short_edge)
        pad_y, pad_x = ((-side) % self.multiple for side in size)
        return size, (pad_x // 2, pad_x - pad_x // 2, pad_y // 2, pad_y - pad_y // 2)

    def project(self, frames: Tensor, slots: Sequence[int]) -> Canvases:
        """One canvas with all objects, pixels ``(1, T, 3, h, w)``."""
        self._video = (frames.shape[-2], frames.shape[-1])
        size, pad = self._sizes(*self._video)
        if size != self._video:
            frames = F.interpolate(frames, size, mode=self.resize, align_corners=False)
        value = constant(tuple(self.pad_value), frames.device, frames.dtype)[:, None, None]
        return Canvases((F.pad(frames - value, pad) + value)[None] if any(pad) else frames[None], None, tuple(slots))

    def lift(self, logits: Tensor, canvases: Canvases) -> Tensor:
        """Objects meet on the canvas: ``(1, T, K, h, w)`` -> ``(T, K, h, w)``."""
        return logits[0]

    def lower(self, probabilities: Tensor, canvases: Canvases) -> Tensor:
        """Masks on the canvas, ``(1, T, K, h, w)``."""
        return probabilities[None]

    def to_plane(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Resized by the floor rule of "nearest", and padded with `outside`."""
        size, pad = self._sizes(maps.shape[-2], maps.shape[-1])
        if size != tuple(maps.shape[-2:]):
            maps = F.interpolate(maps[None], size, mode="nearest")[0]
        return F.pad(maps, pad, value=outside) if any(pad) else maps

    def emit(self, probabilities: Tensor) -> Tensor:
        """Padding removed, bilinear to the video's size."""
        size, (left, _, top, _) = self._sizes(*self._video)
        probabilities = probabilities[..., top : top + size[0], left : left + size[1]]
        if size != self._video:
            probabilities = F.interpolate(probabilities, self._video, mode="bilinear", align_corners=False)
        return probabilities

    def admit(
        self, frame: Tensor, masks: Tensor, slots: Sequence[int], boxes: Sequence[Sequence[float] | None]
    ) -> tuple[Canvases, Tensor]:
        """The one canvas, and the masks of all slots up to the newest on it (zero where an object does not start)."""
        canvases = self.project(frame[None], slots)
        plane = self.to_plane(masks)
        full = plane.new_zeros(1, 1, max(slots) + 1, *plane.shape[-2:])
        full[0, 0, list(slots)] = plane
        return canvases, full

    def on_canvas(self, hint: Box | Points) -> Box | Points:
        """Scaled and shifted as the frame is."""
        (height, width), (left, _, top, _) = self._sizes(*self._video)
        along_x, along_y = width / self._video[1], height / self._video[0]
        if isinstance(hint, Box):
            return Box(hint.x * along_x + left, hint.y * along_y + top, hint.w * along_x, hint.h * along_y)
        moved = [
            tuple((x * along_x + left, y * along_y + top) for x, y in points)
            for points in (hint.positive, hint.negative)
        ]
        return Points(moved[0], moved[1])

    def relocate(self, probabilities: Tensor) -> None:
        """The canvas never moves."""

    def drop(self, slots: Sequence[int]) -> None:
        """Nothing is kept per object."""


class ObjectFrames(FullFrame):
    """The whole frame as a canvas of each object (``B = N, K = 1``); what depends on its pixels is computed once.

    Args:
        multiple: see `FullFrame`, as the next three.
        short_edge: of the network's input.
        resize: interpolation.
        pad_value: colour of the padding.
        group_size: objects that go through the network together; None: all of them.
    """

    def __init__(
        self,
        multiple: int = 16,
        short_edge: int | None = None,
        resize: str = "bilinear",
        pad_value: tuple[float, float, float] = (0.0, 0.0, 0.0),
        group_size: int | None = None,
    ) -> None:
        super().__init__(multiple, short_edge, resize, pad_value)
        self.group_size = group_size

    def project(self, frames: Tensor, slots: Sequence[int]) -> Canvases:
        """One canvas at which all objects look, pixels ``(1, T, 3, h, w)``."""
        canvases = super().project(frames, slots)
        window = torch.zeros(len(slots), dtype=torch.int64, device=frames.device)
        return Canvases(canvases.pixels, window, canvases.places)

    def lift(self, logits: Tensor, canvases: Canvases) -> Tensor:
        """Objects meet on the canvas: ``(B, T, 1, h, w)`` -> ``(T, B, h, w)``."""
        return logits[:, :, 0].transpose(0, 1)

    def lower(self, probabilities: Tensor, canvases: Canvases) -> Tensor:
        """Each object's mask, ``(T, B, h, w)`` -> ``(B, T, 1, h, w)``."""
        return probabilities.transpose(0, 1)[:, :, None]

    def admit(
        self, frame: Tensor, masks: Tensor, slots: Sequence[int], boxes: Sequence[Sequence[float] | None]
    ) -> tuple[Canvases, Tensor]:
        """The one canvas, and on it the mask of each new object, ``(n, 1, 1, h, w)``."""
        return self.project(frame[None], slots), self.to_plane(masks)[:, None, None]
