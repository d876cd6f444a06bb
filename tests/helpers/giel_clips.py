"""Support and versions of GIEL."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.giel_tools import BOTH, boxes, pictures, soft_masks, support
from vos_zoo.methods.giel.settings import GielTrackSettings
from vos_zoo.methods.giel.target_model import Giel

TOLERANCE = 1e-10
VERSIONS = pytest.mark.parametrize("version", BOTH, ids=["full", "fast"])


def equal(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=TOLERANCE)


def history(net: Giel, objects: int = 2, frames: int = 3, settings: GielTrackSettings | None = None) -> object:
    """A support of frames with soft predicted masks."""
    given = boxes(1, objects)[0]
    predicted, saliency = soft_masks(frames - 1, objects), soft_masks(frames - 1, 1, seed=5)[:, 0]
    return support(net, pictures(frames), given, predicted, saliency, settings)


QUERY = pictures(1, seed=9)[0]
