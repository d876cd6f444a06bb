"""Number formats: which part of a method runs in which format under half precision.

Half precision is autocast around *every* verb of a method: by the streaming engine in the format of `track.precision`,
by the trainer in that of `trainer.precision`; the setting `precision` gives both. So a module has one format, whichever
verb calls it, in training and in tracking.

| part | format |
|---|---|
| backbones, encoders of keys and values, projections, decoders, gates; reading a few-shot filter | the requested one |
| label encoders, the few-shot learner, attention: similarities, softmax, inputs of exponentials; evidence | float32 |
| memory of a video unless a method's settings say otherwise, merging, geometry, losses | float32 |

The first row needs no code. The other parts run inside `in_full_precision`, and their inputs from the first row pass
`full_precision`. A network in float64 runs in float64 throughout; results are float32.

float32 is IEEE's: a GPU rounds no input of a product or convolution to TF32, also in the float32 parts of bf16 and
fp16. With "tf32" it rounds all of them (10 bits of mantissa). On a CPU "tf32" is float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

FORMATS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Names of the formats of tensors in settings."""
PRECISIONS = ("float32", "tf32", "bf16", "fp16")
"""How a network may run, by the names in settings."""


@contextmanager
def number_format(device: torch.device, precision: str) -> Iterator[None]:
    """Code inside runs on `device` in the format `precision`, one of `PRECISIONS`; float32 disables an outer autocast.

    Whether a GPU may use TF32 is a setting of the process: streams of several threads must agree in it.
    """
    reduced = precision in ("bf16", "fp16")
    kind = FORMATS[precision] if reduced else torch.bfloat16
    before = tf32_allowed()
    try:
        if device.type == "cuda":
            allow_tf32(precision == "tf32")
        with torch.autocast(device.type, kind, enabled=reduced):
            yield
    finally:
        if device.type == "cuda":
            _set_tf32(*before)


def allow_tf32(allowed: bool) -> None:
    """Whether products and convolutions of float32 on a GPU may use TF32."""
    _set_tf32(allowed, allowed)


def tf32_allowed() -> tuple[bool, bool]:
    """Whether products, and convolutions, may use it; torch's own default is convolutions alone."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _set_tf32(products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions


def in_full_precision(like: Tensor) -> torch.autocast:
    """Code inside, on the device of `like`, is excluded from an outer autocast."""
    return torch.autocast(like.device.type, enabled=False)


def full_precision(x: Tensor) -> Tensor:
    """The tensor in float32, or float64 if it already is: what follows must not run in half precision."""
    return x.to(at_least_float32(x.dtype))


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The format itself, if it is float64, else float32."""
    return torch.promote_types(dtype, torch.float32)
