"""Motion in the synthetic videos.

All motion is a bounded function of the frame number, defined for all numbers, so that any frame can be
rendered without the frames before it.

Data shape: times and all quantities over time are float64 ``(T,)``. Positions are pixels from the centre of the frame
(x to the right, y down), angles radians.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Wave:
    """A constant and a few sinusoids, ``offset + sum_i amplitude_i sin(2 pi t / period_i + phase_i)``."""

    offset: float = 0.0
    amplitudes: tuple[float, ...] = ()
    periods: tuple[float, ...] = ()
    phases: tuple[float, ...] = ()

    def __call__(self, times: Times) -> Times:
        """The values at `times` (T,)."""
        values = np.full(np.shape(times), self.offset)
        for amplitude, period, phase in zip(self.amplitudes, self.periods, self.phases, strict=True):
            values = values + amplitude * np.sin(2 * np.pi / period * times + phase)
        return values

    @property
    def reach(self) -> float:
        """The largest deviation from the offset."""
        return sum(abs(amplitude) for amplitude in self.amplitudes)

    def scaled(self, factor: float) -> Wave:
        """The same wave with deviations from the offset that are `factor` times as large."""
        return replace(self, amplitudes=tuple(factor * amplitude for amplitude in self.amplitudes))

    @classmethod
    def draw(cls, rng: np.random.Generator, amplitude: float, period: float, offset: float = 0.0) -> Wave:
        """A slow wave of about `amplitude` and `period` frames with a smaller, faster one on top."""
        slow, fast = period * rng.uniform(0.75, 1.35), period * rng.uniform(0.25, 0.45)
        share = rng.uniform(0.1, 0.25)
        strength = amplitude * rng.uniform(0.75, 1.0)
        phases = (float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 2 * np.pi)))
        return cls(offset, (strength * (1 - share), strength * share), (slow, fast), phases)

    def through(self, time: float, value: float) -> Wave:
        """The same wave, shifted to have `value` at `time`."""
        return replace(self, offset=self.offset + value - float(self(np.array([time]))[0]))


class Pose(NamedTuple):
    """Position and deformation of a layer, each (T,).

    Attributes:
        x, y, angle: position and rotation of the layer's square.
        scale_x, scale_y: half its sides in pixels.
        bend, curve, arch: ``u' = u + bend v^2 + curve v^3`` and ``v' = v + arch u'^2`` map positions u, v in the
            square to positions in the sprite.
        morph: 0..1, from the first to the second outline of the sprite.
    """

    x: Times
    y: Times
    angle: Times
    scale_x: Times
    scale_y: Times
    bend: Times
    curve: Times
    arch: Times
    morph: Times


def window(pose: Pose, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Top, bottom, left and right of the pixels any frame of the layer can cover, or None if it is not visible."""
    height, width = size
    reach_v = 1 + np.abs(pose.arch)
    reach_u = 1 + np.abs(pose.bend) * reach_v**2 + np.abs(pose.curve) * reach_v**3
    cos, sin = np.abs(np.cos(pose.angle)), np.abs(np.sin(pose.angle))
    half_w = cos * pose.scale_x * reach_u + sin * pose.scale_y * reach_v
    half_h = sin * pose.scale_x * reach_u + cos * pose.scale_y * reach_v
    left, right = np.floor((pose.x - half_w).min() + width / 2), np.ceil((pose.x + half_w).max() + width / 2)
    top, bottom = np.floor((pose.y - half_h).min() + height / 2), np.ceil((pose.y + half_h).max() + height / 2)
    box = (max(int(top), 0), min(int(bottom), height), max(int(left), 0), min(int(right), width))
    return box if box[0] < box[1] and box[2] < box[3] else None


class Motion(Protocol):
    """A pose as a function of time."""

    def pose(self, times: Times) -> Pose:
        """The poses at `times` (T,)."""


