"""Reading golden data: the weight fill, strided tensors, comparisons. Works on any folder of the same form."""

from __future__ import annotations

import ast
import csv
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def fill_weights(
    folder: Path,
    table: str = "state_dict.csv",
    salt: str | None = None,
    rows: Sequence[str] | None = None,
    exceptions: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """The authors' state dict rebuilt by the recipe of the reference's README.

    Args:
        folder: a method's reference folder with `recipe.json` and the table of entries.
        table: file with name, shape, dtype of every entry.
        salt: default: the recipe's first.
        rows: lines of the table, its heading first; default: the file's.
        exceptions: default: the recipe's.
    """
    recipe = json.loads((folder / "recipe.json").read_text())
    salt = salt or recipe.get("salt") or recipe["salts"][0]
    exceptions = recipe.get("exceptions", {}) if exceptions is None else exceptions
    tied = recipe.get("tied", {})
    state: dict[str, Tensor] = {}
    for row in csv.DictReader(rows or (folder / table).read_text().splitlines()):
        name, shape = row["name"], () if row["shape"] == "scalar" else tuple(int(n) for n in row["shape"].split("x"))
        rule = exceptions.get(name, {})
        source = rule.get("same_as") or tied.get(name)
        state[name] = state[source].clone() if source else _fill(name, shape, row["dtype"], rule, salt)
    return state


def _fill(name: str, shape: tuple[int, ...], dtype: str, rule: dict[str, float], salt: str) -> Tensor:
    if dtype.startswith("int"):
        return torch.zeros(shape, dtype=torch.int64)
    normal = np.asarray(
        np.random.RandomState(zlib.crc32(f"{salt}/{name}".encode()) & 0xFFFFFFFF).standard_normal(shape)
    )
    last = name.rsplit(".", 1)[-1]
    if "value" in rule:
        values = np.full(shape, rule["value"])
    elif "scale" in rule:
        values = rule["scale"] * normal + rule.get("shift", 0.0)
    elif last == "running_var":
        values = np.exp(0.1 * normal)
    elif last == "running_mean":
        values = 0.1 * normal
    elif len(shape) >= 2:
        values = normal * np.sqrt(1 / np.prod(shape[1:]))
    else:
        values = (1 + 0.1 * normal) if last == "weight" else 0.1 * normal
    return torch.from_numpy(np.asarray(values, dtype=np.float32).copy())


def given(labels: Any, ids: Sequence[Any]) -> Any:
    """A label map ``(H, W)`` with the objects `ids` alone, uint8."""
    return np.where(np.isin(labels, [int(i) for i in ids]), labels, 0).astype(np.uint8)


def values_of(formula: str, count: int) -> list[float]:
    """Values v[0] to v[count - 1] of a formula as golden files state it: "v[i] = ((37*i+11) mod 101)/100 for i in ...".

    Raises:
        ValueError: anything but arithmetic with i and n.
    """
    stated = re.fullmatch(r"v\[i\] = (.+?)( for .*)?", formula)
    if stated is None:
        raise ValueError(f"no formula of v[i]: {formula!r}")
    tree = ast.parse(stated[1].replace(" mod ", " % "), mode="eval")
    for node in ast.walk(tree):
        arithmetic = isinstance(node, ast.Expression | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop | ast.Load)
        number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
        if not (arithmetic or number or (isinstance(node, ast.Name) and node.id in ("i", "n"))):
            raise ValueError(f"the formula {formula!r} is no arithmetic of i and n")
    code = compile(tree, "formula", "eval")
    return [float(eval(code, {"__builtins__": {}}, {"i": i, "n": count})) for i in range(count)]


class Golden:
    """One golden file: arrays and their descriptions."""

    def __init__(self, path: Path) -> None:
        self.arrays = np.load(path)
        self.meta: dict[str, Any] = json.loads(str(self.arrays["meta"]))
        self.salt: str | None = self.meta.get("salt")

    def __contains__(self, name: str) -> bool:
        return name in self.arrays.files

    def __getitem__(self, name: str) -> Any:
        return self.arrays[name]

    def json(self, name: str) -> Any:
        """An array that holds JSON text."""
        return json.loads(str(self.arrays[name]))

    def names(self, prefix: str) -> list[str]:
        """Names of the arrays that start with `prefix`."""
        return [name for name in self.arrays.files if name.startswith(prefix)]

    def tensor(self, name: str) -> Tensor:
        """An array as a tensor."""
        return torch.from_numpy(np.ascontiguousarray(self.arrays[name]))

    def _statistics(self, name: str) -> dict[str, float]:
        """Stride and statistics of a tensor, in files that keep them as `flat_stride` and ``NAME__stats``."""
        info = self.meta["arrays"][name] or {}
        if "flat_stride" not in info:
            return {}
        mean, _, absmax = self.arrays[f"{name}__stats"].tolist()
        return {"stride": info["flat_stride"], "mean": mean, "absmax": absmax}

    def assert_close(self, name: str, ours: Tensor, relative: float) -> None:
        """Compare a (possibly strided) golden tensor, and its statistics, with ours.

        Args:
            name: array name.
            ours: the whole tensor, any shape with the same number of elements.
            relative: largest difference allowed, as a share of the golden tensor's largest magnitude.
        """
        info = {**(self.meta["arrays"][name] or {}), **self._statistics(name)}
        theirs = torch.from_numpy(np.asarray(self.arrays[name], dtype=np.float64)).flatten()
        flat = ours.detach().double().flatten()
        if "full_shape" in info:
            assert flat.numel() == int(np.prod(info["full_shape"])), (name, tuple(ours.shape), info["full_shape"])
            assert abs(flat.mean().item() - info["mean"]) <= relative * info["absmax"], name
            assert abs(flat.abs().max().item() - info["absmax"]) <= relative * info["absmax"], name
            flat = flat[:: info["stride"]]
            limit = relative * info["absmax"]
        else:
            limit = relative * theirs.abs().max().item()
        difference = (flat - theirs).abs().max().item()
        assert difference <= limit, f"{name}: differs by {difference:.3e}, allowed {limit:.3e}"
