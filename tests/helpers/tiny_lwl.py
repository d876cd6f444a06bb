"""A tiny LWL with random weights: fast, for tests of what is done with its masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vos_zoo.create import create_model

TINY: dict[str, Any] = {
    "backbone": "timm:resnet10t",
    "feature_channels": 16,
    "label_channels": 4,
    "label_widths": [4, 4, 8],
    "decoder_width": 4,
}


def save_tiny(folder: Path) -> Path:
    """Save the model in a folder, and return it."""
    torch.manual_seed(0)
    create_model("lwl", track={"size": (32, 64)}, **TINY).save_pretrained(folder)
    return folder
