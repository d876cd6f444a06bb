"""The authors' entry names -> ours.

The two self-attentions are one tied tensor stored twice; if the copies differ the decoder's is used,
as in the authors' loader. The value projections exist, but no computation uses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vos_zoo.types import Conversion, UsageError

PREFIXES = {
    "backbone.": "feature_extractor.",
    "feature_conv.": "target_model.feature_extractor.0.",
    "learner.": "target_model.filter_optimizer.residual_module.",
    "transformer.adjust.": "transformer.feature_adjustor.0.",
    "transformer.self_attention.WK.": "transformer.decoder.self_attn.WK.",
    "transformer.cross_attention.WK.": "transformer.decoder.cross_attn.WK.",
    "label_encoder.conv_block.": "label_encoder.conv_block.",
    "label_encoder.res1.": "label_encoder.res1_tm.",
    "label_encoder.res2.": "label_encoder.res2_tm.",
    "label_encoder.label_pred.": "label_encoder.label_pred_tm.",
    "label_encoder.samp_w_pred.": "label_encoder.samp_w_pred.",
    "label_encoder.value_trunk.0.": "label_encoder.res1_tr.",
    "label_encoder.value_trunk.1.": "label_encoder.res2_tr.",
    "label_encoder.value_pred.": "label_encoder.label_pred_tr.0.",
    "decoder.": "decoder.",
}
UNITS = ("encoder.self_attn", "decoder.self_attn", "decoder.cross_attn")
UNUSED = frozenset(
    [f"transformer.{unit}.WV.{part}" for unit in UNITS for part in ("weight", "bias")]
    + [f"transformer.encoder.self_attn.WK.{part}" for part in ("weight", "bias")]
)


def convert_state_dict(state: Mapping[str, Any]) -> Conversion:
    """Read an authors' state dict.

    Args:
        state: entry name -> tensor.

    Returns:
        What to build and which entry goes where; unknown entries are left for the strict check to report.

    Raises:
        UsageError: an unused entry is missing or has a wrong shape: the file is not the authors'.
    """
    return Conversion({}, {}, convert_names(state, PREFIXES, UNUSED, "JOINT"), UNUSED, PREFIXES)


def convert_names(
    state: Mapping[str, Any], prefixes: Mapping[str, str], unused: Iterable[str], title: str
) -> dict[str, str]:
    """Our entry names -> the authors', by prefix, after a check of the unused entries.

    Args:
        state: entry name -> tensor.
        prefixes: our prefix -> theirs.
        unused: entries that must exist although nothing uses them.
        title: of the method, for messages.

    Raises:
        UsageError: an unused entry is missing or has a wrong shape.
    """
    names = {}
    for theirs in state:
        for ours, family in prefixes.items():
            if theirs.startswith(family):
                names[ours + theirs.removeprefix(family)] = theirs
    for name in sorted(unused):
        if name not in state:
            raise UsageError(f"the checkpoint lacks the entry {name!r}; it is not a file of {title}'s authors")
        if name.startswith("transformer."):
            _check_shape(name, state)
    return {ours: theirs for ours, theirs in names.items() if theirs not in unused}


def _check_shape(name: str, state: Mapping[str, Any]) -> None:
    """A value projection is square in the channels its key projection reads; a tied entry has the shape of its copy."""
    key = state.get(f"{name.rsplit('.', 2)[0].replace('encoder', 'decoder')}.WK.{name.rsplit('.', 1)[-1]}")
    reads = state.get("transformer.feature_adjustor.0.weight")
    if state[name] is None or key is None or reads is None:
        return
    channels = reads.shape[0]
    value = (channels, channels) if name.endswith("weight") else (channels,)
    expected = value if ".WV." in name else tuple(key.shape)
    if tuple(state[name].shape) != expected:
        raise UsageError(f"entry {name!r} of the checkpoint has shape {tuple(state[name].shape)}, expected {expected}")
