"""Clips of whole frames with several objects: the canvas is a part of the frame, chosen independently of the objects.

Two published recipes are settings of one transform: the video stage of STCN and PCVOS
(docs/methods/pcvos.md, "Video training": a random part of the frame resized to a square, then every canvas rotated and
sheared on its own, with the mean colour in the corners) and GIEL's (docs/methods/giel.md, "Training": the frame resized
to a random short side, rotated and scaled on its own, then cropped at a common position). The steps are, with what is
drawn once per clip and what per frame:

    clip   mirror; the part of the frame (`window`); brightness, contrast, saturation; grey
    frame  the part's place moved by `place_jitter`; turn, scale, shear about the centre of the canvas or, before the
           cut, of the frame (`turn`); brightness, contrast, saturation

The geometry of a frame is multiplied out to one map, so that its picture is resampled once and its label map once; both
colour changes are one matrix. Where the picture is shrunk, `cubic` shrinks it first with Pillow's bicubic filter, as
published, and then turns it (OpenCV's kernel has a = -0.75, Pillow's -0.5: on photographs 0.6 of 255 from the published
steps on average); `linear` looks the picture up directly, shrunk by area beforehand only below one half, in a fifth of
the time (1.0 to 1.9 of 255 from the published steps). Albumentations resamples and rounds after every step, so none of
its transforms serves here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from vos_zoo.config.settings.clips import AugmentSettings
from vos_zoo.config.settings.frames import FrameSettings
from vos_zoo.data.clips.crops import tight_box
from vos_zoo.data.clips.warps import FILL, Matrix, about_centre, colour_matrix, inverse, resample
from vos_zoo.types import Frame, LabelMap

_TRIES = 10  # parts drawn by area before the largest centred one is taken


class Part(NamedTuple):
    """A part of a (possibly mirrored) frame, in frame pixels: x, y, width and height."""

    x: float
    y: float
    w: float
    h: float


class Look(NamedTuple):
    """The region that a canvas shows.

    Attributes:
        rows: rows of the frame.
        columns: columns of the frame.
        back: from canvas points to points of that region.
        factors: canvas pixels per frame pixel, vertical and horizontal, before the turn.
    """

    rows: slice
    columns: slice
    back: Matrix
    factors: tuple[float, float]


@dataclass(frozen=True)
class ClipDraw:
    """Random draws that the frames of a clip share.

    Attributes:
        frame_size: height and width of the frames.
        mirrored: whether they are mirrored first.
        parts: the part of the (mirrored) frame that every canvas shows before it is turned.
        turns: the map of every frame about the centre of what is turned, ``(2, 2)`` each.
        common: shared factors of brightness, contrast, saturation.
        colours: every frame's own factors.
        gray: whether the clip is grey.
    """

    frame_size: tuple[int, int]
    mirrored: bool
    parts: tuple[Part, ...]
    turns: tuple[NDArray[np.float64], ...]
    common: NDArray[np.float64]
    colours: NDArray[np.float64]
    gray: bool


class FrameClipTransform:
    """Augments the frames and label maps of a clip and cuts their canvases.

    Args:
        size: height and width of the canvases.
        settings: the numbers.
        flip: probability that the clip is mirrored.
        grayscale: probability that the clip is grey.
        dtype: of pictures and masks, float32 or uint8.
    """

    def __init__(
        self,
        size: tuple[int, int],
        settings: FrameSettings | None = None,
        flip: float = AugmentSettings.flip,
        grayscale: float = AugmentSettings.grayscale,
        dtype: type[np.float32] | type[np.uint8] = np.float32,
    ) -> None:
        self.size, self.settings, self.dtype = size, settings or FrameSettings(), dtype
        self.flip, self.grayscale = flip, grayscale

    def draw(self, frame_size: tuple[int, int], count: int, random: np.random.Generator) -> ClipDraw:
        """Draw everything random for a clip of `count` frames of one size (h, w)."""
        s = self.settings
        mirrored, gray = bool(random.random() < self.flip), bool(random.random() < self.grayscale)
        common = 1 + random.uniform(-1, 1, 3) * s.common_colour
        if s.window == "area":
            part = part_by_area(frame_size, s.area, s.ratio, random)
        else:
            part = self._by_short_side(frame_size, random)
        parts = tuple(self._moved(part, frame_size, shift) for shift in random.uniform(-1, 1, (count, 2)))
        turns = tuple(self._turn(random) for _ in range(count))
        colours = 1 + random.uniform(-1, 1, (count, 3)) * s.colour
        return ClipDraw(frame_size, mirrored, parts, turns, common, colours, gray)

    def _by_short_side(self, frame: tuple[int, int], random: np.random.Generator) -> Part:
        wanted = self.settings.short_side * random.uniform(*self.settings.zoom) / min(frame)
        factor = max(wanted, self.size[0] / frame[0], self.size[1] / frame[1])
        w, h = min(self.size[1] / factor, frame[1]), min(self.size[0] / factor, frame[0])
        x, y = random.random(2) * (frame[1] - w, frame[0] - h)
        return Part(float(x), float(y), w, h)

    def _moved(self, part: Part, frame: tuple[int, int], shift: NDArray[np.float64]) -> Part:
        """The part moved by a share (x, y) of the largest jitter, within the frame."""
        if self.settings.place_jitter == 0:
            return part
        x = part.x + shift[0] * self.settings.place_jitter * part.w / self.size[1]
        y = part.y + shift[1] * self.settings.place_jitter * part.h / self.size[0]
        return Part(float(np.clip(x, 0, frame[1] - part.w)), float(np.clip(y, 0, frame[0] - part.h)), part.w, part.h)

    def _turn(self, random: np.random.Generator) -> NDArray[np.float64]:
        s = self.settings
        angle = math.radians(random.uniform(-s.rotation, s.rotation))
        shear = math.tan(math.radians(random.uniform(-s.shear, s.shear)))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        return float(random.uniform(*s.scale)) * turn @ np.array([[1.0, -shear], [0.0, 1.0]])

    def labels(self, labels: LabelMap, draw: ClipDraw, number: int) -> LabelMap:
        """The label map of canvas `number`, uint8 ``(h, w)``; beyond the part or the frame it is background.

        Args:
            labels: of the whole frame, uint8 ``(H, W)``.
            draw: see `draw`.
            number: which frame of the clip it is.
        """
        import cv2

        look = self._look(draw, number)
        return resample(labels[look.rows, look.columns], look.back, self.size, cv2.INTER_NEAREST, (0.0,))

    def reduction(self, draw: ClipDraw) -> int:
        """By what (1, 2, 4 or 8) the frames may be divided when they are decoded, the canvases being coarser still."""
        part = draw.parts[0]
        finest = max(self.size[0] / part.h, self.size[1] / part.w)
        return max(factor for factor in (1, 2, 4, 8) if factor == 1 or factor * finest <= 1)

    def picture(self, frame: Frame, draw: ClipDraw, number: int, out: NDArray[Any]) -> None:
        """The picture of canvas `number`, written to `out`.

        Args:
            frame: the whole frame, uint8 RGB ``(H, W, 3)``, or the same reduced (see `reduction`).
            draw: see `draw`.
            number: which frame of the clip it is.
            out: ``(3, h, w)``, 0..255, of any type.
        """
        import cv2

        look, cubic = self._look(draw, number, (frame.shape[0], frame.shape[1])), self.settings.interpolation == "cubic"
        part, back = frame[look.rows, look.columns], look.back
        if cubic or min(look.factors) < 0.5:
            part, back = shrunk(part, look, cubic)
        first, fill = colour_matrix(draw.common, cv2.mean(part)), np.array(FILL[:3])
        if draw.gray:  # the fill must stay coloured, so grey is applied before the rotation
            part, first = cast(Frame, cv2.transform(part, _then(first, _GRAY))), _SAME
        else:  # both colour changes follow the rotation, whose fill is chosen so that they make it the mean colour
            fill = np.linalg.solve(first[:, :3].astype(np.float64), fill - first[:, 3]).clip(0, 255)
        kind = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
        if not cubic:  # OpenCV looks up four channels faster than three
            part = cast(Frame, cv2.cvtColor(part, cv2.COLOR_RGB2RGBA))
        canvas = resample(part, back, self.size, kind, [*fill.tolist(), 0.0])
        if not cubic:
            canvas = cast(Frame, cv2.cvtColor(canvas, cv2.COLOR_RGBA2RGB))
        mean = first[:, :3] @ np.array(cv2.mean(canvas)[:3]) + first[:, 3]
        coloured = cv2.transform(canvas, _then(first, colour_matrix(draw.colours[number], mean)))
        for plane, colour in zip(out, cv2.split(coloured), strict=True):
            plane[...] = colour

    def _look(self, draw: ClipDraw, number: int, shape: tuple[int, int] | None = None) -> Look:
        """Where canvas `number` looks, in a frame that may be reduced to a `shape` (h, w)."""
        (height, width), part = draw.frame_size, draw.parts[number]
        down, across = self.size[0] / part.h, self.size[1] / part.w
        place = np.array([[across, 0, -part.x * across], [0, down, -part.y * down], [0, 0, 1.0]])
        if self.settings.turn == "canvas":
            forth = about_centre(self.size, draw.turns[number]) @ place
            top, bottom = _whole(part.y, part.y + part.h, height)
            left, right = _whole(part.x, part.x + part.w, width)
        else:
            resized = np.diag([across, down, 1.0])  # the frame is resized before it is turned
            turn = about_centre((height * down, width * across), draw.turns[number])
            forth, top, bottom, left, right = place @ inverse(resized) @ turn @ resized, 0, height, 0, width
        if draw.mirrored:
            forth = forth @ np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]])
            left, right = width - right, width - left
        rows, columns = shape or draw.frame_size
        y, x = 1 / round(height / rows), 1 / round(width / columns)
        top, bottom = _whole(top * y, bottom * y, rows)
        left, right = _whole(left * x, right * x, columns)
        back = np.array([[x, 0, -left], [0, y, -top], [0, 0, 1.0]]) @ inverse(forth)
        return Look(slice(top, bottom), slice(left, right), back, (down / y, across / x))

    def masks(
        self, labels: Sequence[LabelMap], ids: Sequence[int], slots: int
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Masks ``(T, K, h, w)`` of 0 and 1 and boxes float32 ``(T, K, 4)``, zero where nothing is visible.

        Args:
            labels: T label maps of canvases, uint8 ``(h, w)``.
            ids: the object of each slot, at most `slots`.
            slots: K.
        """
        masks = np.zeros((len(labels), slots, *self.size), dtype=self.dtype)
        boxes = np.zeros((len(labels), slots, 4), dtype=np.float32)
        for number, canvas in enumerate(labels):
            for slot, identity in enumerate(ids):
                there = (canvas == identity).view(np.uint8)
                masks[number, slot] = there
                boxes[number, slot] = tight_box(there) or (0.0, 0.0, 0.0, 0.0)
        return masks, boxes

    def choose(self, labels: LabelMap, slots: int, random: np.random.Generator) -> tuple[int, ...]:
        """At most `slots` of the objects that show `min_pixels` on the first canvas, in random order."""
        counts = np.bincount(labels.reshape(-1), minlength=256)
        there = 1 + np.flatnonzero(counts[1:] >= self.settings.min_pixels)
        return tuple(int(identity) for identity in random.permutation(there)[:slots])


