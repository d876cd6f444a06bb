"""Creating models by name and converting the authors' files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vos_zoo.nn.state_dicts import find_state_dict
from vos_zoo.config.layers import variant_keywords
from vos_zoo.nn.unpickling import load_converted, read_state_dict
from vos_zoo.model import VOSModel
from vos_zoo.hub.download import fetch, file_digest, is_url
from vos_zoo.registry import load_method
from vos_zoo.config.resources import variants


def create_model(
    method: str,
    *,
    track: Mapping[str, Any] | None = None,
    optim: Mapping[str, Any] | None = None,
    **hyperparameters: Any,
) -> VOSModel:
    """A model with random (or backbone-initialised) weights.

    Args:
        method: one of `vos_zoo.available_models()`, or a variant of one that `vos-zoo models` lists.
        track: inference settings to keep with the model, see the method's settings.
        optim: optimiser settings, see `VOSModel`.
        hyperparameters: keyword arguments of the method's target model.

    Raises:
        UsageError: unknown method, hyper-parameter or setting.
    """
    own = variant_keywords(method)
    settings = {**own["track"], **(track or {})}
    return VOSModel(variants().get(method, method), {**own["model"], **hyperparameters}, settings, dict(optim or {}))


def convert_checkpoint(
    source: str | Path | Mapping[str, Tensor],
    method: str,
    *,
    track: Mapping[str, Any] | None = None,
    origin: Mapping[str, str] | None = None,
    **hyperparameters: Any,
) -> VOSModel:
    """The authors' released weights in our model.

    Nothing in the file is executed: unknown classes become inert stubs and only tensors are kept. The conversion is
    strict; the converter sees entry names without wrappers (`module.`, `_orig_mod.` and the like, see
    `nn.state_dicts`).

    Args:
        source: the authors' file (on disk, or an http address with ``#sha256=DIGEST``), or its state dict.
        method: which method the file belongs to.
        track: inference settings to keep with the model, over those the file implies.
        origin: what else is known of where the weights come from (licence, page); kept with the model.
        hyperparameters: keyword arguments of the target model that the file does not imply.

    Raises:
        UsageError: unreadable file, or a missing, extra or mis-shaped entry (it is named).
        VOSError: a download failed.
    """
    if not isinstance(source, Mapping) and is_url(str(source)):
        source = fetch(str(source))
    state = find_state_dict(source) if isinstance(source, Mapping) else read_state_dict(source)
    conversion = load_method(method).load_converter()(state)
    settings = {**conversion.track, **(track or {})}
    model = VOSModel(method, {**conversion.model, **hyperparameters}, settings)
    load_converted(model.network, state, conversion)
    if not isinstance(source, Mapping):
        model.origin = {**_origin(method, Path(source)), **(origin or {})}
    elif origin:
        model.origin = dict(origin)
    return model


def _origin(method: str, path: Path) -> dict[str, str]:
    """Name and digest of an authors' file; licence and page where a published file bears that name."""
    known = next((weights for weights in load_method(method).weights if weights.file == path.name), None)
    more = {} if known is None else {"name": known.name, "page": known.page, "licence": known.licence}
    return {"file": path.name, "sha256": file_digest(path), **more}
