"""Near ties of PCVOS's reading: where the 20th and the 21st position are as similar, rounding decides which is read.

Both answers are right, and which one a golden file holds depends on the machine that wrote it. `Ties` notes them while
videos run, and can decide them the other way; `settle` finds the decisions of a golden file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import pytest
import torch
from torch import Tensor

from vos_zoo.methods.pcvos import matching, memory
from vos_zoo.methods.pcvos.matching import Matches

NEAR = 1e-5
"""Similarities that differ by no more tie."""


class Tie(NamedTuple):
    """One decision: a query's key, and the names of the position that was read last and of the one that was not."""

    query: bytes
    read: int
    left: int


class Ties:
    """Near ties at the border of what is read, while this context is entered.

    Attributes:
        seen: those met, in order.
        turned: those that are decided the other way: the similarity of what was read is lowered by some `NEAR`.
    """

    def __init__(self) -> None:
        self.seen: list[Tie] = []
        self.turned: list[Tie] = []
        self._patch = pytest.MonkeyPatch()
        self._block: tuple[Tensor, Tensor] | None = None

    def __enter__(self) -> Self:
        similarities, match, join = matching.similarities, matching.match, Matches.join

        def lowered(queries: Tensor, keys: Tensor) -> Tensor:
            scores = similarities(queries, keys)
            if self._block is None:
                return scores
            for tie in self.turned:
                query = torch.frombuffer(bytearray(tie.query), dtype=queries.dtype)
                rows = (queries == query).all(dim=1).nonzero()
                scores[rows, (self._block[1] == tie.read).nonzero().T] -= 3 * NEAR
            self._scores = scores
            return scores

        def matched(queries: Tensor, keys: Tensor, positions: Tensor, count: int) -> Matches:
            self._block = queries, positions
            found = match(queries, keys, positions, count)
            self._note(self._scores, positions.expand_as(self._scores), count)
            return found

        def joined(one: Matches, other: Matches, count: int) -> Matches:
            pairs = zip((one.scores, one.positions), (other.scores, other.positions), strict=True)
            scores, positions = (torch.cat(pair, dim=1) for pair in pairs)
            self._note(scores, positions, count)
            return join(one, other, count)

        self._patch.setattr(matching, "similarities", lowered)
        self._patch.setattr(memory, "match", matched)
        self._patch.setattr(Matches, "join", joined)
        return self

    def __exit__(self, *_: Any) -> None:
        self._patch.undo()

    def _note(self, scores: Tensor, positions: Tensor, count: int) -> None:
        if scores.shape[1] <= count:
            return
        assert self._block is not None
        values, columns = scores.topk(count + 1, dim=1)
        for row in (values[:, count - 1] - values[:, count] <= NEAR).nonzero()[:, 0].tolist():
            read, left = positions[row, columns[row, count - 1 :]].tolist()
            self.seen.append(Tie(self._block[0][row].numpy().tobytes(), read, left))


def settle(ties: Ties, misfit: Callable[[], tuple[int, float]]) -> tuple[int, float]:
    """Turn near ties, one after another, as long as that brings the outcome nearer to a golden file.

    Args:
        ties: entered.
        misfit: computes the outcome anew, up to the first part that is unlike the golden one. Returns how many parts
            are left from there on, 0 where all are alike, and how unlike that part is.

    Returns:
        What `misfit` says in the end.
    """
    while True:
        ties.seen = []
        distance = misfit()
        best, least = None, distance
        for tie in dict.fromkeys(reversed(ties.seen)) if distance[0] else ():
            if tie not in ties.turned and least[0] == distance[0]:
                ties.turned.append(tie)
                own = misfit()
                ties.turned.pop()
                if own < least:
                    best, least = tie, own
        if best is None:
            return distance
        ties.turned.append(best)
