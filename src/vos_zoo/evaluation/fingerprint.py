"""What a result depends on, as a digest: a finished sequence is reused only if nothing of it has changed."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

from vos_zoo.types import LabelMap, VideoSequence

_PACKAGES = ("vos-zoo", "torch", "pytorch-lightning", "numpy", "opencv-python-headless", "pillow", "timm")


def describe_tracker(tracker: Any) -> dict[str, str]:
    """Name, hyper-parameters and weights of a tracker, as far as it shows them.

    A network (anything with a `state_dict`, or a bound method of one) is known by its class, its `hparams` and the hash
    of its weights; a `functools.partial` by its function and arguments; anything else by its name.
    """
    if isinstance(tracker, functools.partial):
        return describe_tracker(tracker.func) | {"arguments": repr((tracker.args, sorted(tracker.keywords.items())))}
    owner = getattr(tracker, "__self__", tracker)
    if hasattr(owner, "state_dict"):
        hparams = json.dumps(dict(getattr(owner, "hparams", {})), sort_keys=True, default=repr)
        return {"name": _qualified(type(owner)), "hparams": hparams, "weights": weights_digest(owner.state_dict())}
    return {"name": _qualified(tracker if hasattr(tracker, "__qualname__") else type(tracker))}


def _qualified(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def weights_digest(state: Mapping[str, Any]) -> str:
    """SHA-256 of a state dict: names, types, shapes and values of its tensors, wherever they live."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        if not isinstance(value, torch.Tensor):
            digest.update(f"{name}={value!r};".encode())
            continue
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def describe_device(tracker: Any) -> str:
    """Where a network's parameters live, with the GPU's name; empty for trackers that have none."""
    owner = getattr(tracker, "__self__", tracker)
    first = next(iter(owner.parameters()), None) if hasattr(owner, "parameters") else None
    if first is None:
        return ""
    torch = sys.modules["torch"]
    return f"{first.device} ({torch.cuda.get_device_name(first.device)})" if first.is_cuda else str(first.device)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages a result may depend on."""
    versions = {"python": python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def sequence_digest(
    settings: Mapping[str, Any], sequence: VideoSequence, prompts: Mapping[int, LabelMap], *, scored: bool
) -> str:
    """SHA-256 of the settings and of what a tracker is given of one sequence.

    Covers the names of the frames, the objects, the given masks, uint8 ``(H, W)``, and whether there is truth to score
    against; not the pixels of the frames and the truth.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=repr).encode())
    digest.update(repr((sequence.name, sequence.frame_names, sequence.object_ids, scored)).encode())
    for index in sorted(prompts):
        digest.update(f"{index}:{prompts[index].shape};".encode())
        digest.update(prompts[index].tobytes())
    return digest.hexdigest()
