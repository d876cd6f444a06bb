"""Clips from a single image by warps of the whole image (docs/methods/pcvos.md, "Static training").

Once per clip the picture is zoomed, mirrored and coloured; then every frame is turned, scaled and sheared, resized to
cover the canvas, cropped at random, coloured again, and in a third of the frames bent by a thin-plate spline.

The published pipeline resamples picture and mask four times each. Here the maps of a frame are multiplied out first:
picture and mask travel as four channels of one array and are resampled once per frame (after the common zoom, whose
canvas cuts content off and so has to be made), the spline is solved for all pixels on a grid of every fourth pixel
(its field is smooth), and the colour changes, all linear but the shift of the hue, are one matrix. Differences to the
published pixels are those of fewer roundings and of a finer interpolation; where the spline leaves the crop it shows
the picture beyond instead of a border.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from vos_zoo.config.settings.clips import AugmentSettings
from vos_zoo.config.settings.static import StaticSettings
from vos_zoo.data.clips.crops import tight_box
from vos_zoo.data.datasets.static_images import HALF
from vos_zoo.types import Frame

Matrix: TypeAlias = NDArray[np.float64]
"""A map of points, ``(3, 3)``, in pixels with their centres at one half unless said otherwise."""
Layers: TypeAlias = NDArray[np.uint8]
"""A picture and its soft mask, uint8 ``(H, W, 4)``: red, green, blue, mask."""

FILL = (124.0, 116.0, 104.0, 0.0)
"""What is shown beyond the picture: ImageNet's mean colour, and no object."""
_LUMA = np.array([0.299, 0.587, 0.114])
_GRID = 4  # pixels per node of the spline's field


