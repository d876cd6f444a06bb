"""Creating models by name and converting the authors' files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vos_zoo.config.layers import variant_keywords
from vos_zoo.config.resources import variants
from vos_zoo.model import VOSModel


def create_model(
    method: str,
    *,
    track: Mapping[str, Any] | None = None,
    optim: Mapping[str, Any] | None = None,
    plain_cpu: bool = False,
    **hyperparameters: Any,
) -> VOSModel:
    """A model with random (or backbone-initialised) weights.

    Args:
        method: one of `vos_zoo.available_models()`, or a variant of one that `vos-zoo models` lists.
        track: inference settings to keep with the model, see the method's settings.
        optim: optimiser settings, see `VOSModel`.
        plain_cpu: no faster forms on a CPU, see `VOSModel`.
        hyperparameters: keyword arguments of the method's target model.

    Raises:
        UsageError: unknown method, hyper-parameter or setting.

    Examples:
        >>> model = create_model("pcvos", backbone="resnet18", key_channels=16)
        >>> model.method
        'pcvos'
    """
    own = variant_keywords(method)
    settings = {**own["track"], **(track or {})}
    keywords = {**own["model"], **hyperparameters}
    return VOSModel(variants().get(method, method), keywords, settings, dict(optim or {}), plain_cpu)


def convert_checkpoint(
    source: str | Path | Mapping[str, Tensor],
    method: str,
    *,
    track: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
    **hyperparameters: Any,
) -> VOSModel:
    """A model with the authors' released weights.

    Nothing in the file is executed: unknown classes become inert stubs and only tensors are kept. The conversion is
    strict; the converter sees entry names without wrappers (`module.`, `_orig_mod.` and the like, see
    `nn.state_dicts`).

    Args:
        source: the authors' file (on disk, or an http address with ``#sha256=DIGEST``), or its state dict.
        method: which method the file belongs to.
        track: inference settings to keep with the model, in addition to those the file implies.
        origin: further facts about the weights' origin (licence, page); kept with the model.
        hyperparameters: keyword arguments of the target model that the file does not imply.

    Raises:
        UsageError: unreadable file, or an entry that is missing, unknown or of another shape.
        VOSError: a download failed.
    """
    return VOSModel.from_authors(source, method, track=track, origin=origin, **hyperparameters)
