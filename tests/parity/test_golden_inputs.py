"""What the golden tests take from a file: formulas of inputs, and near ties decided as they were decided there."""

from __future__ import annotations

import pytest
import torch

from tests.parity.golden import values_of
from tests.parity.ties import Ties, settle
from vos_zoo.methods.pcvos.memory import ClipMemory
from vos_zoo.methods.pcvos.settings import PCVOSTrackSettings


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("v[i] = ((37*i+11) mod 101)/100 for i in 0..n-1", [((37 * i + 11) % 101) / 100 for i in range(4)]),
        ("v[i] = ((5*i + 2) mod 7) / 6 for i in 0..n-1", [2 / 6, 0.0, 5 / 6, 3 / 6]),
        ("v[i] = 0.5 + i/n - 0.25", [0.25, 0.5, 0.75, 1.0]),
        ("v[i] = -(i % 3) ** 2 + 1.5", [1.5, 0.5, -2.5, 1.5]),
    ],
)
def test_values_follow_the_formula_that_the_file_states(formula: str, expected: list[float]) -> None:
    assert values_of(formula, 4) == pytest.approx(expected, abs=0, rel=1e-15)


@pytest.mark.parametrize("formula", ["v[i] = open('x')", "w[i] = 1", "v[i] = i.real", "v[i] = k + 1"])
def test_a_formula_of_anything_but_arithmetic_is_refused(formula: str) -> None:
    with pytest.raises(ValueError, match="formula"):
        values_of(formula, 2)


def readout(gap: float) -> torch.Tensor:
    """Two of three positions are read; the second and the third are equally similar but for `gap`, and the first wins.

    Returns:
        Readouts of two queries, ``(2, 1)``; the second query has no tie.
    """
    keys = torch.tensor([[0.0, 0.0], [1.0, gap], [1.0, 0.0]])[None]
    values = torch.tensor([[1.0], [10.0], [100.0]])[None, None]
    memory = ClipMemory.empty(PCVOSTrackSettings(top_k=2)).write(keys, values, new=[0])
    queries = torch.tensor([[0.0, 0.5], [0.9, -0.5]])
    return memory.read(queries[None, None])[0, 0, 0]


def test_a_near_tie_is_decided_as_the_golden_file_did_and_no_other_query_is_touched() -> None:
    first, second = readout(1e-6), readout(-1e-6)
    assert (first[0] - second[0]).abs() > 10 and (first[1] - second[1]).abs() < 1e-3
    for golden in (first, second):
        for gap in (1e-6, -1e-6):
            with Ties() as ties:

                def misfit(golden: torch.Tensor = golden, gap: float = gap) -> tuple[int, float]:
                    difference = (readout(gap) - golden).abs()
                    return int(difference.max() > 1e-2), difference.sum().item()

                assert settle(ties, misfit)[0] == 0
                assert len(ties.turned) == ((golden is first) != (gap > 0))
    assert torch.equal(readout(1e-6), first), "nothing stays patched"


def test_clear_decisions_are_not_turned_for_a_golden_file_that_is_wrong() -> None:
    golden = readout(-0.1)
    with Ties() as ties:
        assert settle(ties, lambda: (1, (readout(0.1) - golden).abs().sum().item()))[0] == 1
        assert not ties.turned