class WarpTransform:
    """One picture and its mask to a clip.

    Args:
        size: height and width of the canvases.
        settings: the numbers.
        flip: probability that the whole clip is mirrored.
        grayscale: probability that the whole clip is grey.
        dtype: of pictures and masks, float32 or uint8; soft masks are always float32.
    """

    def __init__(
        self,
        size: tuple[int, int],
        settings: StaticSettings | None = None,
        flip: float = AugmentSettings.flip,
        grayscale: float = AugmentSettings.grayscale,
        dtype: type[np.float32] | type[np.uint8] = np.float32,
    ) -> None:
        self.size, self.settings, self.dtype = size, settings or StaticSettings(motion="warps"), dtype
        self.flip, self.grayscale = flip, grayscale

    def __call__(
        self, frame: Frame, masks: NDArray[np.uint8], count: int, random: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """Canvases of a clip.

        Args:
            frame: the picture, uint8 RGB ``(H, W, 3)``, or the same reduced (see `reduction`).
            masks: soft masks of its objects, uint8 ``(K, H, W)``, 0..255.
            count: number of frames T.
            random: source of random numbers.

        Returns:
            Frames ``(T, 3, h, w)`` 0..255, masks ``(T, K, h, w)`` in 0..1, boxes float32 ``(T, K, 4)``, zero where an
            object has left the canvas.
        """
        import cv2

        if masks.shape[1:] != frame.shape[:2]:
            masks = np.stack([_reduced(mask, frame.shape[:2]) for mask in masks])
        common, *others = self._common(frame, masks, random)
        soften = self.settings.soft_masks
        frames = np.empty((count, 3, *self.size), dtype=self.dtype)
        canvases = np.empty((count, len(masks), *self.size), dtype=np.float32 if soften else self.dtype)
        boxes = np.zeros((count, len(masks), 4), dtype=np.float32)
        for number in range(count):
            layers, *rest = self._frame(common, others, random)
            *colours, first = cv2.split(layers)
            frames[number] = colours
            for slot, soft in enumerate((first, *rest)):
                hard = (soft > HALF).view(np.uint8)
                canvases[number, slot] = soft * np.float32(1 / 255) if soften else hard
                boxes[number, slot] = tight_box(hard) or (0.0, 0.0, 0.0, 0.0)
        return frames, canvases, boxes

    def reduction(self, size: tuple[int, int]) -> int:
        """By what (1, 2, 4 or 8) a picture of a size (h, w) may be divided when it is decoded: it is shrunk further."""
        height, _ = cover(size, self.size)
        return max(factor for factor in (1, 2, 4, 8) if factor == 1 or factor * height <= size[0])

    def _common(self, frame: Frame, masks: NDArray[np.uint8], random: np.random.Generator) -> list[NDArray[np.uint8]]:
        """What all frames share: zoom, mirror, colour, grey. Pictures larger than the canvas are shrunk before.

        Returns:
            The picture with the first mask, `Layers`, and the other masks, uint8 ``(H, W)`` each.
        """
        import cv2

        s = self.settings
        planes: list[NDArray[np.uint8]] = [np.dstack([frame, masks[0]]), *masks[1:]]
        planes = [shrink(plane, self.size) for plane in planes]
        size = planes[0].shape[0], planes[0].shape[1]
        zoom = inverse(about_centre(size, np.eye(2) * random.uniform(*s.common_scale)))
        fills = (FILL, *[(0.0,)] * (len(masks) - 1))
        planes = [resample(p, zoom, size, cv2.INTER_NEAREST, fill) for p, fill in zip(planes, fills, strict=True)]
        if random.random() < self.flip:
            planes = [cast("NDArray[np.uint8]", cv2.flip(plane, 1)) for plane in planes]
        factors = random.uniform(-1, 1, 4) * s.common_colour
        layers = shift_hue(recolour(planes[0], 1 + factors[:3]), factors[3])
        layers = recolour(layers, np.array([1.0, 1.0, 0.0])) if random.random() < self.grayscale else layers
        return [layers, *planes[1:]]

    def _frame(
        self, layers: Layers, others: Sequence[NDArray[np.uint8]], random: np.random.Generator
    ) -> list[NDArray[np.uint8]]:
        """The picture with the first mask, `Layers` ``(h, w, 4)``, and the other masks ``(h, w)``, of one frame."""
        import cv2

        s, source = self.settings, (layers.shape[0], layers.shape[1])
        angle, shear = math.radians(random.uniform(-s.rotation, s.rotation)), random.uniform(-s.shear, s.shear)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        turn = float(random.uniform(*s.scale)) * turn @ np.array([[1.0, -math.tan(math.radians(shear))], [0.0, 1.0]])
        tall, wide = cover(source, self.size)
        corner = random.integers(0, tall - self.size[0] + 1), random.integers(0, wide - self.size[1] + 1)
        place = np.array([[wide / source[1], 0, -corner[1]], [0, tall / source[0], -corner[0]], [0, 0, 1.0]])
        back = inverse(place @ about_centre(source, turn))
        if random.random() < s.thin_plate:
            points = random.random((s.thin_plate_points, 2))
            shifts = random.normal(0.0, s.thin_plate_noise, (s.thin_plate_points, 2))
            across, down = thin_plate_map(points, shifts, back, self.size)

            def look(plane: NDArray[np.uint8], fill: Sequence[float]) -> NDArray[np.uint8]:
                bent = cv2.remap(plane, across, down, cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, fill)
                return cast("NDArray[np.uint8]", bent)
        else:

            def look(plane: NDArray[np.uint8], fill: Sequence[float]) -> NDArray[np.uint8]:
                return resample(plane, back, self.size, cv2.INTER_CUBIC, fill)

        colours = 1 + random.uniform(-1, 1, 3) * s.colour
        return [recolour(look(layers, FILL), colours), *(look(mask, (0.0,)) for mask in others)]


def _reduced(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask divided as its picture was: every pixel is the mean of the same square block."""
    import cv2

    by = round(mask.shape[0] / size[0])
    missing = size[0] * by - mask.shape[0], size[1] * by - mask.shape[1]
    whole = cv2.copyMakeBorder(mask, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    return cast("NDArray[np.uint8]", cv2.resize(whole, (size[1], size[0]), interpolation=cv2.INTER_AREA))


def cover(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a picture of size `source` resized just to cover `target`; the longer side truncated."""
    ratio = max(target[0] / source[0], target[1] / source[1])
    return max(target[0], int(source[0] * ratio)), max(target[1], int(source[1] * ratio))


def shrink(layers: NDArray[np.uint8], target: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture (or mask) larger than needed to cover `target` shrunk to cover it, by area; others as they are.

    The published package holds its large pictures (BIG, HRSOD) shrunk in this way; without it warps would alias.
    """
    import cv2

    height, width = cover((layers.shape[0], layers.shape[1]), target)
    if height >= layers.shape[0] or width >= layers.shape[1]:
        return layers
    return cast("NDArray[np.uint8]", cv2.resize(layers, (width, height), interpolation=cv2.INTER_AREA))


def about_centre(size: tuple[float, float], linear: NDArray[np.float64]) -> Matrix:
    """The map ``(2, 2)`` applied about the centre of a picture of `size` (h, w)."""
    centre = np.array([size[1] / 2, size[0] / 2])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, centre - linear @ centre
    return matrix


def inverse(matrix: Matrix) -> Matrix:
    """The map back, ``(3, 3)``."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def resample(
    layers: NDArray[np.uint8],
    back: Matrix,
    size: tuple[int, int],
    interpolation: int,
    fill: Sequence[float] | None = None,
) -> NDArray[np.uint8]:
    """The picture seen through a map from canvas to picture points, `fill` (None: `FILL`) beyond it.

    Args:
        layers: uint8 ``(H, W)`` or ``(H, W, C)``.
        back: the map.
        size: height and width of the canvas.
        interpolation: OpenCV's constant.
        fill: a value per channel.
    """
    import cv2

    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV counts from the centres of pixels
    index = (inverse(half) @ back @ half)[:2]
    flags = interpolation | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(
        layers,
        index,
        (size[1], size[0]),
        flags=flags,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=FILL if fill is None else fill,
    )
    return cast("NDArray[np.uint8]", warped)


def recolour(layers: Layers, factors: NDArray[np.float64]) -> Layers:
    """Brightness, contrast and saturation changed by three factors, in one matrix (`colour_matrix`); the mask stays."""
    import cv2

    matrix = np.zeros((4, 5), dtype=np.float32)
    matrix[:3, [0, 1, 2, 4]], matrix[3, 3] = colour_matrix(factors, cv2.mean(layers)), 1.0
    return cast(Layers, cv2.transform(layers, matrix))


def colour_matrix(factors: NDArray[np.float64], mean: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float32]:
    """Brightness, contrast and saturation changed by three factors, as a matrix ``(3, 4)`` of red, green, blue and 1.

    Contrast is about the mean grey of the picture, saturation about each pixel's grey. The three are linear and keep
    greys on greys, so their order does not matter (it does where values are clamped between them, which is not done).

    Args:
        factors: of brightness, contrast and saturation; 1 changes nothing.
        mean: mean red, green and blue of the picture.
    """
    brightness, contrast, saturation = (float(factor) for factor in factors)
    grey = brightness * float(np.dot(mean[:3], _LUMA))
    colour = saturation * np.eye(3) + (1 - saturation) * _LUMA
    matrix = np.empty((3, 4), dtype=np.float32)
    matrix[:, :3], matrix[:, 3] = brightness * contrast * colour, (1 - contrast) * grey
    return matrix


def shift_hue(layers: Layers, turns: float) -> Layers:
    """The hue shifted by a part of a turn, in 256 steps as the published tool does; the mask stays."""
    import cv2

    steps = round(turns * 255) % 256
    if steps == 0:
        return layers
    hsv = cv2.cvtColor(layers[..., :3], cv2.COLOR_RGB2HSV_FULL)
    hue, saturation, value = cv2.split(hsv)
    table = ((np.arange(256) + steps) % 256).astype(np.uint8)
    shifted = cv2.cvtColor(cv2.merge([cv2.LUT(hue, table), saturation, value]), cv2.COLOR_HSV2RGB_FULL)
    return cast(Layers, cv2.merge([*cv2.split(shifted), layers[..., 3]]))


def thin_plate_weights(points: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The spline of least bending that shifts every control point by its shift.

    Args:
        points: ``(n, 2)``, no two alike.
        shifts: ``(n, 2)``.

    Returns:
        Weights ``(n + 3, 2)`` of `thin_plate_basis`.
    """
    count = len(points)
    system = np.zeros((count + 3, count + 3))
    system[:count] = thin_plate_basis(points, points)
    system[count:, :count] = system[:count, count:].T
    return np.linalg.solve(system, np.concatenate([shifts, np.zeros((3, 2))]))


def thin_plate_basis(where: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """r^2 log r^2 about every control point, 1, x and y: ``(m, n + 3)`` for places ``(m, 2)``."""
    squared = (where[:, :1] - points[:, 0]) ** 2 + (where[:, 1:] - points[:, 1]) ** 2
    bumps = squared * np.log(np.maximum(squared, 1e-300))
    return np.concatenate([bumps, np.ones((len(where), 1)), where], axis=1)


def thin_plate_map(
    points: NDArray[np.float64], shifts: NDArray[np.float64], back: Matrix, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where in the picture every canvas pixel is looked up: the spline, then the map `back`.

    The spline is evaluated at the centres of cells of 4x4 pixels (one cell beyond every side) and the places in the
    picture are interpolated between them linearly, which keeps the affine part exact.

    Args:
        points: control points ``(n, 2)``, x and y in canvas sides.
        shifts: their shifts ``(n, 2)``, in canvas sides.
        back: from canvas to picture points.
        size: height and width of the canvas.

    Returns:
        Column and row in the picture, in OpenCV's count, each float32 ``(h, w)``.
    """
    import cv2

    height, width = size
    rows, columns = (-(-side // _GRID) + 2 for side in size)
    y, x = np.mgrid[:rows, :columns].reshape(2, -1)
    places = (np.stack([x, y], axis=1) - 0.5) * _GRID
    sides = np.array([width, height])
    bent = places + sides * (thin_plate_basis(places / sides, points) @ thin_plate_weights(points, shifts))
    seen = (bent @ back[:2, :2].T + back[:2, 2] - 0.5).astype(np.float32).reshape(rows, columns, 2)
    full = cv2.resize(seen, (columns * _GRID, rows * _GRID), interpolation=cv2.INTER_LINEAR)
    inner = full[_GRID : _GRID + height, _GRID : _GRID + width]
    return np.ascontiguousarray(inner[..., 0], np.float32), np.ascontiguousarray(inner[..., 1], np.float32)
