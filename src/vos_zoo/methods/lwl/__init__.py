"""LWL: a small filter per object, fitted to its own mask encoding while the video runs (ECCV 2020)."""

from __future__ import annotations

from vos_zoo.methods.lwl.weights import MASKS, WEIGHTS
from vos_zoo.registry import MethodInfo

METHOD = MethodInfo(
    name="lwl",
    title="LWL",
    paper="Learning What to Learn for Video Object Segmentation",
    year=2020,
    url="https://arxiv.org/abs/2003.11540",
    licence_note="The authors' code and weights are GPL-3.0. This implementation is our own, Apache-2.0.",
    summary="A few-shot learner fits one 3x3 filter per object to a learned encoding of its mask.",
    target_model="vos_zoo.methods.lwl.target_model:LWL",
    converter="vos_zoo.methods.lwl.checkpoint:convert_state_dict",
    weights=WEIGHTS,
    masks=MASKS,
)
