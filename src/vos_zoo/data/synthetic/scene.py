"""The scene of one synthetic video: its objects, look-alikes and occluders, their appearance and motion.

A `SyntheticScene` is a pure function of its settings and its random numbers; `render` renders its frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vos_zoo.data.synthetic.looks import Look, limb_sprite, shaded
from vos_zoo.data.synthetic.motion import (
    Camera,
    FreeMotion,
    LimbMotion,
    Motion,
    SceneryMotion,
    Wave,
)
from vos_zoo.data.synthetic.scene_draws import Cast, Light, draw_camera, draw_light, draw_motion, free_place
from vos_zoo.data.synthetic.shapes import FAMILIES, NUMBERS, bar_map, distance_map, neighbour
from vos_zoo.data.synthetic.textures import (
    FloatMap,
    distinct_palette,
    draw_palette,
    ground_texture,
    object_texture,
)


@dataclass(frozen=True)
class Layer:
    """One painted object.

    Attributes:
        sprite: RGB and one outline (rigid) or two (it morphs), float32 (4 or 5, S, S).
        motion: its motion.
        label: id of the object it belongs to, 0 if it is not annotated.
        start: first frame in which it exists.
    """

    sprite: FloatMap
    motion: Motion
    label: int
    start: int


@dataclass(frozen=True)
class SyntheticScene:
    """The scene of one video.

    Attributes:
        size: height and width of the frames.
        ground: the scenery, one texel per pixel, float32 (3, h, w).
        layers: from back to front.
        camera, light: see their classes.
        noise_seed: selects each frame's part of the noise.
    """

    size: tuple[int, int]
    ground: FloatMap
    layers: tuple[Layer, ...]
    camera: Camera
    light: Light
    noise_seed: float


def draw_scene(rng: np.random.Generator, cast: Cast) -> SyntheticScene:
    """A scene for this cast. The caller checks whether every object is visible at its start."""
    camera = draw_camera(rng, cast)
    palettes = [draw_palette(rng), draw_palette(rng)]
    ground = _draw_ground(rng, cast, camera, palettes)
    places: list[tuple[float, float]] = []
    actors: list[list[Layer]] = []
    looks: list[Look] = []
    for number, start in enumerate(cast.starts, start=1):
        look = _draw_look(rng, cast, palettes)
        palettes.append(look.palette)
        looks.append(look)
        actors.append(_draw_actor(rng, cast, look, places, label=number, start=start))
    for _ in range(rng.poisson(0.5 * min(cast.difficulty, 3.0))):
        look = looks[int(rng.integers(len(looks)))].alike(rng)
        actors.append(_draw_actor(rng, cast, look, places, label=0, start=0))
    order = rng.permutation(len(actors))
    layers = [layer for k in order for layer in actors[k]]
    for _ in range(rng.binomial(2, min(0.35 * cast.difficulty, 1.0))):
        place = len(layers) if rng.random() < 0.7 else int(rng.integers(len(layers) + 1))
        layers.insert(place, _draw_occluder(rng, cast, camera, palettes[0]))
    return SyntheticScene(cast.size, ground, tuple(layers), camera, draw_light(rng, cast), float(rng.random()))


def _draw_ground(rng: np.random.Generator, cast: Cast, camera: Camera, palettes: list[FloatMap]) -> FloatMap:
    """Scenery with static objects, large enough that the camera never reaches its end."""
    height, width = cast.size
    zoom, roll = np.exp(camera.log_zoom.reach), camera.roll.reach
    spans = [width / 2 + height / 2 * np.sin(roll), height / 2 + width / 2 * np.sin(roll)]
    half_w, half_h = (
        int(np.ceil((span + shake.reach) * zoom + pan.reach)) + 2
        for span, pan, shake in zip(spans, camera.pan, camera.shake, strict=True)
    )
    shape = (2 * half_h, 2 * half_w)
    unit = float(min(height, width))
    ground = ground_texture(rng, palettes[0], shape, unit)
    if rng.random() < 0.5:
        other = ground_texture(rng, palettes[1], shape, unit)
        edge = half_h + rng.uniform(-0.35, 0.35) * height + np.cumsum(rng.normal(0, 0.35, shape[1]))
        ground = np.where(np.arange(shape[0])[:, None] < edge[None], ground, other)
    for _ in range(int(rng.integers(2, 12))):
        _paint_clutter(rng, cast, ground, palettes[int(rng.integers(2))])
    return ground


def _paint_clutter(rng: np.random.Generator, cast: Cast, ground: FloatMap, palette: FloatMap) -> None:
    """A static object in the colours of the scenery, painted into `ground` (3, h, w) in place."""
    size = int(max(6, cast.unit * rng.uniform(0.1, 0.4)))
    if size >= min(ground.shape[1:]):
        return
    top, left = (int(rng.integers(0, n - size)) for n in ground.shape[1:])
    tint = rng.normal(0, 22, 3).astype(np.float32)
    outline = distance_map(FAMILIES[int(rng.integers(len(FAMILIES)))], rng.random(NUMBERS), size)
    thing = shaded(rng, object_texture(rng, np.clip(palette + tint, 0, 255), size), outline)
    cover = np.clip(outline * size / 2 + 0.5, 0, 1)
    part = ground[:, top : top + size, left : left + size]
    part += (thing - part) * cover


def _draw_look(rng: np.random.Generator, cast: Cast, palettes: list[FloatMap]) -> Look:
    candidates = max(2, round(8 / (0.5 + cast.difficulty)))
    numbers = rng.random(NUMBERS)
    return Look(
        seed=int(rng.integers(2**62)),
        palette=distinct_palette(rng, palettes, candidates),
        family=FAMILIES[int(rng.integers(len(FAMILIES)))],
        numbers=numbers,
        other_numbers=neighbour(rng, numbers, 0.45),
    )


def _draw_actor(
    rng: np.random.Generator, cast: Cast, look: Look, places: list[tuple[float, float]], label: int, start: int
) -> list[Layer]:
    """The layers of one moving object, back to front: its body, often with limbs that swing."""
    place = free_place(rng, cast, places)
    radius = max(cast.unit * rng.uniform(0.15, 0.27) * (1 - 0.06 * (len(cast.starts) - 1)), 4.0)
    motion = draw_motion(rng, cast, place, radius, start)
    texels = int(np.clip(2.4 * radius, 20, 320))
    body = Layer(look.sprite(texels), motion, label, start)
    limbs = [
        Layer(limb_sprite(look, k, texels), _draw_limb(rng, cast, motion), label, start)
        for k in range(int(rng.integers(1, 4)) if rng.random() < 0.35 else 0)
    ]
    behind = int(rng.integers(len(limbs) + 1))
    return [*limbs[:behind], body, *limbs[behind:]]


def _draw_limb(rng: np.random.Generator, cast: Cast, body: FreeMotion) -> LimbMotion:
    heading = rng.uniform(0, 2 * np.pi)
    joint = (0.42 * float(np.cos(heading)), 0.42 * float(np.sin(heading)))
    swing = Wave.draw(rng, 0.6 * min(cast.difficulty, 1.5), 18)
    return LimbMotion(body, joint, heading, swing, length=rng.uniform(0.4, 0.6), width=rng.uniform(0.13, 0.24))


def _draw_occluder(rng: np.random.Generator, cast: Cast, camera: Camera, palette: FloatMap) -> Layer:
    """An unannotated object in the foreground: a pole from edge to edge, or a bulky object that the camera passes."""
    height, width = cast.size
    texels = int(np.clip(0.6 * cast.unit, 24, 256))
    tint = np.clip(palette * np.float32(rng.uniform(0.4, 0.9)) + rng.normal(0, 15, 3).astype(np.float32), 0, 255)
    if rng.random() < 0.5:
        outline, half = bar_map(texels), (cast.unit * rng.uniform(0.035, 0.08), 1.1 * (height + width))
    else:
        outline = distance_map(FAMILIES[int(rng.integers(len(FAMILIES)))], rng.random(NUMBERS), texels)
        side = cast.unit * rng.uniform(0.14, 0.26)
        half = (side, side * rng.uniform(0.7, 1.4))
    place = (rng.uniform(-0.6, 0.6) * width, rng.uniform(-0.4, 0.4) * height)
    motion = SceneryMotion(
        place=(float(place[0]), float(place[1])),
        angle=Wave.draw(rng, 0.04 * min(cast.difficulty, 2), 40, offset=rng.normal(0, 0.2)),
        half_size=(float(half[0]), float(half[1])),
        pan=camera.pan,
        parallax=rng.uniform(1.1, 1.8),
    )
    return Layer(np.stack([*shaded(rng, object_texture(rng, tint, texels), outline), outline]), motion, 0, 0)


def starting_area(layer: Layer) -> float:
    """Pixels the layer covers at its start, unoccluded and undeformed."""
    pose = layer.motion.pose(np.array([float(layer.start)]))
    share = float((layer.sprite[3] > 0).mean())
    return share * 4 * float(pose.scale_x[0] * pose.scale_y[0])


def with_layers(scene: SyntheticScene, layers: list[Layer]) -> SyntheticScene:
    """The same scene with other layers."""
    return replace(scene, layers=tuple(layers))
