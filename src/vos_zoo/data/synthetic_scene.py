"""The casting of one synthetic video: which objects, look-alikes and occluders appear, how they look, how they move.

A `SyntheticScene` is a pure function of its settings and its random numbers; `synthetic_render` draws its frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vos_zoo.data.synthetic_looks import Look, limb_sprite, shaded
from vos_zoo.data.synthetic_motion import (
    Camera,
    Excursion,
    FreeMotion,
    LimbMotion,
    Motion,
    SceneryMotion,
    Wave,
)
from vos_zoo.data.synthetic_shapes import FAMILIES, NUMBERS, bar_map, distance_map, neighbour
from vos_zoo.data.synthetic_textures import (
    FloatMap,
    distinct_palette,
    draw_palette,
    ground_texture,
    object_texture,
)


@dataclass(frozen=True)
class Cast:
    """What a scene is asked for.

    Attributes:
        size: height and width of the frames in pixels.
        frames: length of the video; events are placed within it.
        starts: first frame of every object, ascending; object k + 1 starts at `starts[k]`.
        difficulty: 0 = slow rigid objects alone on their ground, 1 = the default, more = faster and more crowded.
        entrances: late objects come in from the edge of the frame (otherwise they are suddenly there).
    """

    size: tuple[int, int]
    frames: int
    starts: tuple[int, ...]
    difficulty: float
    entrances: bool = True

    @property
    def unit(self) -> float:
        """The length all sizes are relative to: the mean side, but at most 1.6 short sides."""
        height, width = self.size
        return float(min(np.sqrt(height * width), 1.6 * min(height, width)))


@dataclass(frozen=True)
class Layer:
    """One painted thing.

    Attributes:
        sprite: RGB and one outline (rigid) or two (it morphs), float32 (4 or 5, S, S).
        motion: where it is.
        label: id of the object it belongs to, 0 if it is not annotated.
        start: first frame in which it exists.
    """

    sprite: FloatMap
    motion: Motion
    label: int
    start: int


@dataclass(frozen=True)
class Light:
    """Illumination and optics: gain per colour, a gradient over the frame, defocus, shutter, sensor noise."""

    gains: tuple[Wave, Wave, Wave]
    gradient: tuple[Wave, Wave]
    defocus: Wave
    shutter: float
    noise: float


@dataclass(frozen=True)
class SyntheticScene:
    """Everything that is to be seen in one video.

    Attributes:
        size: height and width of the frames.
        ground: the scenery, one texel per pixel, float32 (3, h, w).
        layers: from back to front.
        camera, light: as their classes say.
        noise_seed: decides which part of the noise each frame gets.
    """

    size: tuple[int, int]
    ground: FloatMap
    layers: tuple[Layer, ...]
    camera: Camera
    light: Light
    noise_seed: float


def draw_scene(rng: np.random.Generator, cast: Cast) -> SyntheticScene:
    """A scene for this cast. Whether every object can be seen where it starts is for the caller to check."""
    camera = _draw_camera(rng, cast)
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
    return SyntheticScene(cast.size, ground, tuple(layers), camera, _draw_light(rng, cast), float(rng.random()))


def _draw_camera(rng: np.random.Generator, cast: Cast) -> Camera:
    d, (height, width) = cast.difficulty, cast.size
    calm = 0.3 if rng.random() < 0.3 else 1.0  # some videos come from a tripod
    shake = 0.006 * cast.unit * d * calm
    return Camera(
        pan=(Wave.draw(rng, 0.3 * width * min(d, 2) * calm, 70), Wave.draw(rng, 0.12 * height * min(d, 2) * calm, 70)),
        log_zoom=Wave.draw(rng, 0.1 * min(d, 2) * calm, 60),
        roll=Wave.draw(rng, 0.07 * min(d, 2) * calm, 60),
        shake=(Wave.draw(rng, shake, 9), Wave.draw(rng, shake, 9)),
    )


def _draw_ground(rng: np.random.Generator, cast: Cast, camera: Camera, palettes: list[FloatMap]) -> FloatMap:
    """One or two stretches of scenery and still things in it, so large that the camera never sees its end."""
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
    """A still thing in the colours of the scenery, painted into `ground` (3, h, w) in place."""
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
    """The layers of one moving thing, back to front: its body, often with limbs that swing."""
    place = _free_place(rng, cast, places)
    radius = max(cast.unit * rng.uniform(0.15, 0.27) * (1 - 0.06 * (len(cast.starts) - 1)), 4.0)
    motion = _draw_motion(rng, cast, place, radius, start)
    texels = int(np.clip(2.4 * radius, 20, 320))
    body = Layer(look.sprite(texels), motion, label, start)
    limbs = [
        Layer(limb_sprite(look, k, texels), _draw_limb(rng, cast, motion), label, start)
        for k in range(int(rng.integers(1, 4)) if rng.random() < 0.35 else 0)
    ]
    behind = int(rng.integers(len(limbs) + 1))
    return [*limbs[:behind], body, *limbs[behind:]]


def _free_place(rng: np.random.Generator, cast: Cast, places: list[tuple[float, float]]) -> tuple[float, float]:
    """A place in the inner part of the frame, far from those already taken (and noted there)."""
    height, width = cast.size
    candidates = rng.uniform(-0.36, 0.36, (10, 2)) * (width, height)
    distances = [min((np.hypot(x - a, y - b) for a, b in places), default=0.0) for x, y in candidates]
    x, y = candidates[int(np.argmax(distances))]
    places.append((float(x), float(y)))
    return places[-1]


def _draw_motion(
    rng: np.random.Generator, cast: Cast, place: tuple[float, float], radius: float, start: int
) -> FreeMotion:
    d, (height, width) = cast.difficulty, cast.size
    period = 60.0 / max(1.0, np.sqrt(d))
    bounded = min(d, 1.5)
    x = Wave.draw(rng, 0.22 * width * (0.05 + bounded), period).through(start, place[0])
    y = Wave.draw(rng, 0.17 * height * (0.05 + bounded), period).through(start, place[1])
    # The wave sways about the middle of the frame rather than about wherever `through` put it.
    x, y = (_centred(rng, wave, start, limit) for wave, limit in ((x, 0.3 * width), (y, 0.3 * height)))
    motion = FreeMotion(
        x=x,
        y=y,
        angle=Wave.draw(rng, 0.7 * bounded, period, offset=rng.uniform(0, 2 * np.pi)),
        log_scale=Wave.draw(rng, 0.28 * bounded, period),
        stretch=Wave.draw(rng, 0.18 * bounded, 0.7 * period, offset=rng.uniform(-0.35, 0.35)),
        bend=Wave.draw(rng, 0.22 * bounded, 0.6 * period),
        curve=Wave.draw(rng, 0.22 * bounded, 0.5 * period),
        arch=Wave.draw(rng, 0.22 * bounded, 0.6 * period),
        morph=Wave.draw(rng, 0.65 * bounded, 0.6 * period, offset=0.5),
        radius=radius,
        spin=rng.uniform(-0.07, 0.07) * bounded if rng.random() < 0.25 else 0.0,
        outside=_outside(rng, cast, place, radius),
    )
    if start > 0 and cast.entrances:
        motion = replace(motion, entering=start, entry=_entry(cast, place, motion.outside))
    return replace(motion, excursion=_draw_excursion(rng, cast, start))


def _entry(cast: Cast, place: tuple[float, float], outside: tuple[float, float]) -> float:
    """Share of the way from `outside` to `place` that is left when the object's middle has come well into the frame."""
    shares = [
        (np.sign(far) * 0.39 * length - near) / (far - near)
        for near, far, length in zip(place, outside, reversed(cast.size), strict=True)
        if abs(far) > length / 2
    ]
    return float(np.clip(min(shares), 0, 0.5))


