"""The scene of one composed clip: its cut-outs and background, their appearance and motion.

A `ComposedScene` is a pure function of the settings, the sources and its random numbers. It holds no pixels:
`render` reads them and renders the frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.clips.warps import colour_matrix
from vos_zoo.data.composed.sources import Found, Shot, Sources
from vos_zoo.data.composed.sprites import Treatment, mean_colour, reduction_for
from vos_zoo.data.synthetic.motion import Camera, FreeMotion, Wave
from vos_zoo.data.synthetic.scene_draws import Cast, Light, draw_camera, draw_light, draw_motion, free_place

_GROUNDS = 6  # backgrounds tried for one whose objects fit the frame
_DETAIL = 1.2  # sprites are this much larger than their mean size, as they grow at times


@dataclass(frozen=True)
class Actor:
    """A moving cut-out.

    Attributes:
        found: the object of the source.
        treatment: settings of its cut-out.
        motion: its motion.
        label: its id, 0 if it is not annotated.
        start: first frame in which it exists.
    """

    found: Found
    treatment: Treatment
    motion: FreeMotion
    label: int
    start: int


@dataclass(frozen=True)
class Ground:
    """The background.

    Attributes:
        shot: its source.
        scale: canvas pixels per pixel of the source.
        centre: point of the source (x, y) in the middle of the canvas with the camera at rest.
        mirrored: whether it is mirrored.
        labels: id in the source -> id in the clip of the objects that stay in their image; others are background.
        bend: bending of the image, horizontally and vertically, in canvas pixels.
    """

    shot: Shot
    scale: float
    centre: tuple[float, float]
    mirrored: bool
    labels: dict[int, int]
    bend: tuple[Wave, Wave]


@dataclass(frozen=True)
class ComposedScene:
    """The scene of one clip.

    Attributes:
        size: height and width of the frames.
        frames: their number.
        ground: the background.
        actors: the cut-outs, from back to front.
        camera, light: see their classes.
        jpeg: quality of the compression of the frames; None for none.
        seed: seed of each frame's noise.
    """

    size: tuple[int, int]
    frames: int
    ground: Ground
    actors: tuple[Actor, ...]
    camera: Camera
    light: Light
    jpeg: int | None
    seed: int


@dataclass(frozen=True)
class Cutting:
    """The cut-outs and the background, without motion.

    Attributes:
        ground: the background.
        in_place: objects that stay in it: ids in the source; they become objects 1, 2, ...
        objects: the other objects, in order.
        extras: cut-outs that are not annotated.
    """

    ground: Shot
    in_place: tuple[Found, ...]
    objects: tuple[Found, ...]
    extras: tuple[Found, ...]


def draw_cutting(
    rng: np.random.Generator,
    sources: Sources,
    size: tuple[int, int],
    count: int,
    *,
    look_alike: float,
    in_place: float,
    video_share: float,
    difficulty: float,
) -> Cutting:
    """Choose background, objects, look-alikes and distractors.

    Args:
        rng: source of the draws.
        sources: the sources.
        size: height and width of the frames.
        count: number of objects.
        look_alike: probability that an object has a look-alike.
        in_place: probability that the background's own objects are among the objects.
        video_share: probability that a cut-out or the background is taken from a video, if there are images, too.
        difficulty: adds distractors.
    """
    ground, wanted = sources.background(rng, video_share), rng.random() < in_place
    kept = _fitting(sources, ground, size) if wanted else ()
    for _ in range(_GROUNDS):
        if kept or not wanted:
            break
        ground = sources.background(rng, video_share)
        kept = _fitting(sources, ground, size)
    kept = kept[: int(rng.integers(1, count + 1))]
    objects: list[Found] = []
    extras: list[Found] = []
    if rng.random() < look_alike:
        first = kept[0] if kept else sources.object(rng, video_share)
        twin = first if rng.random() < 0.5 else sources.sibling(first, rng)
        objects += [] if kept else [first]
        if len(kept) + len(objects) < count and rng.random() < 0.5:
            objects.append(twin)
        else:
            extras.append(twin)
    while len(kept) + len(objects) < count:
        objects.append(sources.object(rng, video_share))
    extras += [sources.object(rng, video_share) for _ in range(rng.poisson(0.4 * min(difficulty, 3.0)))]
    return Cutting(ground, tuple(kept), tuple(objects), tuple(extras))


def _fitting(sources: Sources, ground: Shot, size: tuple[int, int]) -> tuple[Found, ...]:
    """The objects of a background that fit a frame completely."""
    rows, columns = sources.size(ground)
    scale = max(size[0] / rows, size[1] / columns)
    room = size[0] / scale, size[1] / scale
    return tuple(
        found
        for found in sources.objects(ground)
        if found.extent.bottom - found.extent.top <= room[0] and found.extent.right - found.extent.left <= room[1]
    )


def draw_scene(rng: np.random.Generator, sources: Sources, cast: Cast, cutting: Cutting) -> ComposedScene:
    """A scene of the cut-outs. The caller checks whether every object is visible at its start."""
    camera = draw_camera(rng, cast)
    ground, camera = _draw_ground(rng, sources, cast, cutting, camera)
    tone = float(np.mean(cv2.mean(sources.frame(ground.shot, 0, reduction_for(ground.scale)))[:3]))
    places = [_rest(found, ground) for found in cutting.in_place]
    wanted = [*enumerate(cutting.objects, start=len(places) + 1), *((0, found) for found in cutting.extras)]
    known: dict[Found, Treatment] = {}
    actors = [_draw_actor(rng, sources, cast, found, places, tone, label, known) for label, found in wanted]
    return ComposedScene(
        size=cast.size,
        frames=cast.frames,
        ground=ground,
        actors=tuple(actors[place] for place in rng.permutation(len(actors))),
        camera=camera,
        light=draw_light(rng, cast),
        jpeg=int(rng.integers(30, 96)) if rng.random() < 0.7 else None,
        seed=int(rng.integers(2**62)),
    )


def _draw_ground(
    rng: np.random.Generator, sources: Sources, cast: Cast, cutting: Cutting, camera: Camera
) -> tuple[Ground, Camera]:
    """The background, and the camera with a pan that stays near it; beyond its border it is mirrored."""
    (height, width), (rows, columns) = cast.size, sources.size(cutting.ground)
    least = max(height / rows, width / columns)
    scale = least * rng.uniform(1.02, 1.2 if len(cutting.ground.frames) > 1 else 1.5)
    slack = np.maximum(np.array([columns - width / scale, rows - height / scale]) / 2, 0)
    centre = np.array([columns / 2, rows / 2]) + rng.uniform(-1, 1, 2) * slack
    if cutting.in_place:  # its first object is well within the frame
        target = _middle(cutting.in_place[0])
        room = 0.25 * np.array([width, height]) / scale
        centre = np.clip(centre, target - room, target + room)
        centre = np.clip(centre, np.array([columns, rows]) / 2 - slack, np.array([columns, rows]) / 2 + slack)
    reach = [0.4 * float(room) * scale + 0.08 * side for room, side in zip(slack, (width, height), strict=True)]
    pan = [wave.scaled(min(1.0, far / max(wave.reach, 1e-6))) for wave, far in zip(camera.pan, reach, strict=True)]
    strength = 0.012 * cast.unit * min(cast.difficulty, 2)
    ground = Ground(
        shot=cutting.ground,
        scale=float(scale),
        centre=(float(centre[0]), float(centre[1])),
        mirrored=bool(rng.random() < 0.5),
        labels={found.identity: label for label, found in enumerate(cutting.in_place, start=1)},
        bend=(Wave.draw(rng, strength, 40), Wave.draw(rng, strength, 40)),
    )
    still = (pan[0].through(0.0, 0.0), pan[1].through(0.0, 0.0)) if cutting.in_place else (pan[0], pan[1])
    return ground, replace(camera, pan=still)


def _middle(found: Found) -> NDArray[np.float64]:
    top, bottom, left, right = found.extent
    return np.array([(left + right) / 2, (top + bottom) / 2])


def _rest(found: Found, ground: Ground) -> tuple[float, float]:
    """Position of an object of the background, from the centre of the canvas."""
    x, y = (_middle(found) - ground.centre) * ground.scale
    return (-float(x) if ground.mirrored else float(x)), float(y)


def _draw_actor(
    rng: np.random.Generator,
    sources: Sources,
    cast: Cast,
    found: Found,
    places: list[tuple[float, float]],
    tone: float,
    label: int,
    known: dict[Found, Treatment],
) -> Actor:
    """A cut-out with its motion; a second copy (`known`) gets nearly the same treatment."""
    start = cast.starts[label - 1] if label else 0
    top, bottom, left, right = found.extent
    wide = (right - left) / (bottom - top)
    radius = cast.unit * float(np.exp(rng.uniform(np.log(0.1), np.log(0.3)))) * (1 - 0.05 * (len(cast.starts) - 1))
    radius = max(min(radius, 0.55 * cast.size[0] * np.sqrt(wide), 0.6 * cast.size[1] / np.sqrt(wide)), 6.0)
    if found in known:
        twin = known[found]
        radius = twin.height / _DETAIL * np.sqrt(wide) / 2 * rng.uniform(0.85, 1.15)
        colour = twin.colour * np.float32(rng.uniform(0.93, 1.07))
        treatment = replace(twin, mirrored=bool(rng.random() < 0.5), colour=colour)
    else:
        height = 2 * radius / np.sqrt(wide) * _DETAIL
        treatment = Treatment(
            height=float(height),
            mirrored=bool(rng.random() < 0.5),
            feather=float(rng.uniform(0.6, 1.2)),
            colour=_colour(rng, mean_colour(sources, found, height), tone),
        )
        known[found] = treatment
    motion = draw_motion(rng, cast, free_place(rng, cast, places), float(radius), start)
    motion = replace(
        motion,
        angle=replace(motion.angle.scaled(0.6), offset=float(rng.normal(0, 0.12))),
        stretch=replace(motion.stretch, offset=float(np.log(wide))),
        bend=motion.bend.scaled(0.5),
        curve=motion.curve.scaled(0.5),
        arch=motion.arch.scaled(0.5),
        spin=motion.spin if rng.random() < 0.3 else 0.0,
    )
    return Actor(found, treatment, motion, label, start)


def _colour(rng: np.random.Generator, mean: NDArray[np.float64], tone: float) -> NDArray[np.float32]:
    """Random colours of a cut-out, with a brightness near the background's."""
    match = float(np.clip((max(tone, 1.0) / max(float(mean.mean()), 1.0)) ** rng.uniform(0, 0.5), 0.6, 1.5))
    factors = np.array([match, 1.0, 1.0]) * rng.uniform(0.85, 1.15, 3)
    matrix = colour_matrix(factors, mean)
    return np.asarray(matrix * rng.uniform(0.95, 1.05, (3, 1)).astype(np.float32), dtype=np.float32)
