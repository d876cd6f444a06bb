"""Renders synthetic scenes with tensor operations, all frames of a chunk at once, on any device.

Data shape: the canvas is float32 ``(3, T, H, W)``, channels first, so that one `grid_sample` call renders a layer in
all frames. Pixels are computed by additions, multiplications and look-ups only, whose rounding does not depend on how
the work
is split: a frame is bit-identical in any chunk and process (on one kind of device).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vos_zoo.data.synthetic.motion import Pose, Times, window
from vos_zoo.data.synthetic.scene import Layer, SyntheticScene
from vos_zoo.tensors import cached_tensors

_NOISE_MARGIN = 61  # the noise tile is this much larger than a frame, and every frame uses its own window of it
_WIDEST_EDGE = 3.0  # pixels; maximum softness of a fast object's edge
_LEAST_SHARPNESS = 8.0  # an edge fades within an eighth of half a sprite, the margin that outlines leave at its border


def render(
    scene: SyntheticScene, frames: NDArray[np.int64], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Frames and exact masks of the scene.

    Args:
        scene: the scene.
        frames: ascending frame numbers, (T,).
        device: device of the computation.

    Returns:
        RGB, uint8 (T, H, W, 3), and label maps, uint8 (T, H, W): for every pixel the topmost object whose
        outline contains the pixel's centre. Both on `device`.
    """
    times = frames.astype(np.float64)
    canvas = _draw_ground(scene, times, device)
    labels = torch.zeros(canvas.shape[1:], dtype=torch.uint8, device=device)
    for layer in scene.layers:
        _draw_layer(scene, layer, frames, labels, canvas)
    canvas = _blur(scene, times, canvas)
    _light(scene, times, canvas)
    _add_noise(scene, times, canvas)
    pixels = canvas.clamp_(0, 255).add_(0.5).to(torch.uint8)
    return pixels.permute(1, 2, 3, 0).contiguous(), labels


def render_labels(scene: SyntheticScene, frames: NDArray[np.int64], device: torch.device | str = "cpu") -> Tensor:
    """The label maps alone, uint8 (T, H, W) on `device`; the same as those of `render`."""
    labels = torch.zeros((len(frames), *scene.size), dtype=torch.uint8, device=device)
    for layer in scene.layers:
        _draw_layer(scene, layer, frames, labels, None)
    return labels


def _column(values: Times, device: torch.device | str) -> Tensor:
    """(T,) float64 -> (T, 1, 1) float32 on the device."""
    return torch.from_numpy(values.astype(np.float32)).to(device)[:, None, None]


def _axis(start: int, stop: int, length: int, device: torch.device | str) -> Tensor:
    """Pixel centres start..stop-1 as distances from the middle of an axis of `length` pixels, float32 (n,)."""
    return torch.arange(start, stop, dtype=torch.float32, device=device) + (0.5 - length / 2)


