"""Values as tensors and JSON: what comes back is equal to the bit, has the same layout, and runs nothing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vos_zoo.session.state_tree import Flattened, Unflattened, load_state, save_state
from vos_zoo.types import VOSError


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass(frozen=True)
class Held:
    tensors: dict[str, Tensor]
    counts: tuple[int, ...] = ()
    queue: deque[int] = field(default_factory=deque)

    def __post_init__(self) -> None:
        if self.counts == (666,):
            raise AssertionError("the constructor must not run when a state is read")


def there_and_back(value: Any) -> Any:
    flat = Flattened(value)
    return Unflattened(flat.tree, flat.tensors, {"tests"}).value


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=9),
    st.frozensets(st.integers(), max_size=4),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=3),
        st.lists(inner, max_size=3).map(lambda items: deque(items, maxlen=5)),
        st.tuples(inner, inner).map(lambda pair: Pair(*pair)),
    ),
    max_leaves=12,
)


def written(value: Any) -> str:
    """`repr`, with sets in order: equal ones may list colliding members, such as 4 and -4, in another one."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(value)})"
    if isinstance(value, dict):
        return f"dict({[(written(key), written(each)) for key, each in value.items()]})"
    if isinstance(value, deque):
        return f"deque({[written(each) for each in value]}, {value.maxlen})"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({[written(each) for each in value]})"
    return repr(value)


@settings(deadline=None, max_examples=30)
@given(VALUES)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert written(there_and_back(value)) == written(value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_a_tensor_keeps_its_bits_strides_and_alignment(dtype: torch.dtype) -> None:
    base = (torch.randn(6, 5, 8, 3) * 10).to(dtype)
    layouts = {
        "plain": base,
        "channels last": base.contiguous(memory_format=torch.channels_last),
        "permuted": base.permute(3, 1, 0, 2),
        "slice": base[1:4, :, 2:7],
        "expanded": base[:1].expand(4, -1, -1, -1),
        "empty": base[:0],
        "number": base[0, 0, 0, 0],
    }
    for name, value in layouts.items():
        found = there_and_back(value)
        assert found.dtype == dtype and found.shape == value.shape and torch.equal(found, value), name
        if value.numel():
            assert found.stride() == value.stride() and found.data_ptr() % 64 == value.data_ptr() % 64, name


def test_a_tensor_that_occurs_twice_is_one_tensor_again() -> None:
    shared = torch.zeros(3)
    found = there_and_back({"a": shared, "b": (shared,)})
    found["a"][0] = 1
    assert found["b"][0][0] == 1


def test_numpy_values_keep_their_type() -> None:
    value = [np.float32(0.1), np.arange(6, dtype=np.float32).reshape(2, 3).T, np.array(3), np.bool_(True)]
    found = there_and_back(value)
    assert [type(each) for each in found] == [type(each) for each in value]
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(found, value, strict=True))


def test_generators_go_on_where_they_were() -> None:
    drawn = torch.Generator().manual_seed(3)
    dice = np.random.default_rng(4)
    torch.rand(5, generator=drawn), dice.random(5)
    ours, theirs = there_and_back([drawn, dice])
    assert torch.equal(torch.rand(4, generator=ours), torch.rand(4, generator=drawn))
    assert np.array_equal(theirs.random(4), dice.random(4))


def test_a_dataclass_is_made_without_running_its_constructor() -> None:
    held = Held({"x": torch.arange(3)})
    object.__setattr__(held, "counts", (666,))
    found = there_and_back(held)
    assert type(found) is Held and found.counts == (666,) and torch.equal(found.tensors["x"], held.tensors["x"])


@pytest.mark.parametrize("path", ["os:system", "subprocess:Popen", "tests.session.test_state_tree:there_and_back"])
def test_a_file_cannot_name_anything_but_a_dataclass_of_the_model(path: str) -> None:
    with pytest.raises(VOSError, match="does not have"):
        Unflattened({"$": "object", "class": path, "v": {}}, {}, {"tests"})
    with pytest.raises(VOSError, match="does not have"):
        Unflattened({"$": "object", "class": "vos_zoo.types:FrameResult", "v": {}}, {}, {"tests"})


def test_what_cannot_be_stored_is_named() -> None:
    with pytest.raises(TypeError, match=r"builtins\.function"):
        Flattened([lambda: None])


def test_a_damaged_file_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, {"x": torch.arange(4)})
    assert torch.equal(load_state(path, ())["x"], torch.arange(4))
    content = path.read_bytes()
    for damaged in (content[:20], content[:-3], b"", content.replace(b"tensor", b"rosnet")):
        path.write_bytes(damaged)
        with pytest.raises(VOSError):
            load_state(path, ())
