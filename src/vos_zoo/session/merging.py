"""Two objects that turn out to be one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vos_zoo.session.prompt_book import BookState, GivenPrompt, PackedMask
from vos_zoo.types import UsageError

MaskIn = Callable[[int, int], "NDArray[np.bool_] | None"]
"""Mask ``(H, W)`` of an object (by key) in a frame, given or found; None: not known."""


def merged_state(state: BookState, identity: int, into: int, mask_in: MaskIn) -> BookState:
    """The state in which an object has become part of another, see `Session.merge`."""
    if identity == into:
        raise UsageError(f"object {identity} cannot be merged with itself")
    gone, kept = state.key_of(identity), state.key_of(into)
    merged = state.without(gone)
    info, other = state.objects[kept], state.objects[gone]
    stop = None if info.stop is None or other.stop is None else max(info.stop, other.stop)
    merged = BookState({**merged.objects, kept: type(info)(into, min(info.start, other.start), stop)}, merged.given)
    for frame, given in state.given.items():
        own = [given[key] for key in (kept, gone) if key in given]
        if not own:
            continue
        union: NDArray[np.bool_] | None = None
        for key in (kept, gone):
            mask = mask_in(frame, key)
            if mask is None and key in given:
                raise UsageError(
                    f"object {state.objects[key].identity} is given in frame {frame} without a mask; run it first"
                )
            if mask is not None:
                union = mask if union is None else union | mask
        assert union is not None
        prompt = GivenPrompt(PackedMask.of(union), any(each.restart for each in own))
        merged = merged.with_given(frame, {**merged.given.get(frame, {}), kept: prompt})
    return merged
