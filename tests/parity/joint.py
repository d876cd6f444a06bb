"""What the golden tests of JOINT share: the network with the authors' weights, and golden tensors with strides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.golden import Golden, fill_weights
from vos_zoo.create import convert_checkpoint
from vos_zoo.model import VOSModel


def load(folder: Path, salt: str | None, **hyperparameters: Any) -> VOSModel:
    """The method with weights rebuilt by the recipe."""
    return convert_checkpoint(fill_weights(folder, salt=salt), method="joint", **hyperparameters).eval()


def assert_close(golden: Golden, name: str, ours: Tensor, relative: float) -> None:
    """Compare a golden tensor, stored in full or as every k-th element, and its statistics, with ours.

    Args:
        golden: the file.
        name: array name; `name__stride`, `name__shape`, `name__stat` (mean, deviation, largest magnitude) go with it.
        ours: the whole tensor, any shape with as many elements in the same order.
        relative: largest difference allowed, as a share of the largest magnitude.
    """
    theirs, flat = torch.from_numpy(golden[name].astype(np.float64)).flatten(), ours.detach().double().flatten()
    assert flat.numel() == int(np.prod(golden[f"{name}__shape"])), (name, tuple(ours.shape))
    mean, deviation, largest = golden[f"{name}__stat"]
    limit = relative * largest
    found = (flat.mean().item(), flat.std().item(), flat.abs().max().item())
    np.testing.assert_allclose(found, (mean, deviation, largest), rtol=0, atol=limit, err_msg=name)
    stride = int(golden[f"{name}__stride"])
    difference = (flat[::stride] if stride else flat).sub(theirs).abs().max().item()
    assert difference <= limit, f"{name}: differs by {difference:.3e}, allowed {limit:.3e}"
