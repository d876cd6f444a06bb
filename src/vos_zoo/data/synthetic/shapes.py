"""Outlines of the synthetic objects as signed distance maps: positive inside, 0 on the contour, negative outside.

Data shape: maps are float32 ``(size, size)`` over the square -1..1 of an object's own coordinates; distances are in
units of half that square. A shape is a family and a vector of 24 numbers in 0..1: nearby vectors give
similar outlines (the first three hold the counts), as needed for deforming an object over time and drawing
look-alikes.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.synthetic.textures import FloatMap, coordinates

Numbers: TypeAlias = NDArray[np.float64]
NUMBERS = 24
_COUNTS = 3
_REACH = 0.94  # outlines stay within this: the texels at the border must be outside
_LEAST_SHARE = 0.2  # minimum share of the square that a shape fills


def _bell(p: Numbers) -> Numbers:
    return 2 * p - 1


def _polar(x: FloatMap, y: FloatMap) -> tuple[FloatMap, FloatMap]:
    return np.hypot(x, y), np.arctan2(y, x)


def _fourier(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    radius, angle = _polar(x, y)
    limit = 0.62 + sum(0.42 / k * _bell(p[2 + k]) * np.cos(k * angle + 2 * np.pi * p[10 + k]) for k in range(2, 7))
    return np.asarray(np.maximum(limit, 0.25) - radius, dtype=np.float32)


def _polygon(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    corners = 3 + int(p[0] * 4.99)
    turns = (np.arange(corners) + 0.35 * _bell(p[3 : 3 + corners])) * 2 * np.pi / corners
    reach = 0.42 + 0.3 * p[10 : 10 + corners]
    sides = [r - x * np.cos(a) - y * np.sin(a) for a, r in zip(turns, reach, strict=True)]
    return np.asarray(np.minimum.reduce(sides), dtype=np.float32)


def _star(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    radius, angle = _polar(x, y)
    points = 4 + int(p[0] * 3.99)
    phase = (angle + 0.3 * _bell(p[5]) * radius) * points / (2 * np.pi) + p[3]
    wave = np.abs(phase - np.floor(phase) - 0.5) * 2
    inner = 0.34 + 0.15 * p[4]
    lean = 1 - 0.2 * p[6] * np.cos(angle + 2 * np.pi * p[7])
    return np.asarray((inner + (0.92 - inner) * wave) * lean - radius, dtype=np.float32)


def _ring(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    hole = np.hypot(x - 0.2 * _bell(p[20]), y - 0.2 * _bell(p[21])) - (0.22 + 0.16 * p[22])
    return np.minimum(_fourier(x * 0.9, y * 0.9, p) + 0.05, hole).astype(np.float32)


def _crescent(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    bite = np.hypot(x - 0.45 - 0.2 * p[3], y - 0.3 * _bell(p[4])) - (0.4 + 0.2 * p[5])
    return np.minimum(0.85 - np.hypot(x, y * (1 + 0.3 * p[6])), bite).astype(np.float32)


def _cross(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    bars = 2 + int(p[0] * 1.99)
    parts = []
    for k in range(bars):
        angle = np.pi * (k + 0.3 * _bell(p[3 + k])) / bars
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        parts.append(np.minimum(0.6 + 0.3 * p[7 + k] - np.abs(along), 0.17 + 0.14 * p[11 + k] - np.abs(across)))
    return np.maximum.reduce(parts).astype(np.float32)


def _lobes(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    count = 3 + int(p[0] * 2.99)
    parts = [0.36 + 0.12 * p[3] - np.hypot(x, y)]
    for k in range(count):
        angle, far = 2 * np.pi * (k + 0.4 * p[4 + k]) / count, 0.36 + 0.16 * p[10 + k]
        parts.append(0.24 + 0.16 * p[16 + k] - np.hypot(x - far * np.cos(angle), y - far * np.sin(angle)))
    return np.maximum.reduce(parts).astype(np.float32)


def _capsule(x: FloatMap, y: FloatMap, a: tuple[float, float], b: tuple[float, float], radius: float) -> FloatMap:
    dx, dy = b[0] - a[0], b[1] - a[1]
    along = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
    return np.asarray(radius - np.hypot(x - a[0] - along * dx, y - a[1] - along * dy), dtype=np.float32)


def _creature(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    q = p.tolist()
    legs = 2 + int(q[0] * 2.99)
    parts = [
        _capsule(x, y, (-0.45, 0.0), (0.35, 0.15 * (2 * q[3] - 1)), 0.26 + 0.12 * q[4]),
        _capsule(x, y, (0.3, 0.0), (0.6, -0.3 - 0.25 * q[5]), 0.15 + 0.1 * q[6]),
        _capsule(x, y, (-0.5, -0.05), (-0.8, -0.5 * q[7]), 0.07 + 0.06 * q[8]),
    ]
    for k in range(legs):
        hip = -0.5 + 0.85 * k / (legs - 1)
        foot = hip + 0.35 * (2 * q[9 + k] - 1)
        parts.append(_capsule(x, y, (hip, 0.15), (foot, 0.65 + 0.2 * q[14 + k]), 0.09 + 0.06 * q[8]))
    return np.maximum.reduce(parts)


def _stroke(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    joints = 4 + int(p[0] * 1.99)
    heights = 0.65 * _bell(p[3 : 3 + joints])
    places = np.linspace(-0.68, 0.68, joints) + 0.12 * _bell(p[10 : 10 + joints])
    points = [(float(a), float(b)) for a, b in zip(places, heights, strict=True)]
    width = 0.14 + 0.1 * float(p[20])
    parts = [_capsule(x, y, a, b, width) for a, b in pairwise(points)]
    return np.maximum.reduce(parts)


def _gear(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    radius, angle = _polar(x, y)
    teeth = 6 + int(p[0] * 4.99)
    limit = 0.7 + (0.08 + 0.1 * p[3]) * np.clip(3 * np.sin(teeth * angle + 6 * p[4]), -1, 1)
    return np.asarray(limit * (1 - 0.2 * p[5] * np.cos(2 * angle + 6 * p[6])) - radius, dtype=np.float32)


def _leaf(x: FloatMap, y: FloatMap, p: Numbers) -> FloatMap:
    bulge = 0.35 + 0.4 * p[3]
    sides = [1.0 - np.hypot(x * 0.95, y * 1.1 + side * bulge) for side in (-1, 1)]
    stem = _capsule(x, y, (0.5, 0.0), (0.88, 0.4 * float(_bell(p[4]))), 0.07 + 0.05 * float(p[5]))
    return np.maximum(np.minimum(*sides), stem).astype(np.float32)


Shape: TypeAlias = Callable[[FloatMap, FloatMap, Numbers], FloatMap]
SHAPES: dict[str, Shape] = {
    "blob": _fourier,
    "polygon": _polygon,
    "star": _star,
    "ring": _ring,
    "crescent": _crescent,
    "cross": _cross,
    "lobes": _lobes,
    "creature": _creature,
    "stroke": _stroke,
    "gear": _gear,
    "leaf": _leaf,
}
FAMILIES = tuple(SHAPES)


def neighbour(rng: np.random.Generator, numbers: Numbers, amount: float) -> Numbers:
    """Shape numbers (24,) near the given ones; the counts (corners, legs, teeth) are kept."""
    moved = np.clip(numbers + amount * rng.uniform(-1, 1, NUMBERS), 0, 1)
    moved[:_COUNTS] = numbers[:_COUNTS]
    return moved


def distance_map(family: str, numbers: Numbers, size: int) -> FloatMap:
    """Signed distance to the outline, float32 (size, size), positive inside.

    Every shape covers a fifth of the square or more (thin ones are thickened) and does not touch its border.
    """
    x, y = coordinates(size, size)
    field = np.broadcast_to(SHAPES[family](x, y, numbers), (size, size))
    slope_y, slope_x = np.gradient(field, 2 / size)
    field = field / np.maximum(np.hypot(slope_x, slope_y), 0.3)
    field = field - min(0.0, float(np.quantile(field, 1 - _LEAST_SHARE)))
    border = _REACH - np.maximum(np.abs(x), np.abs(y))
    return _framed(np.minimum(field, border))


def bar_map(size: int, roundness: float = 0.0) -> FloatMap:
    """Signed distance to a bar that fills the square, its corners rounded by `roundness` in 0..1 (limbs, poles)."""
    x, y = coordinates(size, size)
    reach = _REACH - roundness
    dx, dy = np.abs(x) - reach, np.abs(y) - reach
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)
    return _framed(roundness - outside)


def _framed(field: NDArray[np.floating[Any]]) -> FloatMap:
    """The map with -1 in its outermost texels, so that look-ups beyond the square are outside."""
    framed = np.full(field.shape, -1, dtype=np.float32)
    framed[1:-1, 1:-1] = field[1:-1, 1:-1].clip(-1, 1)
    return framed
