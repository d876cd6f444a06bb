"""ViTAE's ImageNet file, and the authors' entry names -> ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vos_zoo.methods.joint.checkpoint import PREFIXES as JOINT_PREFIXES
from vos_zoo.methods.joint.checkpoint import UNUSED as JOINT_UNUSED
from vos_zoo.methods.joint.checkpoint import convert_names
from vos_zoo.nn.unpickling import load_converted, read_state_dict
from vos_zoo.types import Conversion, UsageError

IMAGENET_FILE = "ViTAE-6M.pth.tar"
PREFIXES = {ours: theirs for ours, theirs in JOINT_PREFIXES.items() if not ours.startswith("label_encoder.")} | {
    "label_encoder.": "label_encoder.",
    "fuse.inductive.A.": "combiner.tm_1.",
    "fuse.inductive.B.": "combiner.tm_2.",
    "fuse.transductive.A.": "combiner.tr_1.",
    "fuse.transductive.B.": "combiner.tr_2.",
}
CLASSIFIER = frozenset({"head.weight", "head.bias"})
"""ViTAE's ImageNet classifier: stored in every file, never run."""
UNUSED = JOINT_UNUSED | {f"label_encoder.label_backbone.{name}" for name in CLASSIFIER}


def convert_state_dict(state: Mapping[str, Any]) -> Conversion:
    """Read an authors' state dict.

    Args:
        state: entry name -> tensor.

    Returns:
        What to build and which entry goes where; unknown entries are left for the strict check to report.

    Raises:
        UsageError: an unused entry is missing or has a wrong shape: the file is not the authors'.
    """
    return Conversion({}, {}, convert_names(state, PREFIXES, UNUSED, "LLB"), UNUSED, PREFIXES)


def load_imagenet(vitae: nn.Module, path: str | Path) -> None:
    """Initialise the label backbone from ViTAE's ImageNet checkpoint, strictly (docs/methods/llb.md, "ViTAE-6M").

    The moving average of the weights is taken where the file has one; the classifier is dropped. The file was trained
    on RGB / 255 with ImageNet statistics; the method nevertheless feeds mean-subtracted BGR 0..255.

    Args:
        vitae: the label backbone, in the published size (width 256, depth 10).
        path: `IMAGENET_FILE`, row "ViTAE-6M" of the ViTAE repository's table of ImageNet models.

    Raises:
        UsageError: the file is missing or unreadable, or an entry is missing, unknown or of another shape.
    """
    if not Path(path).is_file():
        raise UsageError(f"model.vitae_weights: {str(path)!r} does not exist; download {IMAGENET_FILE}, give its path")
    state = read_state_dict(path)
    names = {name: name for name in vitae.state_dict() if name in state}
    load_converted(vitae, state, Conversion({}, {}, names, CLASSIFIER))
