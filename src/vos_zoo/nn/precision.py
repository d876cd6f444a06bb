"""Number formats: the one place that says which part of a method runs in which, when half precision is asked for.

Half precision is autocast around *every* verb of a method: by the streaming engine in the format of `track.precision`,
by the trainer in that of `trainer.precision`. So a module has one format, whichever verb calls it, in training as in a
video.

| part | format |
|---|---|
| backbones, encoders of keys and values, projections, decoders, gates; reading a few-shot filter | the one asked for |
| label encoders, the few-shot learner, attention: similarities, softmax, what an exponential sees | float32 |
| memory of a video unless a method's settings say otherwise, merging, geometry, losses | float32 |

The first row needs nothing. The other parts run inside `in_full_precision`, and what they get of the first row passes
`full_precision`. A network in float64 runs in float64 throughout; results are float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

FORMATS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Names of the formats in settings."""


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """What is called inside runs in the format `precision`, a name in `FORMATS`; float32 ends an autocast around it."""
    reduced = precision != "float32"
    return torch.autocast(device.type, FORMATS[precision] if reduced else torch.bfloat16, enabled=reduced)


def in_full_precision(like: Tensor) -> torch.autocast:
    """What is called inside, on the device of `like`, stays out of an autocast around it."""
    return torch.autocast(like.device.type, enabled=False)


def full_precision(x: Tensor) -> Tensor:
    """The tensor in float32, or float64 where it is: what follows must not run in half precision."""
    return x.to(at_least_float32(x.dtype))


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The format itself, if it is float64, else float32."""
    return torch.promote_types(dtype, torch.float32)
