"""Number formats: which part of a method runs in which format under half precision.

Half precision is autocast around *every* verb of a method: by the streaming engine in the format of `track.precision`,
by the trainer in that of `trainer.precision`. So a module has one format, whichever verb calls it, in training and in
tracking.

| part | format |
|---|---|
| backbones, encoders of keys and values, projections, decoders, gates; reading a few-shot filter | the requested one |
| label encoders, the few-shot learner, attention: similarities, softmax, inputs of exponentials | float32 |
| memory of a video unless a method's settings say otherwise, merging, geometry, losses | float32 |

The first row needs no code. The other parts run inside `in_full_precision`, and their inputs from the first row pass
`full_precision`. A network in float64 runs in float64 throughout; results are float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

FORMATS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Names of the formats in settings."""


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Code inside runs in the format `precision`, a name in `FORMATS`; float32 disables an outer autocast."""
    reduced = precision != "float32"
    return torch.autocast(device.type, FORMATS[precision] if reduced else torch.bfloat16, enabled=reduced)


def in_full_precision(like: Tensor) -> torch.autocast:
    """Code inside, on the device of `like`, is excluded from an outer autocast."""
    return torch.autocast(like.device.type, enabled=False)


def full_precision(x: Tensor) -> Tensor:
    """The tensor in float32, or float64 if it already is: what follows must not run in half precision."""
    return x.to(at_least_float32(x.dtype))


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The format itself, if it is float64, else float32."""
    return torch.promote_types(dtype, torch.float32)
