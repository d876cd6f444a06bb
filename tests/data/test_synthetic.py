"""The procedural videos: reproducible to the byte, exact in their masks, and sent between processes."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.runs import call_apart
from vos_zoo.data.synthetic.videos import SPLITS, SyntheticDataset, SyntheticSequence, SyntheticSettings
from vos_zoo.types import UsageError

SMALL = SyntheticSettings(size=(48, 80), frames=10, min_objects=2, max_objects=4, late_objects=0.5)


def digest(sequence: SyntheticSequence) -> str:
    frames, labels = sequence.tensors()
    return hashlib.sha256(frames.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()


def digest_with_threads(number: int, settings: SyntheticSettings, threads: int) -> str:
    torch.set_num_threads(threads)
    return digest(SyntheticSequence(number, settings))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones() -> None:
    assert digest(SyntheticSequence(3, SMALL)) == digest(SyntheticSequence(3, SMALL))
    others = [SyntheticSequence(4, SMALL), SyntheticSequence(3, SMALL, split="val")]
    others.append(SyntheticSequence(3, SyntheticSettings(size=(48, 80), frames=10, seed=1)))
    assert len({digest(sequence) for sequence in [SyntheticSequence(3, SMALL), *others]}) == 4


def test_the_bytes_do_not_depend_on_the_process_or_its_threads() -> None:
    settings = SyntheticSettings(size=(129, 225), frames=7)
    assert call_apart(digest_with_threads, 5, settings, 3) == digest(SyntheticSequence(5, settings))


@pytest.mark.parametrize("number", range(4))
def test_any_range_of_frames_equals_the_same_frames_of_the_whole_video(number: int) -> None:
    sequence = SyntheticSequence(number, SyntheticSettings(size=(70, 101), frames=20, max_objects=4))
    frames, labels = sequence.tensors()
    for start, stop in ((0, 1), (7, 8), (3, 14), (19, 20)):
        part_frames, part_labels = SyntheticSequence(number, sequence.settings).tensors(start, stop)
        assert torch.equal(part_frames, frames[start:stop])
        assert torch.equal(part_labels, labels[start:stop])


def test_reading_frames_in_any_order_gives_what_the_tensors_hold() -> None:
    sequence = SyntheticSequence(0, SMALL)
    frames, labels = SyntheticSequence(0, SMALL).tensors()
    for index in (9, 0, 1, 2, 3, 4, 5, 2, 9, 6):
        np.testing.assert_array_equal(sequence.labels(index), labels[index].numpy())
        np.testing.assert_array_equal(sequence.frame(index), frames[index].numpy())
        np.testing.assert_array_equal(sequence.labels(index), labels[index].numpy())
    np.testing.assert_array_equal(sequence.frame(-1), frames[-1].numpy())
    with pytest.raises(IndexError, match="no frame 10"):
        sequence.frame(10)


def test_a_caller_that_paints_into_a_frame_does_not_change_the_video() -> None:
    sequence = SyntheticSequence(0, SMALL)
    before = sequence.frame(1)
    sequence.frame(1)[:] = 0
    sequence.labels(1)[:] = 9
    np.testing.assert_array_equal(sequence.frame(1), before)
    assert sequence.labels(1).max() < 9


def test_only_a_bounded_number_of_frames_is_kept() -> None:
    sequence = SyntheticSequence(0, SyntheticSettings(size=(16, 16), frames=300))
    for index in range(len(sequence)):
        sequence.frame(index)
    assert len(sequence._cache) <= 32


def test_the_masks_are_the_pixels_the_objects_paint() -> None:
    """Repainting one object's texture changes the picture inside its mask and its soft edge, and nowhere else."""
    from dataclasses import replace

    from vos_zoo.data.synthetic.render import render
    from vos_zoo.data.synthetic.scene import with_layers

    checked = 0
    for number in range(6):
        scene = SyntheticSequence(number, SyntheticSettings(size=(64, 96), min_objects=2)).scene
        still = replace(scene, light=replace(scene.light, defocus=type(scene.light.defocus)(), shutter=0.0, noise=0.0))
        inverted = [
            replace(layer, sprite=np.concatenate([255 - layer.sprite[:3], layer.sprite[3:]]))
            if layer.label == 1
            else layer
            for layer in still.layers
        ]
        moments = np.array([0, 11])
        frames, labels = render(still, moments)
        repainted, same_labels = render(with_layers(still, inverted), moments)
        assert torch.equal(labels, same_labels)
        changed = (frames.int() - repainted.int()).abs().amax(dim=-1)
        mask = (labels == 1).float()[:, None]
        grown = torch.nn.functional.max_pool2d(mask, 5, stride=1, padding=2)[:, 0] > 0
        shrunk = -torch.nn.functional.max_pool2d(-mask, 5, stride=1, padding=2)[:, 0] > 0
        assert not changed[~grown].any()
        checked += int(shrunk.sum())
        assert (changed[shrunk] > 2).float().mean() > 0.9 if shrunk.any() else True
    assert checked > 500