def _centred(rng: np.random.Generator, wave: Wave, start: int, limit: float) -> Wave:
    """The same wave with its phase turned so that, through the same place at `start`, its offset is within `limit`."""
    value = float(wave(np.array([float(start)]))[0])
    for _ in range(6):
        if abs(wave.offset) <= limit:
            break
        phases = tuple(float(phase) for phase in rng.uniform(0, 2 * np.pi, len(wave.phases)))
        wave = replace(wave, phases=phases).through(start, value)
    return wave


def _outside(rng: np.random.Generator, cast: Cast, place: tuple[float, float], radius: float) -> tuple[float, float]:
    """A point beyond the nearer left or right edge (seldom beyond the upper or lower one), clear of the frame."""
    height, width = cast.size
    clear = 2.6 * radius
    signs = [1.0 if value >= 0 else -1.0 for value in place]
    if rng.random() < 0.25:
        return place[0], signs[1] * (0.65 * height + clear)
    return signs[0] * (0.65 * width + clear), place[1]


def _draw_excursion(rng: np.random.Generator, cast: Cast, start: int) -> Excursion | None:
    if rng.random() >= min(0.22 * cast.difficulty, 0.6):
        return None
    rise, hold = rng.uniform(4, 7), rng.uniform(2, 5)
    latest = max(cast.frames - start - 2 * rise - hold - 1, 4.0)
    begin = start + rng.uniform(3, max(latest, 4.0))
    return Excursion(begin, period=rng.uniform(50, 110), rise=rise, hold=hold)


