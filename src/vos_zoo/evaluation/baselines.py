"""The copy baseline: each object's given mask is repeated in every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from vos_zoo.types import Frame, FrameResult, LabelMap, Points, Prompt


def copy_first_mask(frames: Iterable[Frame], prompts: Mapping[int, Prompt]) -> Iterator[FrameResult]:
    """Repeat every given mask (or the rectangle of a given box) in all later frames.

    A late object's mask overwrites older ones; a new mask for a known id replaces the old one.

    Args:
        frames: uint8 RGB ``(H, W, 3)`` each.
        prompts: frame index -> label map uint8 ``(H, W)`` (0 = no label) or ``{object id: (x, y, w, h)}``.

    Yields:
        One result per frame with probabilities 0 or 1, float32 ``(N+1, H, W)``.
    """
    import torch

    ids: list[int] = []
    for index, frame in enumerate(frames):
        if index == 0:
            labels = np.zeros(frame.shape[:2], dtype=np.uint8)
        if index in prompts:
            given = prompt_labels(prompts[index], (frame.shape[0], frame.shape[1]))
            present = [int(value) for value in np.unique(given) if value]
            labels[np.isin(labels, present)] = 0
            labels = np.where(given > 0, given, labels)
            ids += [value for value in present if value not in ids]
        planes = np.asarray((0, *ids), dtype=np.uint8)[:, None, None] == labels
        yield FrameResult(index, tuple(ids), torch.from_numpy(planes.astype(np.float32)))


def prompt_labels(prompt: Prompt, size: tuple[int, int]) -> LabelMap:
    """A prompt as label map, uint8 ``(H, W)``; boxes become filled rectangles, the later one on top, points pixels.

    Args:
        prompt: label map, or boxes and points by object id.
        size: (height, width) of the frame.
    """
    if not isinstance(prompt, Mapping):
        return prompt
    labels = np.zeros(size, dtype=np.uint8)
    for identity, hint in prompt.items():
        if isinstance(hint, Points):
            for x, y in hint.positive:
                labels[int(y), int(x)] = identity
            continue
        x, y, w, h = hint
        left, top = max(round(x), 0), max(round(y), 0)
        labels[top : max(round(y + h), 0), left : max(round(x + w), 0)] = identity
    return labels
