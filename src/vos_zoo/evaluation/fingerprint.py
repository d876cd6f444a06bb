"""Digests of everything a result depends on: a finished sequence is reused only if none has changed."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from vos_zoo.revision import source_digest, weights_digest
from vos_zoo.types import LabelMap, VideoSequence

_PACKAGES = ("vos-zoo", "torch", "pytorch-lightning", "numpy", "opencv-python-headless", "pillow", "timm")


def describe_tracker(tracker: Any) -> dict[str, str]:
    """Name, hyper-parameters and weights of a tracker, as far as they are accessible.

    A network (anything with a `state_dict`, or a bound method of one) is identified by its class, its `hparams` and the
    hash of its weights; a `functools.partial` by its function and arguments; anything else by its name.
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


def describe_device(tracker: Any) -> str:
    """The device of a network's parameters: "cuda:0 (NVIDIA ...)" or "cpu"; empty for trackers without parameters."""
    owner = getattr(tracker, "__self__", tracker)
    first = next(iter(owner.parameters()), None) if hasattr(owner, "parameters") else None
    if first is None:
        return ""
    torch = sys.modules["torch"]
    return f"{first.device} ({torch.cuda.get_device_name(first.device)})" if first.is_cuda else str(first.device)


def named_device(tracker: Any) -> str:
    """The same with the processor's name: "cpu (AMD ...)"."""
    device = describe_device(tracker)
    return f"cpu ({processor()})" if device == "cpu" else device


def processor() -> str:
    """The processor's name as the system gives it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), platform.processor() or platform.machine())


def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages a result may depend on."""
    versions = {"python": python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def tracker_source(tracker: Any) -> str:
    """SHA-256 of a tracker's code: the package's source, and the modules of the tracker's own classes."""
    if isinstance(tracker, functools.partial):
        return tracker_source(tracker.func)
    owner = getattr(tracker, "__self__", tracker)
    parts = owner.modules() if hasattr(owner, "modules") else [owner]
    return source_digest([owner] if hasattr(owner, "__qualname__") else [type(part) for part in parts])


def data_digest(sequence: VideoSequence, prompts: Mapping[int, LabelMap], scored: Iterable[int]) -> str:
    """SHA-256 of everything read of a video: the tracker's inputs and the ground truth.

    Covers the names of the video and its frames, the content of every frame from the first given mask on, the given
    masks, uint8 ``(H, W)``, the objects with their categories, the requested frames, and the ground truth.

    Args:
        sequence: the video.
        prompts: frame -> given mask.
        scored: frames whose ground truth is used; none if there is none.

    Raises:
        VOSError: a frame or mask cannot be read.
    """
    facts = (sequence.name, sequence.frame_names, sequence.object_ids, sorted(sequence.categories.items()))
    digest = hashlib.sha256(repr((*facts, sequence.wanted_frames)).encode())
    for index in sorted(prompts):
        _add_labels(digest, f"given {index}", prompts[index])
    for index in range(min(prompts), len(sequence)):
        content = sequence.frame_content(index)
        digest.update(f"frame {index}: {len(content)};".encode())
        digest.update(content)
    for index in scored:
        labels = sequence.labels(index)
        if labels is not None:
            _add_labels(digest, f"truth {index}", labels)
    return digest.hexdigest()


def _add_labels(digest: Any, what: str, labels: LabelMap) -> None:
    digest.update(f"{what}: {labels.shape};".encode())
    digest.update(labels.tobytes())


def result_fingerprint(settings: Mapping[str, Any], data: str) -> str:
    """SHA-256 of everything that determines a video's result: the evaluation's settings and the digest of the data."""
    content = json.dumps(settings, sort_keys=True, default=repr)
    return hashlib.sha256(f"{content}{data}".encode()).hexdigest()
