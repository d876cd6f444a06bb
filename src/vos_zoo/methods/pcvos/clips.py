"""Which frames of a clip must be computed so that the requested ones are exact.

This is item 8 of docs/methods/pcvos.md, "Computed differently, with the same result".

A refined frame depends on its neighbours in time through the windows of all blocks, and on the frames that joined the
memory before it. Windows divide a clip from its first frame on, so a part of a clip has unchanged results if it
starts at a multiple of the window and its last window is as full as in the whole clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reach:
    """The refinement's extent in time.

    Attributes:
        window: frames of a window.
        shifts: by how many frames each block rolls the clip, in the order of the blocks.
    """

    window: int
    shifts: tuple[int, ...]


def seen_from(frame: int, length: int, reach: Reach) -> set[int]:
    """Frames of a clip that the refined `frame` depends on."""
    seen = {frame}
    for shift in reversed(reach.shifts):
        seen = in_one_window(seen, length, reach.window, shift)
    return seen


def in_one_window(frames: set[int], length: int, window: int, shift: int) -> set[int]:
    """Frames of a clip that share a window with some of `frames` in one block, these included."""
    if length <= window:
        return set(range(length))
    padded = -(-length // window) * window
    wider: set[int] = set()
    for member in frames:
        place = (member - shift) % padded // window
        rolled = range(place * window, (place + 1) * window)
        # The roll puts frames from both ends into the last window, where its mask separates them.
        wider |= {(p + shift) % padded for p in rolled if (p + shift >= padded) == (member < shift)}
    return {member for member in wider if member < length}


def refined_runs(length: int, needed: Sequence[int], reach: Reach) -> list[tuple[int, int]]:
    """Ranges ``[start, stop)`` of a clip that, refined separately, give the `needed` frames exactly.

    They start and end at windows. A range of one window is extended, as it would be refined without a shift.

    Args:
        length: frames of the clip.
        needed: positions, ascending.
        reach: of the refinement.
    """
    window = reach.window
    if length <= window or not needed:
        return [(0, length)] if needed else []
    blocks = {member // window for frame in needed for member in seen_from(frame, length, reach)}
    if any(reach.shifts):
        for block in sorted(blocks):
            if block - 1 not in blocks and block + 1 not in blocks:
                blocks.add(block - 1 if block > 0 else block + 1)
    starts = [block for block in sorted(blocks) if block - 1 not in blocks]
    stops = [block + 1 for block in sorted(blocks) if block + 1 not in blocks]
    return [(a * window, min(b * window, length)) for a, b in zip(starts, stops, strict=True)]


def plan_frames(length: int, needed: Sequence[int], reach: Reach | None, segment: int | None) -> tuple[int, ...]:
    """Positions of a clip that have to be encoded and read, ascending.

    Args:
        length: frames of the clip.
        needed: positions of the requested frames, ascending.
        reach: of the refinement; None: there is none.
        segment: frames after which the clip's own readouts are added to the memory; None: never.
    """
    runs = [(frame, frame + 1) for frame in needed] if reach is None else refined_runs(length, needed, reach)
    frames = {frame for start, stop in runs for frame in range(start, stop)}
    if segment is not None and frames:
        frames |= set(range(segment - 1, max(frames) // segment * segment, segment))
    return tuple(sorted(frames))
