"""Textures of the synthetic videos: colour palettes, patterns, backgrounds.

Numpy on one thread, so that the same seed gives the same bytes in every process; computed once per video.

Data shape: patterns are float32 ``(h, w)`` in 0..1, textures float32 ``(3, h, w)``, RGB in 0..255. Coordinates ``x``
and ``y`` are float32 ``(h, w)`` (or broadcast to it), in units of half the short side, 0 in the centre.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatMap: TypeAlias = NDArray[np.float32]
_LUMA_CHROMA = np.array([[0.30, 0.59, 0.11], [-0.17, -0.33, 0.50], [0.50, -0.42, -0.08]]) * [[0.7], [1.3], [1.3]]


def coordinates(height: int, width: int) -> tuple[FloatMap, FloatMap]:
    """Texel centres as ``x`` (1, w) and ``y`` (h, 1), in units of half the short side, 0 in the centre."""
    half = min(height, width) / 2
    x = (np.arange(width) + 0.5 - width / 2) / half
    y = (np.arange(height) + 0.5 - height / 2) / half
    return x[None].astype(np.float32), y[:, None].astype(np.float32)


def value_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> FloatMap:
    """Smooth random field, float32 ``shape``, in 0..1: interpolated random values on a lattice of `cell` texels."""
    lattice = rng.random((int(shape[0] / cell) + 3, int(shape[1] / cell) + 3), dtype=np.float32)
    places = [np.arange(n) / cell + shift for n, shift in zip(shape, rng.random(2), strict=True)]
    (top, left) = (place.astype(np.int64) for place in places)
    fy, fx = ((f * f * (3 - 2 * f)).astype(np.float32) for f in (place - np.floor(place) for place in places))
    rows = lattice[top] + (lattice[top + 1] - lattice[top]) * fy[:, None]
    return rows[:, left] + (rows[:, left + 1] - rows[:, left]) * fx


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float, octaves: int = 3) -> FloatMap:
    """Octaves of `value_noise` from `cell` texels downwards, stretched to 0..1, float32 ``shape``."""
    field = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        field += value_noise(rng, shape, max(cell / 2**octave, 1.5)) * np.float32(0.55**octave)
    return _stretch(field)


def _stretch(field: FloatMap) -> FloatMap:
    low, high = field.min(), field.max()
    return (field - low) / max(high - low, np.float32(1e-6))


def _turned(rng: np.random.Generator, x: FloatMap, y: FloatMap) -> tuple[FloatMap, FloatMap]:
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _stripes(rng: np.random.Generator, x: FloatMap, y: FloatMap) -> FloatMap:
    along, across = _turned(rng, x, y)
    wiggle = np.float32(rng.uniform(0, 1.5)) * np.sin(across * np.float32(rng.uniform(1, 4)))
    wave = np.sin(along * np.float32(rng.uniform(5, 13)) + wiggle + np.float32(rng.uniform(0, 6)))
    return np.clip(wave * np.float32(rng.uniform(0.6, 2.5)), -1, 1) * np.float32(0.5) + np.float32(0.5)


def _plaid(rng: np.random.Generator, x: FloatMap, y: FloatMap) -> FloatMap:
    u, v = _turned(rng, x, y)
    frequency, ratio = np.float32(rng.uniform(5, 11)), np.float32(rng.uniform(0.6, 1.6))
    mix = np.sin(u * frequency + np.float32(rng.uniform(0, 6))) + np.sin(v * frequency * ratio)
    return np.clip(mix, -1, 1) * np.float32(0.5) + np.float32(0.5)


def _checks(rng: np.random.Generator, x: FloatMap, y: FloatMap) -> FloatMap:
    u, v = _turned(rng, x, y)
    frequency = np.float32(rng.uniform(4, 9))
    product = np.sin(u * frequency + np.float32(rng.uniform(0, 6))) * np.sin(v * frequency)
    return np.clip(product * 6, -1, 1) * np.float32(0.5) + np.float32(0.5)


def _dots(rng: np.random.Generator, x: FloatMap, y: FloatMap) -> FloatMap:
    u, v = _turned(rng, x, y)
    frequency = np.float32(rng.uniform(1.3, 3.2))
    u, v = u * frequency + np.float32(rng.random()), v * frequency
    u += np.floor(v) * np.float32(rng.uniform(0.3, 0.6))
    distance = np.hypot(u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5))
    return np.clip((np.float32(rng.uniform(0.22, 0.4)) - distance) * 10 + np.float32(0.5), 0, 1)


def _rings(rng: np.random.Generator, x: FloatMap, y: FloatMap) -> FloatMap:
    cx, cy = rng.uniform(-0.7, 0.7, 2).astype(np.float32)
    return np.sin(np.hypot(x - cx, y - cy) * np.float32(rng.uniform(6, 14))) * np.float32(0.5) + np.float32(0.5)


def _patches(rng: np.random.Generator, x: FloatMap, y: FloatMap) -> FloatMap:
    seeds = rng.uniform(-1, 1, (int(rng.integers(6, 14)), 2)).astype(np.float32)
    shades = rng.random(len(seeds), dtype=np.float32)
    x, y = np.broadcast_arrays(x, y)
    distances = (x[..., None] - seeds[:, 0]) ** 2 + (y[..., None] - seeds[:, 1]) ** 2
    return shades[distances.argmin(-1)]


Pattern: TypeAlias = Callable[[np.random.Generator, FloatMap, FloatMap], FloatMap]
PATTERNS: tuple[Pattern, ...] = (_stripes, _plaid, _checks, _dots, _rings, _patches)


def draw_palette(rng: np.random.Generator) -> FloatMap:
    """Four colours around one or two hues, float32 (4, 3), RGB in 0..255, dark to light."""
    hue, second = rng.random(), rng.random()
    spread, saturation = rng.uniform(0.02, 0.1), rng.beta(2.0, 1.6)
    value = rng.uniform(0.3, 0.75)
    colours = []
    for step in range(4):
        tone = (second if step == 3 and rng.random() < 0.5 else hue) + spread * rng.normal()
        lightness = np.clip(value + (step - 1.5) * rng.uniform(0.08, 0.22), 0.05, 1)
        colours.append(colorsys.hsv_to_rgb(tone % 1, np.clip(saturation + 0.15 * rng.normal(), 0, 1), float(lightness)))
    return np.asarray(colours, dtype=np.float32) * 255


def palette_distance(first: FloatMap, second: FloatMap) -> float:
    """Distance of two palettes (k, 3) in a luma-chroma space, 0..~255.

    It combines the distances of their nearest colours and of their means: a shared colour makes an object blend into
    its surroundings.
    """
    a, b = (palette.astype(np.float64) @ _LUMA_CHROMA.T for palette in (first, second))
    nearest = np.linalg.norm(a[:, None] - b[None], axis=-1).min()
    return float(0.5 * nearest + 0.5 * np.linalg.norm(a.mean(0) - b.mean(0)))


def distinct_palette(rng: np.random.Generator, others: list[FloatMap], candidates: int) -> FloatMap:
    """The one of `candidates` random palettes (4, 3) that is farthest from all `others`."""
    drawn = [draw_palette(rng) for _ in range(candidates)]
    return max(drawn, key=lambda palette: min((palette_distance(palette, other) for other in others), default=0.0))


def colour(pattern: FloatMap, palette: FloatMap) -> FloatMap:
    """Pattern (h, w) in 0..1 mapped to the palette (k, 3) as a linear ramp: texture (3, h, w) in 0..255."""
    stops = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(pattern, stops, channel) for channel in palette.T]).astype(np.float32)


def object_texture(rng: np.random.Generator, palette: FloatMap, size: int) -> FloatMap:
    """Texture of one object, float32 (3, size, size), RGB about 0..255: two patterns and noise in colours."""
    x, y = coordinates(size, size)
    first, second = (PATTERNS[int(k)] for k in rng.choice(len(PATTERNS), 2, replace=False))
    noise = fractal_noise(rng, (size, size), size / rng.uniform(2.5, 6))
    share = rng.dirichlet((3.0, 0.8, 1.6)).astype(np.float32)
    field = _stretch(first(rng, x, y) * share[0] + second(rng, x, y) * share[1] + noise * share[2])
    grain = (value_noise(rng, (size, size), 2.0) - np.float32(0.5)) * np.float32(rng.uniform(8, 30))
    return colour(field, palette) + grain


def ground_texture(rng: np.random.Generator, palette: FloatMap, shape: tuple[int, int], unit: float) -> FloatMap:
    """Scenery without objects, float32 (3, h, w): warped noise, sometimes with a regular pattern in it.

    `unit` is the short side of a frame in texels; the grain of the scenery is relative to it.
    """
    noise = fractal_noise(rng, shape, unit / rng.uniform(1.5, 6), octaves=4)
    if rng.random() < 0.4:
        pattern = PATTERNS[int(rng.integers(len(PATTERNS) - 1))]  # not patches: their cost grows with area x seeds
        x, y = coordinates(*shape)
        scale = np.float32(min(shape) / unit * rng.uniform(0.6, 1.6))
        field = pattern(rng, x * scale + noise * np.float32(rng.uniform(0, 0.8)), y * scale)
        noise = _stretch(noise + field * np.float32(rng.uniform(0.15, 0.6)))
    grain = (value_noise(rng, shape, 1.7) - np.float32(0.5)) * np.float32(rng.uniform(4, 24))
    return colour(noise, palette) + grain
