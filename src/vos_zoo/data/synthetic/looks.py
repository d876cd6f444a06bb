"""Appearance of a synthetic object: texture, shading and outlines, painted as a sprite.

Data shape: a sprite is float32 ``(C, S, S)``: RGB in 0..255, then one outline (rigid) or two (it morphs) as signed
distances in -1..1, positive inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vos_zoo.data.synthetic.shapes import Numbers, bar_map, distance_map, neighbour
from vos_zoo.data.synthetic.textures import FloatMap, object_texture


@dataclass(frozen=True)
class Look:
    """Parameters of an appearance, from which `sprite` paints it again or slightly changed."""

    seed: int
    palette: FloatMap
    family: str
    numbers: Numbers
    other_numbers: Numbers

    def sprite(self, size: int) -> FloatMap:
        """RGB in 0..255 and two outlines as signed distances in -1..1, float32 (5, size, size)."""
        rng = np.random.default_rng(self.seed)
        texture = object_texture(rng, self.palette, size)
        outlines = [distance_map(self.family, numbers, size) for numbers in (self.numbers, self.other_numbers)]
        return np.stack([*shaded(rng, texture, outlines[0]), *outlines])

    def alike(self, rng: np.random.Generator) -> Look:
        """A look-alike: the same pattern and shape with slightly other colours and outline."""
        tint = rng.normal(0, 9, 3).astype(np.float32)
        numbers = (neighbour(rng, numbers, 0.12) for numbers in (self.numbers, self.other_numbers))
        return Look(self.seed, np.clip(self.palette + tint, 0, 255), self.family, *numbers)


def shaded(rng: np.random.Generator, texture: FloatMap, outline: FloatMap) -> FloatMap:
    """The texture (3, S, S) lit from one side and darker at the rim of its outline (S, S), as on round objects."""
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.3)
    ramp = np.linspace(-1, 1, outline.shape[0], dtype=np.float32)
    light = 1 + np.float32(strength * np.cos(angle)) * ramp[None] + np.float32(strength * np.sin(angle)) * ramp[:, None]
    rim = 1 - np.float32(rng.uniform(0.1, 0.4)) * np.exp(-np.maximum(outline, 0) * np.float32(rng.uniform(8, 25)))
    return texture * (light * rim).astype(np.float32)


def limb_sprite(look: Look, number: int, texels: int) -> FloatMap:
    """Sprite of limb `number` of the object with this look: a rounded bar in its colours, float32 (4, S, S)."""
    rng = np.random.default_rng((look.seed, number))
    outline = bar_map(max(texels // 2, 16), roundness=0.4)
    shade = np.float32(rng.uniform(0.75, 1.15))
    return np.stack([*shaded(rng, object_texture(rng, look.palette * shade, len(outline)), outline), outline])
