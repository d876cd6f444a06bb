"""What users change in a session: prompts and objects, with undo and redo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vos_zoo.engine.box_start import BoxStart
from vos_zoo.prompts import ObjectPrompt, PromptParser, objects_in
from vos_zoo.session.frames import FrameStore
from vos_zoo.session.given import given_state, one_object_prompt
from vos_zoo.session.merging import merged_state
from vos_zoo.session.prompt_book import ObjectInfo, PromptBook
from vos_zoo.session.reading import FrameReader
from vos_zoo.types import Prompt, UsageError


class Editing:
    """The part of a session that changes what is given.

    Attributes:
        frames: of the video.
        book: of the prompts.
    """

    frames: FrameStore
    book: PromptBook
    _parser: PromptParser
    _boxes: BoxStart
    _reader: FrameReader

    # -- what is given -----------------------------------------------------------------------------------------------

    @property
    def ids(self) -> list[int]:
        """Ids of the objects, ascending."""
        return self.book.now.ids

    @property
    def given(self) -> dict[int, tuple[int, ...]]:
        """Frame -> ids of the objects that are given in it."""
        state = self.book.now
        return {t: tuple(state.objects[key].identity for key in given) for t, given in state.given.items()}

    def give(self, frame: int, prompt: Any, *, object: int | None = None, restart: bool = False) -> None:
        """Give objects in a frame: new ones, or corrections of known ones.

        What was given of these objects in the same frame is replaced; other objects lose pixels of masks given here.

        Args:
            frame: its number.
            prompt: a label map ``(H, W)`` (0: nothing said, 1..254: ids), or id -> box (x, y, w, h) or `Points`; with
                `object` the object's mask ``(H, W)`` of bools or of 0 and 1, its box or its `Points`.
            object: id of the one object.
            restart: known objects forget what they learnt before, instead of learning the prompt in addition.

        Raises:
            UsageError: there is no such frame, the prompt is invalid or holds no object, or an object does not exist
                in the frame.
        """
        self._check_frame(frame)
        parsed = self._parse(frame, prompt, object)
        self.book.change(given_state(self.book, frame, parsed, restart))

    def take_back(self, frame: int, ids: list[int] | None = None) -> None:
        """Remove what was given in a frame, of all objects or of `ids`; an object without a prompt is not tracked.

        Raises:
            UsageError: nothing is given there.
        """
        state = self.book.now
        held = dict(state.given.get(frame, {}))
        for key in list(held) if ids is None else [state.key_of(identity) for identity in ids]:
            if key not in held:
                raise UsageError(f"object {state.objects[key].identity} is not given in frame {frame}")
            del held[key]
        if ids is None and frame not in state.given:
            raise UsageError(f"nothing is given in frame {frame}; frames with prompts are {sorted(state.given)}")
        self.book.change(state.with_given(frame, held))

    def undo(self) -> bool:
        """Return to the prompts and objects before the last change; False if there is none."""
        return self.book.undo()

    def redo(self) -> bool:
        """Take back an undo; False if there is none."""
        return self.book.redo()

    # -- objects -----------------------------------------------------------------------------------------------------

    def remove(self, identity: int) -> None:
        """Remove an object and its prompts; the other objects' results are stale, as objects compete for pixels."""
        state = self.book.now
        self.book.change(state.without(state.key_of(identity)))

    def rename(self, identity: int, new: int) -> None:
        """Give an object another id; nothing is computed again."""
        state = self.book.now
        key = state.key_of(identity)
        self.book.change(state.with_object(key, replace(state.objects[key], identity=new)))

    def merge(self, identity: int, into: int) -> None:
        """Make one object of two: in every frame in which one of them is given, `into` has the pixels of both.

        Where one of them is not given in such a frame, its result there is taken, if there is one.

        Raises:
            UsageError: an object is given as box or points in a frame that has no result yet.
        """
        self.book.change(merged_state(self.book.now, identity, into, self._reader.mask))

    def restrict(self, identity: int, start: int = 0, stop: int | None = None) -> None:
        """Say that an object exists in the frames ``[start, stop)`` only; stop None: to the end of the video.

        Raises:
            UsageError: it is given outside of them.
        """
        state = self.book.now
        key = state.key_of(identity)
        self.book.change(state.with_object(key, ObjectInfo(identity, start, stop)))

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _parse(self, frame: int, prompt: Any, identity: int | None) -> dict[int, ObjectPrompt]:
        """What a prompt gives of each object, by id."""
        parser = self._parser
        if identity is not None:
            parser, prompt = PromptParser(), one_object_prompt(prompt, identity)
        parsed: Prompt | None = parser.parse_one(prompt, frame, self.frames.size, needed=True)
        assert parsed is not None
        self._boxes.prepare(parsed)
        return objects_in(parsed)

    def _check_frame(self, frame: Any) -> None:
        if not isinstance(frame, int | np.integer) or isinstance(frame, bool) or not 0 <= frame < self.frames.length:
            raise UsageError(f"there is no frame {frame!r}; the video has {self.frames.length}, numbered from 0")