def _draw_limb(rng: np.random.Generator, cast: Cast, body: FreeMotion) -> LimbMotion:
    heading = rng.uniform(0, 2 * np.pi)
    joint = (0.42 * float(np.cos(heading)), 0.42 * float(np.sin(heading)))
    swing = Wave.draw(rng, 0.6 * min(cast.difficulty, 1.5), 18)
    return LimbMotion(body, joint, heading, swing, length=rng.uniform(0.4, 0.6), width=rng.uniform(0.13, 0.24))


def _draw_occluder(rng: np.random.Generator, cast: Cast, camera: Camera, palette: FloatMap) -> Layer:
    """An un-annotated thing in the foreground: a pole from edge to edge, or something bulky that the camera passes."""
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


def _draw_light(rng: np.random.Generator, cast: Cast) -> Light:
    d = min(cast.difficulty, 2.0)
    flicker = 0.05 * d if rng.random() < 0.2 else 0.0
    common = Wave.draw(rng, 0.16 * d, 45, offset=1.0)
    gains = []
    for _ in range(3):
        tone = Wave.draw(rng, 0.05 * d, 60)
        extra = (common.amplitudes + tone.amplitudes, common.periods + tone.periods, common.phases + tone.phases)
        gains.append(Wave(1.0, *extra) if not flicker else _flickering(Wave(1.0, *extra), flicker))
    return Light(
        gains=(gains[0], gains[1], gains[2]),
        gradient=(Wave.draw(rng, 0.15 * d, 60), Wave.draw(rng, 0.15 * d, 60)),
        defocus=Wave.draw(rng, 0.2 * d, 30, offset=-0.02) if rng.random() < 0.35 else Wave(),
        shutter=float(rng.uniform(0, 0.5) * min(d, 1.0)),
        noise=float(rng.uniform(1.0, 1.0 + 6.0 * d)),
    )


def _flickering(gain: Wave, strength: float) -> Wave:
    """The gain with lamps that flicker: two waves of two to three frames."""
    return Wave(
        gain.offset, (*gain.amplitudes, strength, strength), (*gain.periods, 2.3, 3.7), (*gain.phases, 0.0, 1.0)
    )


def starting_area(layer: Layer) -> float:
    """Pixels the layer covers, unoccluded and undeformed, where it starts."""
    pose = layer.motion.pose(np.array([float(layer.start)]))
    share = float((layer.sprite[3] > 0).mean())
    return share * 4 * float(pose.scale_x[0] * pose.scale_y[0])


def with_layers(scene: SyntheticScene, layers: list[Layer]) -> SyntheticScene:
    """The same scene with other layers."""
    return replace(scene, layers=tuple(layers))
