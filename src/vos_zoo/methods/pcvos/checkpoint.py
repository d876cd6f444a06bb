"""The authors' entry names -> ours, for PCVOS's file and for STCN's, which has no refinement.

The files are described in docs/methods/pcvos.md, "Released files".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from vos_zoo.types import Conversion, UsageError

PREFIXES = {
    "backbone.layer1.": "key_encoder.res2.",
    "backbone.": "key_encoder.",
    "projections.key.": "key_proj.key_proj.",
    "projections.thin.": "key_comp.",
    "projections.local.": "input_proj.key_proj.",
    "value_encoder.fuser.attention.channel.mlp.0.": "value_encoder.fuser.attention.ChannelGate.mlp.1.",
    "value_encoder.fuser.attention.channel.mlp.2.": "value_encoder.fuser.attention.ChannelGate.mlp.3.",
    "value_encoder.fuser.attention.spatial.conv.": "value_encoder.fuser.attention.SpatialGate.spatial.conv.",
    "value_encoder.": "value_encoder.",
    "refinement.blocks.": "refine_transformer.layers.0.blocks.",
    "refinement.norm.": "refine_transformer.norm.",
    "decoder.": "decoder.",
}
"""Our prefix -> theirs; if two match, the longer comes first."""
INDEX = re.compile(r"refine_transformer\.layers\.0\.blocks\.\d+\.attn\.relative_position_index")


def convert_state_dict(state: Mapping[str, Any]) -> Conversion:
    """Read an authors' state dict: PCVOS's, or STCN's with one object (four input channels) or several.

    Args:
        state: entry name -> tensor.

    Returns:
        What to build and which entry goes where; unknown entries are left for the strict check to report.

    Raises:
        UsageError: an index of relative positions has a wrong shape: the file is not the authors'.
    """
    names = {}
    for theirs in state:
        family = max((f for f in PREFIXES.values() if theirs.startswith(f)), key=len, default=None)
        if family is None or INDEX.fullmatch(theirs):
            continue
        names[next(own for own, f in PREFIXES.items() if f == family) + theirs.removeprefix(family)] = theirs
    unused = frozenset(name for name in state if INDEX.fullmatch(name))
    for name in sorted(unused):
        _check_index(name, state[name])
    model: dict[str, Any] = {}
    if not any(name.startswith("refine_transformer.") for name in state):
        model["refinement"] = False
    filters = state.get("value_encoder.conv1.weight")
    if isinstance(filters, torch.Tensor) and filters.dim() == 4 and filters.shape[1] == 4:
        model["others"] = False
    return Conversion(model, {}, names, unused, PREFIXES)


def _check_index(name: str, index: Any) -> None:
    """Check that the index of relative positions is square; its content follows from the window and is not read."""
    if isinstance(index, torch.Tensor) and (index.dim() != 2 or index.shape[0] != index.shape[1]):
        raise UsageError(f"entry {name!r} of the checkpoint has shape {tuple(index.shape)}, expected a square")
