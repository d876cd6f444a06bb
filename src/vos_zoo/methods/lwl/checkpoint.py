"""The authors' entry names (mask and box networks) -> ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vos_zoo.types import Conversion

PREFIXES = {
    "backbone.": "feature_extractor.",
    "feature_conv.": "target_model.feature_extractor.0.",
    "learner.": "target_model.filter_optimizer.residual_module.",
    "label_encoder.": "label_encoder.",
    "box_encoder.": "box_label_encoder.",
    "decoder.": "decoder.",
}


def convert_state_dict(state: Mapping[str, Any]) -> Conversion:
    """Read an authors' state dict.

    Args:
        state: entry name -> tensor.

    Returns:
        What to build and which entry goes where; unknown entries are left for the strict check to report.
    """
    names = {}
    for theirs in state:
        for ours, family in PREFIXES.items():
            if theirs.startswith(family):
                names[ours + theirs.removeprefix(family)] = theirs
    boxes = any(name.startswith("box_label_encoder.") for name in state)
    model, track = ({"box_encoder": True}, {"preset": "box"}) if boxes else ({}, {})
    return Conversion(model, track, names, families=PREFIXES)
