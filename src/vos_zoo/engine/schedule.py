"""When frames are read and written: the one rule of a method's clock, at run time and in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vos_zoo.engine.track_settings import TrackSettings


@dataclass(frozen=True)
class WriteSchedule:
    """Clips of `clip_length` frames, of which every `memory_every`-th is written; methods derive from it.

    Times are numbers of frames. In training `settings` is None.

    Attributes:
        clip_length: frames read per call.
        memory_every: write at most every n-th frame of an object's life.
        write_on_prompt: also write a frame in which somebody gives a mask.
        refines_in_training: whether the unroll writes between query frames; False: all of them are read at once.
    """

    clip_length: int = 1
    memory_every: int = 1
    write_on_prompt: bool = False
    refines_in_training: bool = True

    def frames_per_call(self, settings: TrackSettings | None) -> int:
        """Frames of a clip."""
        return self.clip_length

    def is_due(self, age: int, settings: TrackSettings) -> bool:
        """Whether a frame is written, `age` frames after the object (or prompt) it belongs to."""
        return age >= 1 and age % self.memory_every == 0

    def frames_to_write(
        self, ages: Sequence[int], since: Sequence[int], prompted: bool, settings: TrackSettings | None
    ) -> list[int]:
        """Positions of a segmented clip whose frames are written; by default all or none, as the last frame is due.

        Args:
            ages: per frame, frames since the object (with several objects on a canvas: the newest one) was given.
            since: per frame, frames since the last write before this clip, or since the last prompt.
            prompted: whether a mask is given in the last frame.
            settings: None: in training, where every clip is written.
        """
        if settings is None or (prompted and self.write_on_prompt) or self.is_due(ages[-1], settings):
            return list(range(len(ages)))
        return []
