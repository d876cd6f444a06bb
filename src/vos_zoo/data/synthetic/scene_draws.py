"""Random draws shared by generated clips: camera, paths of objects and light.

Used by the synthetic videos and by the clips composed of photographs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vos_zoo.data.synthetic.motion import Camera, Excursion, FreeMotion, Wave


@dataclass(frozen=True)
class Cast:
    """The requirements of a scene.

    Attributes:
        size: height and width of the frames in pixels.
        frames: length of the video; events are placed within it.
        starts: first frame of every object, ascending; object k + 1 starts at `starts[k]`.
        difficulty: 0 = slow rigid objects alone on the background, 1 = the default, more = faster and more crowded.
        entrances: late objects enter from the edge of the frame (otherwise they appear suddenly).
    """

    size: tuple[int, int]
    frames: int
    starts: tuple[int, ...]
    difficulty: float
    entrances: bool = True

    @property
    def unit(self) -> float:
        """The length that all sizes are relative to: the mean side, but at most 1.6 short sides."""
        height, width = self.size
        return float(min(np.sqrt(height * width), 1.6 * min(height, width)))


@dataclass(frozen=True)
class Light:
    """Illumination and optics: gain per colour, a gradient over the frame, defocus, shutter, sensor noise."""

    gains: tuple[Wave, Wave, Wave]
    gradient: tuple[Wave, Wave]
    defocus: Wave
    shutter: float
    noise: float


def draw_camera(rng: np.random.Generator, cast: Cast) -> Camera:
    """A camera that pans, zooms, rolls and shakes according to the difficulty."""
    d, (height, width) = cast.difficulty, cast.size
    calm = 0.3 if rng.random() < 0.3 else 1.0  # some videos have a static camera
    shake = 0.006 * cast.unit * d * calm
    return Camera(
        pan=(Wave.draw(rng, 0.3 * width * min(d, 2) * calm, 70), Wave.draw(rng, 0.12 * height * min(d, 2) * calm, 70)),
        log_zoom=Wave.draw(rng, 0.1 * min(d, 2) * calm, 60),
        roll=Wave.draw(rng, 0.07 * min(d, 2) * calm, 60),
        shake=(Wave.draw(rng, shake, 9), Wave.draw(rng, shake, 9)),
    )


def free_place(rng: np.random.Generator, cast: Cast, places: list[tuple[float, float]]) -> tuple[float, float]:
    """A position in the inner part of the frame, far from those in `places`, to which it is added."""
    height, width = cast.size
    candidates = rng.uniform(-0.36, 0.36, (10, 2)) * (width, height)
    distances = [min((np.hypot(x - a, y - b) for a, b in places), default=0.0) for x, y in candidates]
    x, y = candidates[int(np.argmax(distances))]
    places.append((float(x), float(y)))
    return places[-1]


def draw_motion(
    rng: np.random.Generator, cast: Cast, place: tuple[float, float], radius: float, start: int
) -> FreeMotion:
    """The path of an object of half size `radius` that is at `place` in frame `start`; it may leave and return."""
    d, (height, width) = cast.difficulty, cast.size
    period = 60.0 / max(1.0, np.sqrt(d))
    bounded = min(d, 1.5)
    x = Wave.draw(rng, 0.22 * width * (0.05 + bounded), period).through(start, place[0])
    y = Wave.draw(rng, 0.17 * height * (0.05 + bounded), period).through(start, place[1])
    # The wave oscillates about the centre of the frame rather than about the offset set by `through`.
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
    """Remaining share of the way from `outside` to `place` when the object's centre is well inside the frame."""
    shares = [
        (np.sign(far) * 0.39 * length - near) / (far - near)
        for near, far, length in zip(place, outside, reversed(cast.size), strict=True)
        if abs(far) > length / 2
    ]
    return float(np.clip(min(shares), 0, 0.5))


def _centred(rng: np.random.Generator, wave: Wave, start: int, limit: float) -> Wave:
    """The same wave with a shifted phase, so that with the same value at `start` its offset is within `limit`."""
    value = float(wave(np.array([float(start)]))[0])
    for _ in range(6):
        if abs(wave.offset) <= limit:
            break
        phases = tuple(float(phase) for phase in rng.uniform(0, 2 * np.pi, len(wave.phases)))
        wave = replace(wave, phases=phases).through(start, value)
    return wave


def _outside(rng: np.random.Generator, cast: Cast, place: tuple[float, float], radius: float) -> tuple[float, float]:
    """A point beyond the nearer left or right edge (rarely beyond the upper or lower one), outside the frame."""
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


def draw_light(rng: np.random.Generator, cast: Cast) -> Light:
    """Changing light, noise and blur according to the difficulty."""
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
    """The gain of flickering lamps: two waves of two to three frames."""
    return Wave(
        gain.offset, (*gain.amplitudes, strength, strength), (*gain.periods, 2.3, 3.7), (*gain.phases, 0.0, 1.0)
    )
