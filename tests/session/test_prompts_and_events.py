"""The book of prompts and what follows from it for each frame, without a network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.session.events import Events
from vos_zoo.session.given import given_state, one_object_prompt
from vos_zoo.session.prompt_book import GivenPrompt, ObjectInfo, PackedMask, PromptBook
from vos_zoo.types import Box, UsageError

LENGTH = 20


def square(at: int, size: int = 3) -> np.ndarray:
    mask = np.zeros((8, 12), bool)
    mask[at : at + size, at : at + size] = True
    return mask


def book_of(*prompts: tuple[int, int]) -> PromptBook:
    """A book in which objects are given: (frame, id)."""
    book = PromptBook()
    for frame, identity in prompts:
        book.change(given_state(book, frame, {identity: square(identity)}, False))
    return book


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 12))
def test_a_packed_mask_comes_back(bits: list[bool], width: int) -> None:
    mask = np.resize(np.array(bits), (max(len(bits) // width, 1), width))
    assert np.array_equal(PackedMask.of(mask).unpacked(), mask)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["give", "undo", "redo"]), max_size=25))
def test_undo_and_redo_are_inverse(moves: list[str]) -> None:
    book, past, future = PromptBook(), [0], []
    for count, move in enumerate(moves):
        if move == "give":
            book.change(given_state(book, count % LENGTH, {1: square(count % 4)}, False))
            past.append(id(book.now))
            future = []
        elif move == "undo" and len(past) > 1:
            assert book.undo()
            future.append(past.pop())
        elif move == "redo" and future:
            assert book.redo()
            past.append(future.pop())
        if len(past) > 1:
            assert id(book.now) == past[-1]
    assert book.undo() is (len(past) > 1)


def test_a_new_mask_takes_pixels_from_the_others_of_the_frame() -> None:
    book = PromptBook()
    book.change(given_state(book, 0, {1: square(0, 4), 2: Box(1, 1, 3, 3)}, False))
    book.change(given_state(book, 0, {3: square(2, 4)}, False))
    masks = {key: held.hint for key, held in book.now.given[0].items()}
    assert masks[1].unpacked().sum() == 16 - 4 and masks[2] == Box(1, 1, 3, 3)
    book.change(given_state(book, 0, {4: square(0, 8)}, False))
    assert set(book.now.given[0]) == {2, 4}, "a mask without a pixel left is not given any more"


def test_the_key_of_a_removed_object_is_not_used_again() -> None:
    book = book_of((0, 5))
    book.change(book.now.without(5))
    book.change(given_state(book, 0, {5: square(1)}, False))
    assert book.now.key_of(5) != 5 and book.now.ids == [5]


def test_ids_and_ranges_are_checked() -> None:
    state = book_of((4, 1), (0, 2)).now
    with pytest.raises(UsageError, match="there is an object 2 already"):
        state.with_object(1, ObjectInfo(2))
    with pytest.raises(UsageError, match="given in frame 4, outside"):
        state.with_object(1, ObjectInfo(1, 0, 4))
    with pytest.raises(UsageError, match="id 255 is not an object"):
        state.with_object(1, ObjectInfo(255))
    with pytest.raises(UsageError, match="no object 9; known objects are"):
        state.key_of(9)


def test_a_frame_depends_on_what_was_given_up_to_it_in_each_direction() -> None:
    before, after = book_of((5, 1), (15, 1)).now, book_of((5, 1), (15, 1), (10, 1)).now
    forward = [Events(state, 1, LENGTH) for state in (before, after)]
    backward = [Events(state, -1, LENGTH) for state in (before, after)]
    same = [t for t in range(LENGTH) if forward[0].stamp(t) == forward[1].stamp(t)]
    assert same == list(range(10)), "a prompt changes the frames after it"
    assert [t for t in range(LENGTH) if backward[0].stamp(t) == backward[1].stamp(t)] == list(range(11, LENGTH))
    assert forward[0].stamp(4) == "" and backward[0].stamp(16) == ""
    assert [t for t in range(LENGTH) if forward[0].covers(t)] == list(range(5, LENGTH))
    assert [t for t in range(LENGTH) if backward[0].covers(t)] == list(range(15))


def test_the_same_prompt_in_another_frame_is_another_history() -> None:
    ours, theirs = (Events(book_of((frame, 1)).now, 1, LENGTH) for frame in (3, 4))
    assert ours.stamp(9) != theirs.stamp(9)


def test_restarting_and_ending_an_object_changes_what_follows() -> None:
    book = book_of((0, 1), (0, 2))
    plain = Events(book.now, 1, LENGTH)
    ended = Events(book.now.with_object(2, ObjectInfo(2, 0, 8)), 1, LENGTH)
    assert ended.ended(8) == [2] and plain.stamp(7) == ended.stamp(7) and plain.stamp(8) != ended.stamp(8)
    assert ended.distance(7, 2) == 7 and ended.distance(8, 2) is None
    assert GivenPrompt(Box(0, 0, 1, 1)).digest != GivenPrompt(Box(0, 0, 1, 1), restart=True).digest


def test_renaming_changes_no_history() -> None:
    book = book_of((0, 1))
    renamed = book.now.with_object(1, ObjectInfo(9))
    assert Events(book.now, 1, LENGTH).stamp(5) == Events(renamed, 1, LENGTH).stamp(5)


def test_a_mask_of_one_object_may_be_bool_or_zero_and_one() -> None:
    for mask in (square(1), square(1).astype(np.uint8), square(1).astype(np.int64) * 255):
        assert np.unique(one_object_prompt(mask, 7)).tolist() == [0, 7]
    assert one_object_prompt((1, 2, 3, 4), 7) == {7: (1, 2, 3, 4)}
    with pytest.raises(UsageError, match="has the values"):
        one_object_prompt(np.arange(12).reshape(3, 4), 7)
    with pytest.raises(UsageError, match="float64"):
        one_object_prompt(np.zeros((3, 4)), 7)
