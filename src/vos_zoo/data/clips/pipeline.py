"""Augmentation by albumentations as the configuration lists it (`data.augment.pipeline`), one draw per clip."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.clips.crops import tight_box
from vos_zoo.data.clips.transforms import Clip, albumentations
from vos_zoo.types import UsageError

KEY = "data.augment.pipeline"
_CONTAINERS = ("OneOf", "SomeOf", "Sequential", "OneOrOther", "RandomOrder")


class ClipPipeline:
    """Albumentations' transforms over the finished canvases of a clip, the same for all its frames and masks.

    Pictures are 8-bit for it (float canvases are rounded); masks are moved by nearest neighbour and their boxes are
    computed again.

    Args:
        steps: transforms in order, each a name or ``{name: keywords}``; of the containers OneOf, SomeOf, Sequential,
            OneOrOther and RandomOrder, `transforms` is such a list again.
        size: height and width of the canvases, which no transform may change.

    Raises:
        UsageError: unknown transform or keyword, a wrong value, or a transform that changes the size or does not move
            masks with pictures.
    """

    def __init__(self, steps: Sequence[str | Mapping[str, Any]], size: tuple[int, int]) -> None:
        self.steps = steps
        self._compose = albumentations().Compose([_build(step) for step in steps])
        blank = np.zeros((1, *size, 3), dtype=np.uint8), np.zeros((1, *size), dtype=np.uint8)
        for seed in range(8):  # a transform with a probability may leave the first ones alone
            self._compose.set_random_seed(seed)
            moved = self._run(*blank)
            if moved[0].shape != blank[0].shape or moved[1].shape != blank[1].shape:
                found = "x".join(str(side) for side in moved[0].shape[1:3])
                raise UsageError(f"{KEY} makes canvases of {size[0]}x{size[1]} into {found}; they must keep their size")

    def __call__(self, clip: Clip, random: np.random.Generator) -> Clip:
        """The clip with its frames, masks and boxes augmented.

        Args:
            clip: canvases ``(T, 3, h, w)`` and masks ``(T, K, h, w)``.
            random: source of all draws.
        """
        self._compose.set_random_seed(int(random.integers(2**31)))
        pictures = np.rint(clip.frames).astype(np.uint8).transpose(0, 2, 3, 1)
        count, slots = clip.masks.shape[:2]
        moved, masks = self._run(
            np.ascontiguousarray(pictures), clip.masks.reshape(count * slots, *pictures.shape[1:3])
        )
        masks = masks.reshape(clip.masks.shape)
        boxes = np.zeros_like(clip.boxes)
        for place in np.ndindex(count, slots):
            boxes[place] = tight_box((masks[place] > 0).astype(np.uint8)) or (0.0, 0.0, 0.0, 0.0)
        frames = np.ascontiguousarray(moved.transpose(0, 3, 1, 2)).astype(clip.frames.dtype)
        return replace(clip, frames=frames, masks=np.ascontiguousarray(masks), boxes=boxes)

    def _run(self, pictures: NDArray[np.uint8], masks: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        moved = self._compose(images=pictures, masks=masks)
        return np.asarray(moved["images"]), np.asarray(moved["masks"])


def _build(step: str | Mapping[str, Any]) -> Any:
    """The transform of one step."""
    library = albumentations()
    if isinstance(step, Mapping):
        if len(step) != 1:
            raise UsageError(f"{KEY}: {dict(step)!r} is no single transform; write {{Name: {{keyword: value}}}}")
        name, keywords = next(iter(step.items()))
    else:
        name, keywords = step, {}
    kind: Any = getattr(library, str(name), None)
    if not _is_transform(kind):
        known = [n for n in dir(library) if _is_transform(getattr(library, n))]
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{KEY}: albumentations has no transform {name!r} for pictures{hint}")
    keywords = dict(keywords or {})
    if name in _CONTAINERS:
        keywords["transforms"] = [_build(inner) for inner in keywords.get("transforms", [])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return kind(**keywords)
        except (TypeError, ValueError, UserWarning) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{KEY}: {name} refuses {keywords!r}: {reason}") from error


def _is_transform(found: object) -> bool:
    """Whether something of the library's can take part: pictures alone, pictures with masks, or a container."""
    library = albumentations()
    bases = (library.ImageOnlyTransform, library.DualTransform)
    if not isinstance(found, type) or found in bases or issubclass(found, library.Transform3D):
        return False
    return issubclass(found, bases) or found.__name__ in _CONTAINERS