def test_taking_away_an_occluder_uncovers_objects_and_covers_none() -> None:
    from vos_zoo.data.synthetic.render import render_labels
    from vos_zoo.data.synthetic.scene import with_layers

    uncovered = 0
    for number in range(8):
        scene = SyntheticSequence(number, SyntheticSettings(size=(64, 96), difficulty=2.0)).scene
        bare = with_layers(scene, [layer for layer in scene.layers if layer.label])
        moments = np.arange(0, 24, 3)
        before, after = render_labels(scene, moments), render_labels(bare, moments)
        assert torch.equal(after[before > 0], before[before > 0])
        uncovered += int(((before == 0) & (after > 0)).sum())
    assert uncovered > 0


@given(
    height=st.integers(16, 60),
    width=st.integers(16, 90),
    frames=st.integers(1, 12),
    objects=st.tuples(st.integers(1, 6), st.integers(1, 6)).map(sorted),
    late=st.floats(0, 1),
    difficulty=st.floats(0, 4),
    seed=st.integers(0, 10**9),
    split=st.sampled_from(SPLITS),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_for_all_settings_objects_are_visible_where_they_start_and_absent_before(
    height: int, width: int, frames: int, objects: list[int], late: float, difficulty: float, seed: int, split: str
) -> None:
    asked = SyntheticSettings((height, width), frames, objects[0], objects[1], late, difficulty, seed)
    sequence = SyntheticSequence(seed % 7, asked, split=split)
    pictures, labels = sequence.tensors()
    assert pictures.shape == (frames, height, width, 3)
    assert labels.shape == (frames, height, width)
    assert pictures.dtype == labels.dtype == torch.uint8
    assert sequence.object_ids == tuple(range(1, len(sequence.object_ids) + 1))
    assert objects[0] <= len(sequence.object_ids) <= objects[1]
    assert set(labels.unique().tolist()) <= {0, *sequence.object_ids}
    assert sequence.starts[0] == 0 and sorted(sequence.starts) == list(sequence.starts)
    for number, start in zip(sequence.object_ids, sequence.starts, strict=True):
        assert not (labels[:start] == number).any()
        assert (labels[start] == number).sum() >= 8


def test_prompts_give_every_object_once_where_it_starts() -> None:
    late = 0
    for sequence in SyntheticDataset(12, "train", SMALL):
        given_ids: list[int] = []
        for index, labels in sequence.prompts().items():
            new = np.setdiff1d(labels, [0]).tolist()
            given_ids += new
            full = sequence.labels(index)
            assert full is not None
            np.testing.assert_array_equal(labels, np.where(np.isin(full, new), full, 0))
            late += index > 0
        assert tuple(given_ids) == sequence.object_ids
        assert 0 in sequence.prompts()
        assert sequence.has_labels(range(len(sequence))) and sequence.has_truth == (len(sequence) > 2)
    assert late > 3


def test_without_late_objects_all_start_in_the_first_frame() -> None:
    calm = SyntheticSettings(size=(32, 32), min_objects=4, max_objects=4, late_objects=0.0)
    assert all(SyntheticSequence(number, calm).starts == (0, 0, 0, 0) for number in range(10))


def test_splits_share_no_video() -> None:
    frames = [
        SyntheticSequence(number, SMALL, split=split).frame(0).tobytes() for split in SPLITS for number in range(5)
    ]
    names = [sequence.name for split in SPLITS for sequence in SyntheticDataset(5, split, SMALL)]
    assert len(set(frames)) == len(set(names)) == 15
    assert names[0] == "synthetic_train_00000"


def test_pixel_counts_are_those_of_the_label_maps() -> None:
    sequence = SyntheticSequence(1, SMALL)
    _, labels = sequence.tensors()
    assert tuple(sequence.pixel_counts()) == sequence.object_ids
    for identity, counts in sequence.pixel_counts().items():
        np.testing.assert_array_equal(counts, (labels == identity).sum(dim=(1, 2)).numpy())


def test_a_late_frame_of_an_endless_video_costs_no_more_than_an_early_one() -> None:
    sequence = SyntheticSequence(0, SyntheticSettings(size=(32, 48), frames=100_000, late_objects=0))
    frames, labels = sequence.tensors(99_990, 99_992)
    assert frames.shape == (2, 32, 48, 3)
    assert not torch.equal(frames[0], frames[1])
    assert set(labels.unique().tolist()) <= {0, *sequence.object_ids}


def test_the_data_set_behaves_as_a_sequence_and_crosses_process_borders() -> None:
    data = SyntheticDataset(12, "val", SMALL)
    assert len(data) == 12
    assert data[-1].name == data[11].name == "synthetic_val_00011"
    assert [sequence.name for sequence in data[2:4]] == ["synthetic_val_00002", "synthetic_val_00003"]
    with pytest.raises(IndexError, match="no video 12"):
        data[12]
    before = data[3].frame(0)
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy[3].frame(0), before)
    assert len(pickle.dumps(data[3])) < 10_000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": (8, 100)}, r"'data\.synthetic\.size' is \[8, 100\], expected at least 16"),
        ({"size": (64.5, 100)}, r"'data\.synthetic\.size' is \[64\.5, 100\], expected a list of integers"),
        ({"size": (64,)}, r"'data\.synthetic\.size' is \[64\], expected 2 values"),
        ({"frames": 0}, r"'data\.synthetic\.frames' is 0, expected at least 1"),
        ({"frames": 2.5}, r"'data\.synthetic\.frames' is 2\.5, expected an integer"),
        ({"min_objects": 0}, r"'data\.synthetic\.min_objects' is 0, expected at least 1"),
        ({"min_objects": 3, "max_objects": 2}, r"data\.synthetic: 3 to 2 objects; need 1 <= min_objects"),
        ({"max_objects": 7}, r"'data\.synthetic\.max_objects' is 7, expected at most 6"),
        ({"late_objects": 1.5}, r"'data\.synthetic\.late_objects' is 1\.5, expected at most 1"),
        ({"difficulty": -1.0}, r"'data\.synthetic\.difficulty' is -1\.0, expected at least 0"),
        ({"difficulty": float("nan")}, r"'data\.synthetic\.difficulty' is nan, expected at least 0"),
        ({"seed": -1}, r"'data\.synthetic\.seed' is -1, expected at least 0"),
    ],
)
def test_wrong_settings_are_refused_in_one_line_that_names_them(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        SyntheticSettings(**wrong)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_wrong_requests_to_sequences_and_data_sets_are_refused() -> None:
    for request, message in (
        (lambda: SyntheticDataset(0), "videos 0"),
        (lambda: SyntheticDataset(2, "dev"), "'dev'.*train, val, test"),
        (lambda: SyntheticSequence(0, split="dev"), "'dev'"),
        (lambda: SyntheticSequence(-1), "video -1"),
        (lambda: SyntheticSequence(0, SMALL).tensors(5, 11), "frames 5..11"),
        (lambda: SyntheticSequence(0, SMALL).tensors(5, 5), "frames 5..5"),
    ):
        with pytest.raises(UsageError, match=message):
            request()


def test_a_size_from_a_configuration_list_counts_as_a_pair() -> None:
    assert SyntheticSettings(size=[32, 48]).size == (32, 48)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_graphics_card_draws_the_same_videos() -> None:
    sequence = SyntheticSequence(1, SMALL)
    frames, labels = sequence.tensors()
    frames_gpu, labels_gpu = sequence.tensors(device="cuda")
    assert frames_gpu.is_cuda and labels_gpu.is_cuda
    assert (labels_gpu.cpu() == labels).float().mean() > 0.995
    assert (frames_gpu.cpu().int() - frames.int()).abs().float().mean() < 1.0
