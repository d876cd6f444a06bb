"""ViTAE's ImageNet file, and the authors' entry names -> ours."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from vos_zoo.core.checkpoint import load_converted, read_state_dict
from vos_zoo.types import Conversion, UsageError

IMAGENET_FILE = "ViTAE-6M.pth.tar"


def load_imagenet(vitae: nn.Module, path: str | Path) -> None:
    """Initialise the label backbone from ViTAE's ImageNet checkpoint, strictly (sheet 2.4).

    The moving average of the weights is taken where the file has one; the classifier is dropped. The file was trained
    on RGB / 255 with ImageNet statistics; the method feeds mean-free BGR 0..255 all the same.

    Args:
        vitae: the label backbone, in the published size (width 256, depth 10).
        path: `IMAGENET_FILE`, row "ViTAE-6M" of the ViTAE repository's table of ImageNet models.

    Raises:
        UsageError: the file is missing or unreadable, or an entry is missing, unknown or of another shape.
    """
    if not Path(path).is_file():
        raise UsageError(f"model.vitae_weights: {str(path)!r} does not exist; download {IMAGENET_FILE}, give its path")
    state = read_state_dict(path, keys=("state_dict_ema", "state_dict"))
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    names = {name: name for name in vitae.state_dict() if name in state}
    load_converted(vitae, state, Conversion({}, {}, names, frozenset({"head.weight", "head.bias"})))
