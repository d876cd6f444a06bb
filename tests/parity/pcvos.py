"""What the golden tests of PCVOS share: the network with the authors' weights, and golden tensors with strides."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.golden import Golden, fill_weights
from vos_zoo.create import convert_checkpoint
from vos_zoo.model import VOSModel


def weights(folder: Path, golden: Golden) -> dict[str, Tensor]:
    """The authors' state dict, rebuilt by the recipe with the file's salt."""
    return _filled(folder, golden.meta["weights_salt"])


@lru_cache(maxsize=1)
def _filled(folder: Path, salt: str) -> dict[str, Tensor]:
    """Kept for the next file of tests: drawing 62 million numbers takes seconds."""
    return fill_weights(folder, salt=salt)


def base_weights(folder: Path, golden: Golden, channels: int) -> dict[str, Tensor]:
    """STCN's state dict: other exceptions, no refinement, and a value encoder with so many input channels.

    Entries are filled by name, so an entry of another shape is made from a table with that shape.
    """
    recipe, filters = json.loads((folder / "recipe.json").read_text()), "value_encoder.conv1.weight"
    exceptions = {**recipe["exceptions"], **recipe["exceptions_base_network"]}
    rows = (folder / "state_dict.csv").read_text().splitlines()
    kept = [row for row in rows if not row.startswith(("input_proj.", "refine_transformer."))]
    changed = []
    for row in kept:
        name, shape, dtype = row.split(",")
        sides = shape.split("x")
        changed.append(f"{name},{'x'.join([sides[0], str(channels), *sides[2:]])},{dtype}" if name == filters else row)
    return fill_weights(folder, salt=golden.meta["weights_salt"], rows=changed, exceptions=exceptions)


def load(folder: Path, golden: Golden, **hyperparameters: Any) -> VOSModel:
    """The method with the authors' weights."""
    return convert_checkpoint(weights(folder, golden), method="pcvos", **hyperparameters).eval()


def assert_close(golden: Golden, name: str, ours: Tensor, relative: float) -> None:
    """Compare a golden tensor, stored as every k-th element, and its statistics, with ours.

    Args:
        golden: the file.
        name: array name; its shape, step, mean, std and absmax are in the file's description.
        ours: the whole tensor, any shape with as many elements in the same order.
        relative: largest difference allowed, as a share of the largest magnitude.
    """
    info, flat = golden.meta["arrays"][name], ours.detach().double().flatten()
    difference, limit = differences(golden, name, ours).max().item(), relative * info["absmax"]
    found = (flat.mean().item(), flat.std(correction=0).item(), flat.abs().max().item())
    np.testing.assert_allclose(found, (info["mean"], info["std"], info["absmax"]), rtol=0, atol=limit, err_msg=name)
    assert difference <= limit, f"{name}: differs by {difference:.3e}, allowed {limit:.3e}"


def differences(golden: Golden, name: str, ours: Tensor) -> Tensor:
    """Magnitudes of the differences where a golden tensor is stored; arguments as of `assert_close`."""
    info = golden.meta["arrays"][name]
    assert ours.numel() == int(np.prod(info["shape"])), (name, tuple(ours.shape), info["shape"])
    theirs = torch.from_numpy(np.asarray(golden[name], dtype=np.float64))
    return (ours.detach().double().flatten()[:: info["step"]] - theirs).abs()