_SAME = np.eye(3, 4, dtype=np.float32)
_GRAY = colour_matrix(np.array([1.0, 1.0, 0.0]), (0.0, 0.0, 0.0))


def shrunk(part: Frame, look: Look, bicubic: bool) -> tuple[Frame, Matrix]:
    """A region of a frame shrunk along the axes on which the canvas is coarser; and the map to its points.

    Args:
        part: the region, uint8 ``(H, W, 3)``.
        look: where the canvas looks.
        bicubic: by torch's bicubic filter with antialiasing, which is Pillow's to one of 255; otherwise by area.
    """
    height, width = part.shape[:2]
    rows, columns = (max(1, round(side * min(f, 1))) for side, f in zip((height, width), look.factors, strict=True))
    if (rows, columns) == (height, width):
        return part, look.back
    back = np.diag([columns / width, rows / height, 1.0]) @ look.back
    if not bicubic:
        import cv2

        return cast(Frame, cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)), back
    import torch

    planes = torch.from_numpy(np.ascontiguousarray(part))[None].permute(0, 3, 1, 2)
    smaller = torch.nn.functional.interpolate(planes, (rows, columns), mode="bicubic", antialias=True)
    return np.ascontiguousarray(smaller[0].permute(1, 2, 0).numpy()), back


