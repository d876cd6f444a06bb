"""One search region per object: its position, cropping, and pasting logits back (LWL, JOINT, LLB).

The rules are those of docs/methods/lwl.md, "Search region".

Positions are ``(y, x)``, sizes ``(h, w)``, in float32 as in the published trackers: windows are truncated to whole
pixels, so rounding errors matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vos_zoo.engine.merge import GIVEN_LOGIT
from vos_zoo.engine.views import Canvases, View
from vos_zoo.tensors import constant, stacked

Pair = NDArray[np.floating[Any]]


class Window(NamedTuple):
    """A rectangle of (possibly subsampled) image pixels; it may extend beyond the image.

    Attributes:
        step: the image is subsampled by this factor before cropping.
        offset: first row and column of the subsampling.
        top, left, bottom, right: the rectangle in subsampled pixels, half open.
        corners: untruncated (top, left, bottom, right) in image pixels.
    """

    step: int
    offset: tuple[int, int]
    top: int
    left: int
    bottom: int
    right: int
    corners: tuple[float, float, float, float]


def crop_window(
    centre: Sequence[float] | Pair,
    size: Sequence[float] | Pair,
    output: tuple[int, int],
    image: tuple[int, int],
    *,
    border: str = "inside_major",
    shrink_limit: float | None = None,
    half_pixel: bool = False,
    stable: bool = False,
) -> Window:
    """The window to crop around `centre`.

    Args:
        centre: (y, x), truncated to whole pixels.
        size: requested (h, w) in image pixels.
        output: (h, w) of the canvas it will be resized to.
        image: (H, W).
        border: "inside" (the window fits the image in both axes), "inside_major" (in one axis at least) or "replicate"
            (it is not moved).
        shrink_limit: windows larger than the image shrink by at most this factor.
        half_pixel: arithmetic of the later releases (true division: one pixel more for even sizes); default is the
            integer arithmetic of the published results.
        stable: guard the truncation against float32 rounding, so that windows as large as the image are always exactly
            as large as the image (then objects can share them).
    """
    c = np.trunc(np.asarray(centre, dtype=np.float32)).astype(np.int64)
    wanted = np.asarray(size, dtype=np.float32)
    shape = np.asarray(image, dtype=np.int64)
    if border in ("inside", "inside_major"):
        ratio = wanted / shape.astype(np.float32)
        shrink = np.float32(max(1.0, float(ratio.max() if border == "inside" else ratio.min())))
        if shrink_limit is not None:
            shrink = np.float32(min(float(shrink), shrink_limit))
        wanted = np.trunc(wanted / shrink + np.float32(1e-3 if stable else 0.0)).astype(np.float32)
    elif border != "replicate":
        raise ValueError(f"border is {border!r}; choose inside, inside_major or replicate")
    step = max(int(float((wanted / np.asarray(output, dtype=np.float32)).min()) - 0.1), 1)
    offset = c % step
    c = (c - offset) // step
    shape = -((offset - shape) // step)
    pixels = np.maximum(np.rint(wanted / np.float32(step)), 2).astype(np.int64)
    if half_pixel:
        top_left, bottom_right = c - (pixels - 1) / 2, c + pixels / 2 + 1
    else:
        top_left, bottom_right = c - (pixels - 1) // 2, c + pixels // 2 + 1
    if border != "replicate":
        shift = np.maximum(-top_left, 0) - np.maximum(bottom_right - shape, 0)
        top_left, bottom_right = top_left + shift, bottom_right + shift
        outside = (np.maximum(-top_left, 0) + np.maximum(bottom_right - shape, 0)) // 2
        centring = np.where(outside > 0, -top_left - outside, 0)
        top_left, bottom_right = top_left + centring, bottom_right + centring
    corners = (*(step * top_left), *(step * bottom_right))
    (top, left), (bottom, right) = np.trunc(top_left).astype(int).tolist(), np.trunc(bottom_right).astype(int).tolist()
    start = (int(offset[0]), int(offset[1]))
    return Window(step, start, top, left, bottom, right, tuple(float(value) for value in corners))  # type: ignore[arg-type]


def cut(images: Tensor, window: Window, output: tuple[int, int], *, mask: bool = False) -> Tensor:
    """Crop a window and resize it.

    Args:
        images: ``(T, C, H, W)``.
        window: the window to crop.
        output: (h, w).
        mask: True: zero border and nearest resize; False: replicated border and bilinear resize, no antialiasing.

    Returns:
        ``(T, C, h, w)``.
    """
    images = images[..., window.offset[0] :: window.step, window.offset[1] :: window.step]
    height, width = images.shape[-2:]
    rows, columns = (max(window.top, 0), min(window.bottom, height)), (max(window.left, 0), min(window.right, width))
    pad = (columns[0] - window.left, window.right - columns[1], rows[0] - window.top, window.bottom - rows[1])
    if rows[0] < rows[1] and columns[0] < columns[1]:
        patch = images[..., rows[0] : rows[1], columns[0] : columns[1]]
        if any(pad):
            patch = F.pad(patch, pad) if mask else F.pad(patch, pad, mode="replicate")
    else:
        ys = torch.arange(window.top, window.bottom, device=images.device)
        xs = torch.arange(window.left, window.right, device=images.device)
        patch = images[..., ys.clamp(0, height - 1)[:, None], xs.clamp(0, width - 1)]
        patch = torch.zeros_like(patch) if mask else patch
    if tuple(patch.shape[-2:]) == output:
        return patch
    if mask:
        return F.interpolate(patch, output, mode="nearest")
    return F.interpolate(patch, output, mode="bilinear", align_corners=False)


def placement(corners: Sequence[float], canvas: tuple[int, int]) -> tuple[float, Pair]:
    """Image pixels per canvas pixel (geometric mean of both axes) and centre (y, x) of a window.

    Args:
        corners: untruncated (top, left, bottom, right).
        canvas: (h, w) the window was resized to.
    """
    top_left, bottom_right = np.asarray(corners[:2], dtype=np.float32), np.asarray(corners[2:], dtype=np.float32)
    ratio = (bottom_right - top_left) / np.asarray(canvas, dtype=np.float32)
    return float(np.sqrt(ratio.prod())), np.float32(0.5) * (top_left + bottom_right - 1)


def paste(logits: Tensor, scale: float, centre: Sequence[float] | Pair, image: tuple[int, int]) -> Tensor:
    """Paste a canvas's logits into the image at the position of its window; outside is -100.

    The resize uses the given factor for its coordinate map, not the ratio of the rounded sizes.

    Args:
        logits: ``(T, h, w)``.
        scale: image pixels per canvas pixel.
        centre: (y, x) of the window in the image.
        image: (H, W).

    Returns:
        ``(T, H, W)``.
    """
    resized = F.interpolate(logits[:, None], scale_factor=scale, mode="bilinear", align_corners=False)[:, 0]
    height, width = resized.shape[-2:]
    row, column = int(centre[0] - 0.5 * height), int(centre[1] - 0.5 * width)
    canvas = logits.new_full((len(logits), *image), -GIVEN_LOGIT)
    rows = slice(max(row, 0), max(min(row + height, image[0]), 0))
    columns = slice(max(column, 0), max(min(column + width, image[1]), 0))
    if rows.start < rows.stop and columns.start < columns.stop:
        canvas[:, rows, columns] = resized[
            :, rows.start - row : rows.stop - row, columns.start - column : columns.stop - column
        ]
    return canvas


def box_of_mask(mask: Tensor) -> tuple[float, float, float, float]:
    """Tight box x y w h of a mask ``(H, W)`` in the evaluation convention (w = xmax - xmin); (-1, -1, -1, -1) if empty.

    Masks one pixel wide or high get w or h = 1: the published rule gives a region of size zero there and fails.
    """
    rows, columns = mask.amax(dim=1).nonzero()[:, 0], mask.amax(dim=0).nonzero()[:, 0]
    if len(rows) == 0:
        return (-1.0, -1.0, -1.0, -1.0)
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    return (float(left), float(top), float(max(right - left, 1)), float(max(bottom - top, 1)))


def mask_moments(probabilities: Tensor) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Mass, centre of mass and extent of soft masks.

    Args:
        probabilities: ``(N, H, W)``.

    Returns:
        Mass ``(N,)``, centre (y, x) ``(N, 2)``, and 4 standard deviations per axis (h, w) ``(N, 2)``.
    """
    length = max(probabilities.shape[1:])
    along = [probabilities.sum(dim=2), probabilities.sum(dim=1)]
    marginals = torch.stack([F.pad(own, (0, length - own.shape[1])) for own in along], dim=1).double()
    position = constant(tuple(range(length)), marginals.device, torch.float64)
    mass = marginals[:, :1].sum(dim=2)
    safe = mass.clamp(min=1e-12)
    mean = (marginals * position).sum(dim=2) / safe
    variance = (marginals * (position - mean[..., None]).square()).sum(dim=2) / safe
    moments = torch.cat([mass, mean, 4 * variance.sqrt()], dim=1).cpu().numpy()
    return moments[:, 0], moments[:, 1:3].astype(np.float32), moments[:, 3:].astype(np.float32)


