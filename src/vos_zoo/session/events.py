"""What happens on the way through a video in one direction, and on which of it each frame depends."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator

from vos_zoo.session.prompt_book import BookState, GivenPrompt


class Events:
    """The prompts of a session, and the ends of its objects' ranges, in the order of a direction.

    Args:
        state: what is given.
        direction: 1 forward, -1 backward.
        length: frames of the video.
    """

    def __init__(self, state: BookState, direction: int, length: int) -> None:
        self.direction = direction
        self.length = length
        self._given = state.given
        self._drops: dict[int, list[int]] = {}
        for key, info in state.objects.items():
            end = info.stop if direction > 0 else info.start - 1
            if end is not None and 0 <= end < length and any(key in given for given in state.given.values()):
                self._drops.setdefault(end, []).append(key)
        self._objects = state.objects
        frames = sorted({*self._given, *self._drops}, key=self._place)
        if self._given:
            first = self._place(self.first)
            frames = [frame for frame in frames if self._place(frame) >= first]
        self._places = [self._place(frame) for frame in frames]
        self._stamps: list[str] = []
        digest = hashlib.sha256(b"")
        for frame in frames:
            held = sorted((key, given.digest) for key, given in self._given.get(frame, {}).items())
            digest.update(repr((frame, held, self._drops.get(frame, []))).encode())
            self._stamps.append(digest.hexdigest())

    def _place(self, frame: int) -> int:
        """Number of a frame in the order of the direction."""
        return frame if self.direction > 0 else -frame

    @property
    def first(self) -> int:
        """The frame in which the pass starts."""
        return min(self._given) if self.direction > 0 else max(self._given)

    def __bool__(self) -> bool:
        return bool(self._given)

    def given(self, frame: int) -> dict[int, GivenPrompt]:
        """What is given in a frame, by key."""
        return dict(self._given.get(frame, {}))

    def ended(self, frame: int) -> list[int]:
        """Objects that do not exist from this frame on."""
        return self._drops.get(frame, [])

    def stamp(self, frame: int) -> str:
        """A digest of everything that happens up to and in a frame; empty before the first prompt."""
        at = bisect_right(self._places, self._place(frame))
        return self._stamps[at - 1] if at else ""

    def covers(self, frame: int) -> bool:
        """Whether the pass has a result of this frame that the other direction might not have.

        Backward, the frame of the last prompt is covered by the forward pass.
        """
        if not self._given:
            return False
        return frame >= self.first if self.direction > 0 else frame < self.first

    def distance(self, frame: int, key: int) -> int | None:
        """Frames since an object was last given, in this direction; None if it was not, or its range has ended."""
        info = self._objects.get(key)
        if info is None or not info.exists_in(frame):
            return None
        place = self._place(frame)
        past = [place - self._place(t) for t, given in self._given.items() if key in given]
        return min((gap for gap in past if gap >= 0), default=None)

    def order(self, start: int, stop: int) -> Iterator[int]:
        """Frames ``[start, stop)`` in the order of the direction."""
        return iter(range(start, stop) if self.direction > 0 else range(stop - 1, start - 1, -1))