def _then(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Two colour matrices ``(3, 4)``, one after the other."""
    both = second[:, :3] @ first
    both[:, 3] += second[:, 3]
    return np.ascontiguousarray(both)


def _whole(start: float, stop: float, limit: int) -> tuple[int, int]:
    """The whole pixels an interval touches, within the frame."""
    return max(0, math.floor(start + 1e-6)), min(limit, math.ceil(stop - 1e-6))


def part_by_area(
    frame_size: tuple[int, int], area: tuple[float, float], ratio: tuple[float, float], random: np.random.Generator
) -> Part:
    """A part of a frame with a drawn share of its area and a drawn ratio, in whole pixels, anywhere in it.

    The rule of the field's "random resized crop": the area is uniform, the ratio uniform in its logarithm; after ten
    parts that do not fit, the largest centred one within the ratios is taken.

    Args:
        frame_size: height and width of the frame.
        area: range of the share.
        ratio: range of width over height.
        random: source of random numbers.
    """
    height, width = frame_size
    for _ in range(_TRIES):
        pixels = height * width * random.uniform(*area)
        wide = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(pixels * wide)), round(math.sqrt(pixels / wide))
        if 0 < w <= width and 0 < h <= height:
            return Part(int(random.integers(width - w + 1)), int(random.integers(height - h + 1)), w, h)
    wide = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * wide)), min(height, round(width / wide))
    return Part((width - w) // 2, (height - h) // 2, w, h)
