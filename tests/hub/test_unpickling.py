"""The authors' files: nothing in them is executed, and names do not depend on wrappers."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.small_models import SMALL, Payload, theirs
from vos_zoo.create import convert_checkpoint
from vos_zoo.model import VOSModel
from vos_zoo.nn.state_dicts import find_state_dict
from vos_zoo.nn.unpickling import Inert, read_state_dict
from vos_zoo.registry import available_methods, load_method
from vos_zoo.types import UsageError


def payloads(marker: Path) -> dict[str, Any]:
    """Ways to create the file `marker` while a checkpoint is read."""
    code = f"open({str(marker)!r}, 'w').close()"
    nested = io.BytesIO()
    torch.save(Payload(exec, code), nested)
    return {
        "os.system": Payload(os.system, f"touch '{marker}'"),
        "builtins.eval": Payload(eval, code),
        "builtins.exec": Payload(exec, code),
        "subprocess": Payload(subprocess.call, ["touch", str(marker)]),
        "a chain of calls": Payload(Payload(getattr, Payload(__import__, "builtins"), "exec"), code),
        "an open file": Payload(open, str(marker), "w"),
        "a state": Payload(OrderedDict, state={"x": Payload(exec, code)}),
        "a pickle inside a storage": Payload(torch.storage._load_from_bytes, nested.getvalue()),  # type: ignore[attr-defined]
        "a key of a container": OrderedDict([(Payload(exec, code), 1)]),
    }


def write_zip(content: Any, path: Path) -> None:
    torch.save(content, path)


def write_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_bare(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def write_tar(content: Any, path: Path) -> None:
    data = pickle.dumps(content)
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


FORMATS = {"zip": write_zip, "legacy": write_legacy, "bare pickle": write_bare, "tar": write_tar}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", list(payloads(Path("x"))))
def test_nothing_in_a_foreign_file_is_executed(tmp_path: Path, name: str, kind: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "file.pth"
    content = {"net": {"weight": torch.ones(2)}, "extra": payloads(marker)[name]}
    FORMATS[kind](content, path)
    try:
        state = read_state_dict(path)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert list(state) == ["weight"]
    assert not marker.exists(), f"{name} in a {kind} file was executed"


@pytest.mark.parametrize("name", ["os.system", "builtins.exec", "a chain of calls", "a pickle inside a storage"])
def test_the_payloads_of_these_tests_do_run_when_a_file_is_trusted(tmp_path: Path, name: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "file.pth"
    write_zip({"extra": payloads(marker)[name]}, path)
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_a_stub_takes_whatever_a_pickle_does_to_it() -> None:
    stub = Inert(1, key=2)
    stub.__setstate__({"anything": 1})
    stub["key"] = 1
    stub.append(1)
    stub.extend([1, 2])
    assert isinstance(stub(1, 2), Inert)
    assert not vars(stub)


# -- files in the authors' form --------------------------------------------------------------------------------------


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package that exists while a file is written and is gone when it is read."""
    source = """
class NetConstructor:
    def __init__(self, fun_name, args, kwds):
        self.fun_name, self.args, self.kwds = fun_name, args, kwds
        self.fun_module = "elsewhere.models"
class AverageMeter:
    def __init__(self):
        self.history, self.sum = [1.0, 2.0], 3.0
class StatValue(dict):
    pass
class Values(list):
    pass
class Settings:
    def __init__(self):
        self.env, self.depth = StatValue(path="/data"), Values([1, 2])
"""
    module = ModuleType("elsewhere_admin")
    exec(source, module.__dict__)
    for value in list(vars(module).values()):
        if isinstance(value, type):
            value.__module__ = "elsewhere_admin"
    monkeypatch.setitem(sys.modules, "elsewhere_admin", module)
    return module


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_file_with_unknown_classes_gives_its_tensors(
    tmp_path: Path, foreign: ModuleType, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = OrderedDict(
        [("a.weight", torch.randn(3, 4)), ("a.steps", torch.tensor(5)), ("a.half", torch.randn(2).half())]
    )
    parameter = torch.nn.Parameter(torch.randn(2, 3).t())
    content = {
        "epoch": 80,
        "net_type": "LWTLNet",
        "net": OrderedDict([*weights.items(), ("a.parameter", parameter)]),
        "constructor": foreign.NetConstructor("steepest_descent_resnet50", (), {"filter_size": 3}),
        "stats": OrderedDict(train=OrderedDict(loss=foreign.AverageMeter())),
        "settings": foreign.Settings(),
        "optimizer": torch.optim.Adam([parameter]).state_dict(),
    }
    FORMATS[kind](content, tmp_path / "authors.pth")
    monkeypatch.delitem(sys.modules, "elsewhere_admin")
    with pytest.raises((ModuleNotFoundError, AttributeError)):
        torch.load(tmp_path / "authors.pth", weights_only=False)
    state = read_state_dict(tmp_path / "authors.pth")
    assert list(state) == [*weights, "a.parameter"]
    assert all(
        torch.equal(state[name], tensor) and state[name].dtype == tensor.dtype for name, tensor in weights.items()
    )
    assert torch.equal(state["a.parameter"], parameter)
    assert not any(tensor.requires_grad for tensor in state.values())
    assert "elsewhere_admin" not in sys.modules


@pytest.mark.parametrize("key", ["net", "state_dict", "model", "network", None])
def test_weights_are_found_at_the_top_or_under_the_usual_keys(tmp_path: Path, key: str | None) -> None:
    weights = {"x": torch.ones(2)}
    torch.save({key: weights, "epoch": 3} if key else weights, tmp_path / "w.pth")
    assert torch.equal(read_state_dict(tmp_path / "w.pth")["x"], weights["x"])


WRAPPERS = {
    "DataParallel": lambda s: _behind("module.", s),
    "a trainer's class": lambda s: {"state_dict": _behind("model.", s), "epoch": 3},
    "DataParallel in a trainer's class": lambda s: {"state_dict": _behind("model.module.", s)},
    "a trainer's class in DataParallel": lambda s: {"state_dict": _behind("module.model.net.", s)},
    "a compiled network": lambda s: {"net": _behind("_orig_mod.", s)},
    "DistributedDataParallel, compiled": lambda s: {"model": _behind("_orig_mod.module.", s)},
    "compiled parts": lambda s: {name.replace(".", "._orig_mod.", 1): value for name, value in s.items()},
    "FSDP": lambda s: _behind("_fsdp_wrapped_module.", s),
    "AveragedModel": lambda s: {"n_averaged": torch.tensor(3), **_behind("module.", s)},
    "AveragedModel in DataParallel": lambda s: _behind(
        "module.", {"n_averaged": torch.tensor(3), **_behind("module.", s)}
    ),
    "containers in containers": lambda s: {"model": {"state_dict": _behind("module.", s)}, "epoch": torch.tensor(1)},
    "an average beside the weights": lambda s: {
        "state_dict": {name: torch.zeros_like(value) for name, value in s.items()},
        "state_dict_ema": _behind("module.", s),
    },
    "DeepSpeed": lambda s: {"module": s, "global_steps": 7},
}


def _behind(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize("wrapper", list(WRAPPERS))
def test_entry_names_do_not_depend_on_what_wrapped_the_network_when_it_was_saved(tmp_path: Path, wrapper: str) -> None:
    plain = {"encoder.conv1.weight": torch.randn(2), "encoder.bn.module_id": torch.ones(1), "netvlad.w": torch.ones(3)}
    torch.save(WRAPPERS[wrapper](plain), tmp_path / "w.pth")
    state = read_state_dict(tmp_path / "w.pth")
    assert list(state) == list(plain)
    assert all(torch.equal(state[name], value) for name, value in plain.items())


@pytest.mark.parametrize("kind", ["safetensors", "a dictionary in memory"])
def test_other_ways_in_follow_the_same_rule(tmp_path: Path, small: VOSModel, kind: str) -> None:
    from safetensors.torch import save_file

    state = _behind("module.", theirs(small))
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "w.safetensors")
    source = tmp_path / "w.safetensors" if kind == "safetensors" else state
    converted = convert_checkpoint(source, method="lwl", **SMALL).network.state_dict()
    assert all(torch.equal(converted[name], value) for name, value in small.network.state_dict().items())


@pytest.mark.parametrize(
    "state",
    [
        {"module.a": torch.ones(1), "b": torch.ones(1)},
        {"_orig_mod.a": torch.ones(1), "a": torch.zeros(1)},
        {"model": torch.ones(1), "model.a": torch.ones(1)},
        {"blocks.0.module.weight": torch.ones(1), "blocks.0.gamma": torch.ones(1)},
    ],
)
def test_names_that_no_wrapper_explains_stay(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "w.pth")
    assert list(read_state_dict(tmp_path / "w.pth")) == list(state)


@pytest.mark.parametrize("method", sorted(name for name in available_methods() if load_method(name).converter))
def test_every_converter_takes_weights_saved_from_parallel_training(method: str) -> None:
    converter = load_method(method).load_converter()
    names = {f"{family}w" for family in _prefixes(converter).values()}
    unused = getattr(sys.modules[converter.__module__], "UNUSED", frozenset())
    plain = {name: torch.ones(2, 2) for name in sorted(names | set(unused))}
    seen = converter(find_state_dict(plain)).names
    assert seen and seen == converter(find_state_dict({"state_dict": _behind("module.", plain)})).names


def _prefixes(converter: Callable[..., Any]) -> dict[str, str]:
    found: dict[str, str] = sys.modules[converter.__module__].PREFIXES
    return found


def test_safetensors_files_are_read_too(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "w.safetensors")
    assert torch.equal(read_state_dict(tmp_path / "w.safetensors")["x"], torch.ones(2))


def test_files_without_weights_are_refused_in_one_line_that_names_them(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint\n")
    (tmp_path / "nothing.pth").write_bytes(b"")
    (tmp_path / "broken.safetensors").write_bytes(b"1234")
    torch.save({"net": {"x": torch.ones(500)}}, tmp_path / "cut.pth")
    whole = (tmp_path / "cut.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "program.pth")
    for name in ("empty.pth", "text.pth", "nothing.pth", "cut.pth", "program.pth", "absent.pth", "broken.safetensors"):
        with pytest.raises(UsageError, match=name) as caught:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(caught.value), name
