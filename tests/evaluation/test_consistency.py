"""What a backward pass says of a tracked video, with a tracker that repeats its prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch

from vos_zoo.evaluation.consistency import backward_agreement, lowest_so_far
from vos_zoo.types import Frame, FrameResult, LabelMap

LENGTH, NAN = 5, np.nan


def masks(t: int) -> LabelMap:
    """Object 1 has columns 0..3 and moves by one column from frame 3 on; object 2 has row 7 up to frame 2."""
    labels = np.zeros((8, 12), np.uint8)
    labels[:4, 0:4] = 1 if t < 3 else 0
    labels[:4, 1:5] = labels[:4, 1:5] if t < 3 else 1
    labels[7] = 2 if t < 3 else 0
    return labels


def frozen(frames: Iterable[Frame], prompts: Mapping[int, LabelMap]) -> Iterator[FrameResult]:
    """Every object keeps the mask that was given."""
    ids, planes = [], []
    for index, _ in enumerate(frames):
        for identity in sorted(set(np.unique(prompts.get(index, 0)).tolist()) - {0}):
            ids.append(identity)
            planes.append(torch.from_numpy(prompts[index] == identity).float())
        own = torch.stack(planes)
        yield FrameResult(index, tuple(ids), torch.cat([1 - own.sum(0, keepdim=True), own]))


def test_the_backward_pass_starts_from_each_objects_last_mask_and_is_compared_in_every_frame() -> None:
    asked: list[int] = []
    found = backward_agreement(
        frozen, lambda t: asked.append(t) or np.zeros((8, 12, 3), np.uint8), masks, range(LENGTH), [1, 2, 3]
    )
    np.testing.assert_allclose(found[1], [3 / 5, 3 / 5, 3 / 5, 1, 1])
    np.testing.assert_allclose(found[2], [1, 1, 1, NAN, NAN])
    assert np.isnan(found[3]).all(), "it has no mask"
    assert asked == [4, 3, 2, 1, 0]


def test_frames_without_masks_are_left_out() -> None:
    found = backward_agreement(frozen, lambda t: np.zeros((8, 12, 3), np.uint8), masks, [0, 2], [2])
    np.testing.assert_allclose(found[2], [1, 1])


def test_masks_are_in_doubt_from_the_first_frame_in_which_the_passes_differ() -> None:
    np.testing.assert_allclose(lowest_so_far(np.array([0.9, NAN, 0.4, 0.8, 1.0])), [0.9, NAN, 0.4, 0.4, 0.4])
