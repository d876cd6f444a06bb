"""What the procedural videos show: motion, textures, shapes, look-alikes, difficulty."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vos_zoo.data.synthetic.scene import draw_scene
from vos_zoo.data.synthetic.scene_draws import Cast
from vos_zoo.data.synthetic.shapes import NUMBERS, SHAPES, distance_map, neighbour
from vos_zoo.data.synthetic.textures import draw_palette, object_texture, palette_distance, value_noise
from vos_zoo.data.synthetic.videos import SyntheticSequence, SyntheticSettings


def test_objects_leave_the_picture_and_return() -> None:
    left = returned = 0
    for number in range(30):
        sequence = SyntheticSequence(number, SyntheticSettings(size=(48, 80)))
        _, labels = sequence.tensors()
        for identity, start in zip(sequence.object_ids, sequence.starts, strict=True):
            areas = (labels[start:] == identity).sum(dim=(1, 2))
            gone = torch.nonzero(areas == 0).flatten()
            left += len(gone) > 0
            returned += len(gone) > 0 and bool((areas[int(gone[0]) :] > 8).any())
    assert left >= 3
    assert returned >= 2


def copying_score(difficulty: float) -> float:
    """Mean J of the starting mask against the last six frames."""
    scores = []
    for number in range(8):
        sequence = SyntheticSequence(number, SyntheticSettings(size=(40, 64), difficulty=difficulty, late_objects=0))
        _, labels = sequence.tensors()
        for identity in sequence.object_ids:
            masks = labels == identity
            overlap = (masks[0] & masks[-6:]).sum(dim=(1, 2))
            union = (masks[0] | masks[-6:]).sum(dim=(1, 2))
            scores.append(float((overlap / union).mean()))
    return float(np.mean(scores))


def test_copying_the_first_mask_is_poor_by_default_and_fair_on_easy_videos() -> None:
    easy, usual = copying_score(0.0), copying_score(1.0)
    assert usual < 0.25
    assert easy > 0.6


def test_objects_stand_out_from_what_surrounds_them() -> None:
    contrasts = []
    for number in range(16):
        sequence = SyntheticSequence(number, SyntheticSettings(size=(48, 80)))
        frame, labels = sequence.frame(0).astype(np.float32), sequence.labels(0)
        objects = torch.from_numpy(labels > 0).float()[None]
        near = (torch.nn.functional.max_pool2d(objects, 11, stride=1, padding=5)[0] > 0).numpy() & (labels == 0)
        contrasts += [np.linalg.norm(frame[labels == k].mean(0) - frame[near].mean(0)) for k in np.unique(labels)[1:]]
    assert np.median(contrasts) > 50
    assert np.quantile(contrasts, 0.1) > 25


def test_no_two_textures_are_alike() -> None:
    """Of 60 objects' textures none correlates strongly with another in both colour and pattern."""
    textures = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        texture = object_texture(rng, draw_palette(rng), 40).reshape(3, -1)
        textures.append(texture)
    flat = np.stack(textures)
    means = flat.mean(-1)
    patterns = flat.mean(1) - flat.mean(1).mean(-1, keepdims=True)
    patterns /= np.linalg.norm(patterns, axis=-1, keepdims=True)
    correlation = np.abs(patterns @ patterns.T)
    colours = np.linalg.norm(means[:, None] - means[None], axis=-1)
    others = ~np.eye(60, dtype=bool)
    assert correlation[others].max() < 0.9
    assert not ((correlation > 0.6) & (colours < 10) & others).any()


def test_every_texture_has_structure() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        assert object_texture(rng, draw_palette(rng), 40).std(axis=(1, 2)).max() > 6


@pytest.mark.parametrize("family", sorted(SHAPES))
def test_shapes_fill_their_square_without_touching_its_border(family: str) -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(15):
        outline = distance_map(family, rng.random(NUMBERS), 48)
        border = np.concatenate([outline[0], outline[-1], outline[:, 0], outline[:, -1]])
        assert (border == -1).all()
        shares.append((outline > 0).mean())
    assert min(shares) > 0.15
    assert max(shares) < 0.9
    assert np.std(shares) > 0.002


@pytest.mark.parametrize("family", sorted(SHAPES))
def test_neighbouring_numbers_give_neighbouring_outlines(family: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        numbers = rng.random(NUMBERS)
        first, near, far = (
            distance_map(family, p, 48) > 0 for p in (numbers, neighbour(rng, numbers, 0.02), rng.random(NUMBERS))
        )
        assert (first & near).sum() / (first | near).sum() > 0.75
        assert (first != near).sum() <= max((first != far).sum(), 60)


def test_rings_have_holes() -> None:
    outline = distance_map("ring", np.full(NUMBERS, 0.5), 48) > 0
    assert not outline[24, 24]
    assert outline.sum() > 300


def test_noise_is_smooth_and_bounded() -> None:
    field = value_noise(np.random.default_rng(0), (50, 70), 10)
    assert field.shape == (50, 70)
    assert 0 <= field.min() < field.max() <= 1
    assert np.abs(np.diff(field, axis=0)).max() < 0.2


def test_a_palette_is_at_no_distance_from_itself_and_black_is_far_from_white() -> None:
    palette = draw_palette(np.random.default_rng(0))
    assert palette_distance(palette, palette) == 0
    assert palette_distance(np.zeros((4, 3), np.float32), np.full((4, 3), 255, np.float32)) > 100


def test_difficulty_brings_look_alikes_and_occluders() -> None:
    def extras(difficulty: float) -> int:
        cast = Cast((32, 48), 10, (0,), difficulty)
        scenes = [draw_scene(np.random.default_rng(seed), cast) for seed in range(15)]
        return sum(layer.label == 0 for scene in scenes for layer in scene.layers)

    assert extras(0.0) == 0
    assert extras(1.0) > 5
    assert extras(3.0) > extras(1.0)


def test_the_scenery_reaches_beyond_what_the_camera_sees() -> None:
    """The repeated border of the scenery never shows: no row or column of a frame equals its neighbour."""
    for number in range(5):
        sequence = SyntheticSequence(number, SyntheticSettings(size=(40, 64), frames=60, difficulty=2.0))
        camera, ground = sequence.scene.camera, sequence.scene.ground
        times = np.arange(0.0, 5000.0)
        pose = camera.ground(times)
        for sx in (-32, 32):
            for sy in (-20, 20):
                cos, sin = np.cos(pose.angle), np.sin(pose.angle)
                u = ((sx - pose.x) * cos + (sy - pose.y) * sin) / pose.scale_x
                v = ((sy - pose.y) * cos - (sx - pose.x) * sin) / pose.scale_y
                assert np.abs(u).max() <= ground.shape[2] / 2
                assert np.abs(v).max() <= ground.shape[1] / 2
