"""Renders the frames of composed clips, one at a time and in any order.

Labels are exact: the topmost object with a cover above one half. They are computed per pixel, so
that a map of every n-th pixel has exactly the pixels of the whole map. Motion blur and defocus are symmetric and act on
the image alone.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import lru_cache
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.composed.scene import Actor, ComposedScene
from vos_zoo.data.composed.sources import Sources
from vos_zoo.data.composed.sprites import Sprite, make_sprite, reduction_for
from vos_zoo.data.datasets.static_images import HALF
from vos_zoo.data.synthetic.motion import Pose, Times, window
from vos_zoo.types import Frame, LabelMap

_NOISE_MARGIN = 61
_LONGEST_BLUR = 9  # pixels
_KEPT_SPRITES = 32
_Map = NDArray[np.float32]


class _Placed(NamedTuple):
    """A sprite on the canvas: the rows and columns it can cover, and the sprite coordinates of their pixels."""

    sprite: Sprite
    rows: slice
    columns: slice
    x: _Map
    y: _Map
    scale: float


class Painter:
    """Renders a scene; sprites are created lazily, and a bounded number is cached.

    Args:
        sources: source of the pixels.
        scene: the scene.
    """

    def __init__(self, sources: Sources, scene: ComposedScene) -> None:
        self.sources, self.scene = sources, scene
        self._sprites: OrderedDict[tuple[int, int], Sprite | None] = OrderedDict()
        moments = np.array([0.0, -0.25, 0.25])  # of every frame, and around it
        times: Times = (np.arange(scene.frames)[:, None] + moments).reshape(-1)
        self._poses = [scene.camera.film(actor.motion.pose(times), times) for actor in scene.actors]
        self._ground_pose = scene.camera.ground(times)

    def labels(self, time: int, step: int = 1) -> LabelMap:
        """The label map of frame `time`, uint8 ``(h, w)``; every `step`-th pixel on both axes."""
        labels = self._ground_labels(time, step)
        for number, actor in enumerate(self.scene.actors):
            placed = self._placed(number, time, step)
            if placed is not None:
                cover = cv2.remap(placed.sprite.cover, placed.x, placed.y, cv2.INTER_LINEAR)
                labels[placed.rows, placed.columns][cover > HALF] = actor.label
        return labels

    def picture(self, time: int) -> tuple[Frame, LabelMap]:
        """Frame `time`, uint8 RGB ``(h, w, 3)``, and its label map, uint8 ``(h, w)``."""
        labels = self._ground_labels(time, 1)
        canvas = self._ground(time)
        for number, actor in enumerate(self.scene.actors):
            placed = self._placed(number, time, 1)
            if placed is None:
                continue
            drawn = cv2.remap(placed.sprite.pixels, placed.x, placed.y, cv2.INTER_LINEAR)
            labels[placed.rows, placed.columns][drawn[..., 3] > HALF] = actor.label
            drawn = _streaked(drawn, self._way(self._poses[number], time))
            part = canvas[placed.rows, placed.columns]
            rest = cv2.bitwise_not(drawn[..., 3])
            canvas[placed.rows, placed.columns] = cv2.add(
                cv2.multiply(part, cv2.merge([rest, rest, rest]), scale=1 / 255), drawn[..., :3]
            )
        return self._developed(canvas, time), labels

    def share(self, number: int) -> float:
        """Pixels that actor `number` covers at its start, undeformed and completely in the frame."""
        actor = self.scene.actors[number]
        sprite = self._sprite(number, actor.start)
        if sprite is None:
            return 0.0
        across, down = self._units(actor, _moment(self._poses[number], actor.start))
        texel = across * down * 4 * sprite.half[0] * sprite.half[1] / sprite.cover.size
        return float((sprite.cover > HALF).sum() * texel)

    def _units(self, actor: Actor, pose: Pose) -> tuple[float, float]:
        """Canvas pixels per unit of the sprite, horizontally and vertically."""
        top, bottom, left, right = actor.found.extent
        half = actor.treatment.height / 2
        wide = (right - left) / (bottom - top)
        return float(pose.scale_x[0]) / (half * wide), float(pose.scale_y[0]) / half

    def _sprite(self, number: int, time: int) -> Sprite | None:
        actor = self.scene.actors[number]
        key = (number, actor.found.shot.frame(time))
        if key not in self._sprites:
            self._sprites[key] = make_sprite(self.sources, actor.found, actor.treatment, time)
        self._sprites.move_to_end(key)
        while len(self._sprites) > _KEPT_SPRITES:
            self._sprites.popitem(last=False)
        return self._sprites[key]

    def _placed(self, number: int, time: int, step: int) -> _Placed | None:
        actor = self.scene.actors[number]
        sprite = self._sprite(number, time) if time >= actor.start else None
        if sprite is None:
            return None
        pose = _moment(self._poses[number], time)
        across, down = self._units(actor, pose)
        cos, sin = math.cos(pose.angle[0]), math.sin(pose.angle[0])
        dx, dy = across * sprite.offset[0], down * sprite.offset[1]
        pose = pose._replace(
            x=pose.x + cos * dx - sin * dy,
            y=pose.y + sin * dx + cos * dy,
            scale_x=np.array([across * sprite.half[0]]),
            scale_y=np.array([down * sprite.half[1]]),
        )
        box = window(pose, self.scene.size)
        if box is None:
            return None
        top, bottom, left, right = (-(-side // step) for side in box)
        if top >= bottom or left >= right:
            return None
        height, width = self.scene.size
        x, y = _axis(left, right, step, width)[None], _axis(top, bottom, step, height)[:, None]
        u, v = _local(pose, x, y)
        if actor.motion.bend.reach or actor.motion.curve.reach or actor.motion.arch.reach:
            u = u + v * v * (v * np.float32(pose.curve[0]) + np.float32(pose.bend[0]))
            v = v + u * u * np.float32(pose.arch[0])
        rows, columns = sprite.pixels.shape[:2]
        u, v = (u + 1) * np.float32(columns / 2) - np.float32(0.5), (v + 1) * np.float32(rows / 2) - np.float32(0.5)
        return _Placed(sprite, slice(top, bottom), slice(left, right), u, v, across)

    def _way(self, poses: Pose, time: int) -> tuple[float, float]:
        """Motion in pixels while the shutter is open."""
        before, after, shutter = 3 * time + 1, 3 * time + 2, 2 * self.scene.light.shutter
        return shutter * float(poses.x[after] - poses.x[before]), shutter * float(poses.y[after] - poses.y[before])

    def _look(self, time: int, step: int) -> tuple[_Map, _Map]:
        """Coordinates of each canvas pixel in the background's source at full size."""
        ground, (height, width) = self.scene.ground, self.scene.size
        at, pose = np.array([float(time)]), _moment(self._ground_pose, time)
        x, y = _axis(0, -(-width // step), step, width)[None], _axis(0, -(-height // step), step, height)[:, None]
        u, v = _local(pose, x, y)
        bend = [np.float32(wave(at)[0]) for wave in ground.bend]
        u = u + bend[0] * np.sin((y - np.float32(pose.y[0])) * np.float32(3.7 / height))
        v = v + bend[1] * np.sin((x - np.float32(pose.x[0])) * np.float32(3.7 / width))
        u = -u if ground.mirrored else u
        one = np.float32(1 / ground.scale)
        return u * one + np.float32(ground.centre[0] - 0.5), v * one + np.float32(ground.centre[1] - 0.5)

    def _ground_labels(self, time: int, step: int) -> LabelMap:
        height, width = (-(-side // step) for side in self.scene.size)
        ids = self.scene.ground.labels
        if not ids:
            return np.zeros((height, width), dtype=np.uint8)
        labels = self.sources.labels(self.scene.ground.shot, time)
        table = np.zeros(256, dtype=np.uint8)
        table[list(ids)] = list(ids.values())
        x, y = self._look(time, step)
        seen = cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
        return cast(LabelMap, cv2.LUT(seen, table))

    def _ground(self, time: int) -> Frame:
        """The background in camera view, uint8 ``(h, w, 3)``."""
        ground = self.scene.ground
        reduction = reduction_for(ground.scale)
        frame = self.sources.frame(ground.shot, time, reduction)
        x, y = self._look(time, 1)
        shrink = min(ground.scale * reduction, 1.0)
        if shrink < 0.9:
            size = round(frame.shape[1] * shrink), round(frame.shape[0] * shrink)
            across, down = size[0] / frame.shape[1] / reduction, size[1] / frame.shape[0] / reduction
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        else:
            across = down = 1 / reduction
        if across != 1 or down != 1:
            x, y = (x + 0.5) * np.float32(across) - np.float32(0.5), (y + 0.5) * np.float32(down) - np.float32(0.5)
        seen = cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return _streaked(seen, self._way(self._ground_pose, time))

    def _developed(self, canvas: Frame, time: int) -> Frame:
        """Light, defocus, noise and compression."""
        light, at, (height, width) = self.scene.light, np.array([float(time)]), self.scene.size
        defocus = float(light.defocus(at)[0])
        if defocus > 0.02:
            canvas = cv2.GaussianBlur(canvas, (0, 0), 2 * math.sqrt(defocus))
        chance = np.random.default_rng((self.scene.seed, time))
        own = chance.uniform(0.98, 1.02)
        gains = [max(float(gain(at)[0]), 0.25) * own for gain in light.gains]
        across, down = (float(wave(at)[0]) for wave in light.gradient)
        slopes = _axis(0, width, 1, width) * (2 * across / width), _axis(0, height, 1, height) * (2 * down / height)
        slope = (1 + slopes[0][None] + slopes[1][:, None]).astype(np.float32)
        lit = cv2.multiply(canvas, slope[..., None] * np.array(gains, dtype=np.float32), dtype=cv2.CV_32F)
        top, left = chance.integers(0, _NOISE_MARGIN, 2)
        tile = _noise_tile(height + _NOISE_MARGIN, width + _NOISE_MARGIN)[top : top + height, left : left + width]
        canvas = cast(Frame, cv2.addWeighted(lit, 1.0, tile, light.noise, 0.0, dtype=cv2.CV_8U))  # rounds and saturates
        if self.scene.jpeg is None:
            return canvas
        quality = int(np.clip(self.scene.jpeg + chance.integers(-5, 6), 10, 100))
        _, content = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cast(Frame, cv2.imdecode(content, cv2.IMREAD_COLOR))


def _moment(poses: Pose, time: int) -> Pose:
    """The pose in frame `time`, each (1,)."""
    return Pose(*(values[3 * time : 3 * time + 1] for values in poses))


def _axis(start: int, stop: int, step: int, length: int) -> _Map:
    """Centres of pixels start*step .. stop*step-1, every `step`-th, as distances from the middle of an axis, (n,)."""
    return np.arange(start, stop, dtype=np.float32) * step + np.float32(0.5 - length / 2)


def _local(pose: Pose, x: _Map, y: _Map) -> tuple[_Map, _Map]:
    """Canvas positions x (1, w) and y (h, 1) in the coordinates of the pose's square, two (h, w)."""
    cos, sin = math.cos(pose.angle[0]), math.sin(pose.angle[0])
    places = []
    for a, b, scale in ((cos, sin, float(pose.scale_x[0])), (-sin, cos, float(pose.scale_y[0]))):
        a, b = a / scale, b / scale
        shift = -(a * float(pose.x[0]) + b * float(pose.y[0]))
        places.append(x * np.float32(a) + (y * np.float32(b) + np.float32(shift)))
    return places[0], places[1]


def _streaked(pixels: NDArray[np.uint8], way: tuple[float, float]) -> NDArray[np.uint8]:
    """Pixels blurred along a vector (x, y) of at most 9 pixels."""
    length = min(math.hypot(*way), _LONGEST_BLUR)
    if length < 1:
        return pixels
    angle = round(math.atan2(way[1], way[0]) / math.pi * 16) % 16
    kernel = _streak(round(length), angle)
    return cast("NDArray[np.uint8]", cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REPLICATE))


@lru_cache(maxsize=256)
def _streak(length: int, angle: int) -> NDArray[np.float32]:
    """A kernel with a line of `length` pixels through its centre, at an angle in sixteenths of a half turn."""
    side = 2 * (length // 2) + 3
    kernel = np.zeros((side, side), dtype=np.float32)
    middle, turn = side // 2, math.pi * angle / 16
    for along in np.linspace(-length / 2, length / 2, 8 * length):
        x, y = middle + along * math.cos(turn), middle + along * math.sin(turn)
        column, row = int(x), int(y)
        for dy, wy in ((0, 1 - (y - row)), (1, y - row)):
            for dx, wx in ((0, 1 - (x - column)), (1, x - column)):
                if row + dy < side and column + dx < side:
                    kernel[row + dy, column + dx] += wx * wy
    return kernel / kernel.sum()


@lru_cache(maxsize=4)
def _noise_tile(height: int, width: int) -> NDArray[np.float32]:
    """Normal noise, float32 ``(height, width, 3)``, the same in every process."""
    return np.random.default_rng(20).standard_normal((height, width, 3), dtype=np.float32)
