"""Settings of an inference run that every method has."""

from __future__ import annotations

from dataclasses import dataclass

from vos_zoo.config.settings.rules import Settings, setting
from vos_zoo.nn.precision import PRECISIONS

SMOOTH = ("specks", "nearest", "holes")
"""What `smooth` may hold; done in this order."""


@dataclass(frozen=True)
class TrackSettings(Settings):
    """Settings of an inference run that every method has; methods derive from it and add their own."""

    KEY = "track"

    group_size: int = setting(
        8, "at most so many objects go through the network together, which bounds the peak of memory", minimum=1
    )
    precision: str = setting(
        "float32",
        "number format of the networks: `float32` (IEEE), `tf32` (a GPU computes products and convolutions of "
        "float32 in TF32), `bf16` or `fp16`; `vos_zoo.nn.precision` says what stays in float32",
        choices=PRECISIONS,
    )
    compile: bool = setting(
        False,
        "compile encoding, reading and decoding for sizes that recur (`torch.compile`, on a GPU as CUDA graphs), which "
        "takes minutes at first; what cannot be compiled runs as it is",
    )
    smooth: tuple[str, ...] = setting(
        (),
        "what is done to results, not to what is tracked: `specks` drops components below `smooth_size` (not the "
        "largest), `nearest` drops components farther from the last mask than the square root of its area (not the "
        "nearest), `holes` fills holes below `smooth_holes`",
        choices=SMOOTH,
    )
    smooth_size: int = setting(30, "size of specks in pixels", minimum=1)
    smooth_holes: float = setting(0.1, "size of holes, as a share of the object's area", above=0)
