"""Prompts as they are entered into the book of a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.prompts import ObjectPrompt, check_id
from vos_zoo.session.prompt_book import BookState, GivenPrompt, ObjectInfo, PackedMask, PromptBook
from vos_zoo.types import Box, Points, UsageError


def given_state(book: PromptBook, frame: int, parsed: Mapping[int, ObjectPrompt], restart: bool) -> BookState:
    """The book's current state with the prompts of a frame, see `Session.give`.

    Args:
        book: gives keys to new objects.
        frame: its number.
        parsed: id -> bool mask ``(H, W)``, box or points.
        restart: known objects start anew.

    Raises:
        UsageError: an object does not exist in the frame.
    """
    state = book.now
    keys = {info.identity: key for key, info in state.objects.items()}
    for identity in parsed:
        if identity not in keys:
            keys[identity] = book.new_key(identity)
            state = state.with_object(keys[identity], ObjectInfo(identity))
        info = state.objects[keys[identity]]
        if not info.exists_in(frame):
            raise UsageError(
                f"object {identity} exists from frame {info.start} to {info.stop} only; widen its range (restrict) "
                f"before it is given in frame {frame}"
            )
    masks = [hint for hint in parsed.values() if isinstance(hint, np.ndarray)]
    given = {keys[identity]: hint for identity, hint in parsed.items()}
    held: dict[int, GivenPrompt] = {}
    for key, prompt in state.given.get(frame, {}).items():
        rest = None if key in given else _without_pixels(prompt, masks)
        if rest is not None:
            held[key] = rest
    for key, hint in given.items():
        held[key] = GivenPrompt(PackedMask.of(hint) if isinstance(hint, np.ndarray) else hint, restart)
    return state.with_given(frame, held)


def one_object_prompt(prompt: Any, identity: int) -> Any:
    """A prompt of one object as a prompt by id."""
    if isinstance(prompt, Box | Points | tuple | list) or (isinstance(prompt, np.ndarray) and prompt.shape == (4,)):
        return {identity: prompt}
    check_id(identity, "object")
    mask = np.asarray(prompt.detach().cpu() if hasattr(prompt, "detach") else prompt)
    if mask.ndim != 2 or mask.dtype.kind not in "biu":
        raise UsageError(
            f"object {identity} is given as {mask.dtype} {mask.shape}; give its mask (H, W) of bools or of 0 and 1, a "
            "box (x, y, w, h) or Points"
        )
    values = np.unique(mask)
    if not set(values.tolist()) <= {0, 1, identity, 255}:
        raise UsageError(
            f"object {identity}: its mask has the values {values[:5].tolist()}; give 0 and 1, or leave object=... out"
        )
    return np.where(mask != 0, identity, 0).astype(np.uint8)


def _without_pixels(given: GivenPrompt, masks: list[NDArray[np.bool_]]) -> GivenPrompt | None:
    """A given mask without the pixels of others; None if nothing is left. Boxes and points stay."""
    if not isinstance(given.hint, PackedMask) or not masks:
        return given
    own = given.hint.unpacked()
    rest = own & ~np.any(masks, axis=0)
    if not rest.any():
        return None
    return given if rest.sum() == own.sum() else replace(given, hint=PackedMask.of(rest))