@dataclass
class _Target:
    """Last state of an object: centre, size, size per unit of scale, image pixels per canvas pixel."""

    centre: NDArray[np.float32]
    size: NDArray[np.float32]
    base_size: NDArray[np.float32]
    scale: np.float32


class SearchRegion(View):
    """A moving window around each object, all resized to one canvas size (``B = N, K = 1``).

    Args:
        size: canvas (h, w); multiples of `stride`.
        area_scale: side of the window in object sides, sqrt(area of window / area of object).
        scale_change: limits of the change of scale from frame to frame.
        minimum_area: an object with less probability mass (pixels) keeps its position and size.
        half_pixel: crop arithmetic of the later releases (see `crop_window`).
        stable: see `crop_window`.
        group_size: objects per forward pass.
        stride: stride of the features that the 3x3 filter is applied to; even grids shift the window by half a cell.
    """

    def __init__(
        self,
        size: tuple[int, int] = (480, 832),
        area_scale: float = 5.0,
        scale_change: tuple[float, float] = (0.95, 1.1),
        minimum_area: float = 100.0,
        half_pixel: bool = False,
        stable: bool = True,
        group_size: int = 8,
        stride: int = 16,
    ) -> None:
        self.size = size
        self.area_scale = area_scale
        self.scale_change = scale_change
        self.minimum_area = minimum_area
        self.half_pixel = half_pixel
        self.stable = stable
        self.group_size = group_size
        self._canvas = np.asarray(size, dtype=np.float32)
        grid = np.asarray(size) // stride
        self._half_cell = (((grid + 3) % 2) * self._canvas / (2 * grid)).astype(np.float32)
        self.targets: list[_Target] = []
        self._image: tuple[int, int] = (0, 0)

    def working_size(self, frames: Iterable[tuple[int, ...]]) -> int | None:
        """The shorter side of the canvas, whatever the frames."""
        return min(self.size)

    def window_of(self, slot: int) -> Window:
        """The search window of object `slot` in the next frame."""
        target = self.targets[slot]
        return crop_window(
            target.centre + self._half_cell * target.scale,
            target.scale * self._canvas,
            self.size,
            self._image,
            half_pixel=self.half_pixel,
            stable=self.stable,
        )

    def project(self, frames: Tensor, slots: Sequence[int]) -> Canvases:
        """Crops of the objects' search windows; equal windows are cropped and encoded once."""
        self._image = (frames.shape[-2], frames.shape[-1])
        windows = [self.window_of(slot) for slot in slots]
        distinct = list(dict.fromkeys(windows))
        pixels = stacked([cut(frames, own, self.size) for own in distinct])
        if len(distinct) == len(windows):
            return Canvases(pixels, None, windows)
        window = constant(tuple(distinct.index(own) for own in windows), frames.device, torch.int64)
        return Canvases(pixels, window, windows)

    def lift(self, logits: Tensor, canvases: Canvases) -> Tensor:
        """Paste each object's logits into the image, ``(B, T, 1, h, w)`` -> ``(T, B, H, W)``."""
        pasted = []
        for own, window in zip(logits, canvases.places, strict=True):
            scale, centre = placement(window.corners, self.size)
            pasted.append(paste(own[:, 0], scale, centre, self._image))
        return stacked(pasted, dim=1)

    def lower(self, probabilities: Tensor, canvases: Canvases) -> Tensor:
        """Crop the objects' probabilities with the last windows, ``(T, B, H, W)`` -> ``(B, T, 1, h, w)``."""
        objects = probabilities.unbind(dim=1)
        masks = [cut(own[:, None], w, self.size, mask=True) for own, w in zip(objects, canvases.places, strict=True)]
        return stacked(masks)

    def to_plane(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """The identity: objects are merged in the image."""
        return maps

    def emit(self, probabilities: Tensor) -> Tensor:
        """The identity: probabilities have the video's size already."""
        return probabilities

    def admit(
        self, frame: Tensor, masks: Tensor, slots: Sequence[int], boxes: Sequence[Sequence[float] | None]
    ) -> tuple[Canvases, Tensor]:
        """First canvases: around the given box, or the tight box of the mask."""
        self._image = (frame.shape[-2], frame.shape[-1])
        pixels, cropped = [], []
        for mask, slot, box in zip(masks, slots, boxes, strict=True):
            target = self._start(box if box is not None else box_of_mask((mask > 0.5).to(mask)))
            self.targets[slot : slot + 1] = [target]
            window, shift = self._first_window(target)
            pixels.append(self._cut_first(frame, window, shift))
            cropped.append(self._cut_first(mask[None], window, shift, mask=True))
        return Canvases(torch.stack(pixels)[:, None], None), torch.stack(cropped)[:, None]

    def _start(self, box: Sequence[float]) -> _Target:
        x, y, w, h = (np.float32(value) for value in box)
        size = np.array([h, w], dtype=np.float32)
        centre = np.array([y, x], dtype=np.float32) + (size - 1) / 2
        wanted = np.float32(self.area_scale) * size
        scale = np.float32(np.sqrt(wanted.prod()) / np.sqrt(self._canvas.prod()))
        return _Target(centre.astype(np.float32), size, size / scale, scale)

    def _first_window(self, target: _Target) -> tuple[Window, tuple[int, int]]:
        """A window of twice the requested size around the object, and the displacement of its central part."""
        image = np.asarray(self._image, dtype=np.float32)
        wanted = target.scale * self._canvas
        wanted = wanted / max(np.float32(1), (wanted / image).min())
        scale = np.sqrt((wanted / self._canvas).prod())
        top_left, bottom_right = target.centre - (wanted - 1) / 2, target.centre + wanted / 2 + 1
        over = np.maximum(-top_left, 0) - np.maximum(bottom_right - image, 0)
        shift = np.trunc(-over / scale).astype(int)
        window = crop_window(
            np.rint(target.centre),
            scale * 2 * self._canvas,
            (2 * self.size[0], 2 * self.size[1]),
            self._image,
            border="replicate",
            half_pixel=self.half_pixel,
        )
        return window, (int(shift[0]), int(shift[1]))

    def _cut_first(self, image: Tensor, window: Window, shift: tuple[int, int], *, mask: bool = False) -> Tensor:
        """The displaced central part of the doubled window, ``(C, H, W)`` -> ``(C, h, w)``."""
        doubled = cut(image[None], window, (2 * self.size[0], 2 * self.size[1]), mask=mask)
        height, width = self.size
        margin = []
        for length, moved in ((width, shift[1]), (height, shift[0])):
            before = length // 2 - moved
            margin += [-before, -(length - before)]
        return F.pad(doubled, margin, mode="replicate")[0]

    def relocate(self, probabilities: Tensor) -> None:
        """Centre and extent from the moments of the merged probability, with a limited change of scale."""
        mass, centres, sizes = mask_moments(probabilities[1:])
        low, high = (np.float32(limit) for limit in self.scale_change)
        for target, weight, centre, size in zip(self.targets, mass, centres, sizes, strict=True):
            if weight < self.minimum_area:
                centre, size = target.centre, target.size
            scale = np.sqrt(size.prod() / target.base_size.prod())
            ratio = np.clip(scale / target.scale, low, high)
            target.scale = np.float32(target.scale * ratio)
            target.centre, target.size = centre, target.base_size * target.scale

    def drop(self, slots: Sequence[int]) -> None:
        """Drop the objects' positions."""
        self.targets = [target for slot, target in enumerate(self.targets) if slot not in set(slots)]