def smoothstep(x: Times) -> Times:
    """0 below 0, 1 above 1, eased between; (T,) -> (T,)."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


@dataclass(frozen=True)
class Excursion:
    """Leaving the frame and returning: from `start` on, every `period` frames, `rise` out, `hold` away, `rise` back."""

    start: float
    period: float
    rise: float
    hold: float

    def __call__(self, times: Times) -> Times:
        """Progress, 0 = on the path, 1 = at the point outside; (T,) -> (T,)."""
        phase = np.mod(times - self.start, self.period)
        weight = smoothstep(phase / self.rise) - smoothstep((phase - self.rise - self.hold) / self.rise)
        return np.where(times < self.start, 0.0, weight)


@dataclass(frozen=True)
class FreeMotion:
    """An object that moves freely in the frame (the camera follows the actors, not the scenery).

    Attributes:
        x, y, angle, log_scale, stretch: position, rotation, logarithm of the size and of the width over the height.
        bend, curve, arch, morph: the deformation, as in `Pose`.
        radius: half the side of the object's square in pixels, at log_scale 0.
        spin: steady rotation per frame.
        outside: a point outside the frame, used by `entering` and `excursion`.
        entering: frame in which the object enters from `outside`, or None.
        entry: remaining share of the way from `outside` in that frame.
        excursion: when the object leaves the frame and returns, or None.
    """

    x: Wave
    y: Wave
    angle: Wave
    log_scale: Wave
    stretch: Wave
    bend: Wave
    curve: Wave
    arch: Wave
    morph: Wave
    radius: float
    spin: float = 0.0
    outside: tuple[float, float] = (0.0, 0.0)
    entering: int | None = None
    entry: float = 0.0
    excursion: Excursion | None = None

    def pose(self, times: Times) -> Pose:
        """The poses at `times` (T,)."""
        away = np.zeros_like(times)
        if self.entering is not None:
            away = self.entry * (1 - smoothstep((times - self.entering + 0.5) / 6))
        if self.excursion is not None:
            away = np.maximum(away, self.excursion(times))
        size = self.radius * np.exp(self.log_scale(times))
        stretch = np.exp(self.stretch(times) / 2)
        return Pose(
            x=self.x(times) * (1 - away) + self.outside[0] * away,
            y=self.y(times) * (1 - away) + self.outside[1] * away,
            angle=self.angle(times) + self.spin * times,
            scale_x=size * stretch,
            scale_y=size / stretch,
            bend=self.bend(times),
            curve=self.curve(times),
            arch=self.arch(times),
            morph=np.clip(self.morph(times), 0, 1),
        )


@dataclass(frozen=True)
class LimbMotion:
    """A limb that swings about a joint of its body.

    Attributes:
        body: motion of the body.
        joint: position of the joint in the body's square, -1..1.
        heading, swing: resting direction and the swing about it.
        length, width: half length and half width, in units of the body's half side.
    """

    body: FreeMotion
    joint: tuple[float, float]
    heading: float
    swing: Wave
    length: float
    width: float

    def pose(self, times: Times) -> Pose:
        """The poses at `times` (T,)."""
        body, zero = self.body.pose(times), np.zeros_like(times)
        cos, sin = np.cos(body.angle), np.sin(body.angle)
        u, v = self.joint[0] * body.scale_x, self.joint[1] * body.scale_y
        size = np.sqrt(body.scale_x * body.scale_y)
        angle, length = body.angle + self.heading + self.swing(times), self.length * size
        x = body.x + u * cos - v * sin + 0.85 * length * np.cos(angle)
        y = body.y + u * sin + v * cos + 0.85 * length * np.sin(angle)
        return Pose(x, y, angle, length, self.width * size, zero, zero, zero, zero)


@dataclass(frozen=True)
class SceneryMotion:
    """An object fixed in the scenery at `place`, which passes as the camera pans (`parallax` > 1: in front of it)."""

    place: tuple[float, float]
    angle: Wave
    half_size: tuple[float, float]
    pan: tuple[Wave, Wave]
    parallax: float

    def pose(self, times: Times) -> Pose:
        """The poses at `times` (T,)."""
        zero = np.zeros_like(times)
        x, y = (place - self.parallax * pan(times) for place, pan in zip(self.place, self.pan, strict=True))
        width, height = (zero + half for half in self.half_size)
        return Pose(x, y, self.angle(times), width, height, zero, zero, zero, zero)


@dataclass(frozen=True)
class Camera:
    """The camera: pan moves the scenery only (it follows the actors); zoom, roll and shake move everything."""

    pan: tuple[Wave, Wave]
    log_zoom: Wave
    roll: Wave
    shake: tuple[Wave, Wave]

    def film(self, pose: Pose, times: Times) -> Pose:
        """A pose in camera view at `times` (T,)."""
        zoom, roll = np.exp(self.log_zoom(times)), self.roll(times)
        cos, sin = zoom * np.cos(roll), zoom * np.sin(roll)
        return pose._replace(
            x=pose.x * cos - pose.y * sin + self.shake[0](times),
            y=pose.x * sin + pose.y * cos + self.shake[1](times),
            angle=pose.angle + roll,
            scale_x=pose.scale_x * zoom,
            scale_y=pose.scale_y * zoom,
        )

    def ground(self, times: Times) -> Pose:
        """The pose of the scenery, one pixel per unit, in camera view at `times` (T,)."""
        zero = np.zeros_like(times)
        still = Pose(zero - self.pan[0](times), zero - self.pan[1](times), zero, zero + 1, zero + 1, *(zero,) * 4)
        return self.film(still, times)