def _local(pose: Pose, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel positions x (w,) and y (h,) in the coordinates of the layer's square, two tensors (T, h, w)."""
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    rows = ((cos, sin, pose.scale_x), (-sin, cos, pose.scale_y))
    places = []
    for a, b, scale in rows:
        a, b = a / scale, b / scale
        shift = -(a * pose.x + b * pose.y)
        a_t, b_t, shift_t = (_column(values, x.device) for values in (a, b, shift))
        places.append(x[None, None] * a_t + (y[None, :, None] * b_t + shift_t))
    return places[0], places[1]


def _sample(texture: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Bilinear look-up of texture (C, S, S') at u, v (T, h, w) in -1..1: (C, T, h, w)."""
    count, height, width = u.shape
    grid = torch.stack((u, v), dim=-1).view(1, count * height, width, 2)
    drawn = F.grid_sample(texture[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return drawn.view(texture.shape[0], count, height, width)


def _draw_ground(scene: SyntheticScene, times: Times, device: torch.device | str) -> Tensor:
    """The scenery in camera view, float32 (3, T, H, W)."""
    height, width = scene.size
    ground = torch.from_numpy(scene.ground).to(device)
    pose = scene.camera.ground(times)
    zoom = pose._replace(scale_x=pose.scale_x * (ground.shape[2] / 2), scale_y=pose.scale_y * (ground.shape[1] / 2))
    u, v = _local(zoom, _axis(0, width, width, device), _axis(0, height, height, device))
    return _sample(ground, u, v)


def _draw_layer(
    scene: SyntheticScene, layer: Layer, frames: NDArray[np.int64], labels: Tensor, canvas: Tensor | None
) -> None:
    """Paint one layer over the canvas (3, T, H, W) and the label maps (T, H, W), in place."""
    first = int(np.searchsorted(frames, layer.start))
    times = frames[first:].astype(np.float64)
    pose = scene.camera.film(layer.motion.pose(times), times)
    box = window(pose, scene.size) if len(times) else None
    if box is None:
        return
    top, bottom, left, right = box
    height, width = scene.size
    u, v = _local(pose, _axis(left, right, width, labels.device), _axis(top, bottom, height, labels.device))
    if pose.bend.any() or pose.arch.any() or pose.curve.any():
        bend, curve, arch = (_column(values, labels.device) for values in (pose.bend, pose.curve, pose.arch))
        u = u + v * v * (v * curve + bend)
        v = v + u * u * arch
    sprite = torch.from_numpy(layer.sprite if canvas is not None else layer.sprite[3:]).to(labels.device)
    drawn = _sample(sprite, u, v)
    outline = drawn[-1]
    if layer.sprite.shape[0] == 5:
        morph = _column(pose.morph, labels.device)
        outline = drawn[-2] * (1 - morph) + outline * morph
    part = (slice(first, None), slice(top, bottom), slice(left, right))
    labels[part].masked_fill_(outline > 0, layer.label)
    if canvas is not None:
        softness = np.minimum(1 + scene.light.shutter * _speed(scene, layer, times), _WIDEST_EDGE)
        sharpness = np.maximum(np.minimum(pose.scale_x, pose.scale_y) / softness, _LEAST_SHARPNESS)
        cover = (outline * _column(sharpness, labels.device) + 0.5).clamp_(0, 1)
        painted = canvas[(slice(None), *part)]
        painted += (drawn[:3] - painted) * cover


def _speed(scene: SyntheticScene, layer: Layer, times: Times) -> Times:
    """Speed of the layer in pixels per frame, (T,)."""
    before, after = (scene.camera.film(layer.motion.pose(at), at) for at in (times - 0.25, times + 0.25))
    return 2 * np.hypot(after.x - before.x, after.y - before.y)


def _blur(scene: SyntheticScene, times: Times, canvas: Tensor) -> Tensor:
    """Defocus, and motion blur of the camera: two passes of a three-tap filter per axis."""
    defocus = np.maximum(scene.light.defocus(times), 0)
    before, after = scene.camera.ground(times - 0.25), scene.camera.ground(times + 0.25)
    moved = (after.y - before.y, after.x - before.x)
    smears = [np.minimum(defocus + 0.1 * scene.light.shutter * np.abs(2 * way), 1 / 3) for way in moved]
    for axis, smear in zip((2, 3), smears, strict=True):
        if smear.max() < 0.02:
            continue
        weight = _column(np.where(smear < 0.02, 0, smear), canvas.device)
        for _ in range(2):
            canvas = _smear(canvas, weight, axis)
    return canvas


def _smear(canvas: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Every pixel gives `weight` (T, 1, 1) of itself to both neighbours on the axis; the border is replicated."""
    size = canvas.shape[axis]
    given = canvas * weight
    kept = canvas * (1 - 2 * weight)
    kept.narrow(axis, 1, size - 1).add_(given.narrow(axis, 0, size - 1))
    kept.narrow(axis, 0, 1).add_(given.narrow(axis, 0, 1))
    kept.narrow(axis, 0, size - 1).add_(given.narrow(axis, 1, size - 1))
    kept.narrow(axis, size - 1, 1).add_(given.narrow(axis, size - 1, 1))
    return kept


def _light(scene: SyntheticScene, times: Times, canvas: Tensor) -> None:
    """Gain per channel and a gradient over the frame, in place."""
    height, width = scene.size
    x = _axis(0, width, width, canvas.device) * (2 / width)
    y = _axis(0, height, height, canvas.device) * (2 / height)
    across, down = (_column(wave(times), canvas.device) for wave in scene.light.gradient)
    gains = torch.stack([_column(np.maximum(gain(times), 0.25), canvas.device) for gain in scene.light.gains])
    canvas *= x[None, None] * across + (y[None, :, None] * down + 1)
    canvas *= gains


@cached_tensors(maxsize=4)
def _noise_tile(height: int, width: int) -> Tensor:
    """Normal noise, float32 (3, height, width), the same in every process; on the CPU."""
    rng = np.random.default_rng(20)
    return torch.from_numpy(rng.standard_normal((3, height, width), dtype=np.float32))


def _add_noise(scene: SyntheticScene, times: Times, canvas: Tensor) -> None:
    """Sensor noise, in place: every frame gets a window of one noise tile at a position that does not repeat."""
    height, width = scene.size
    tile = _noise_tile(height + _NOISE_MARGIN, width + _NOISE_MARGIN).to(canvas.device) * scene.light.noise
    tops = np.mod(times * 0.7548776662 + scene.noise_seed, 1) * _NOISE_MARGIN
    lefts = np.mod(times * 0.5698402910 + 7 * scene.noise_seed, 1) * _NOISE_MARGIN
    for k, (top, left) in enumerate(zip(tops.astype(int), lefts.astype(int), strict=True)):
        canvas[:, k] += tile[:, top : top + height, left : left + width]
