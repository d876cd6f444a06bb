"""JOINT: a few-shot learner and a transformer in parallel that read the same memory of frames (ICCV 2021)."""

from __future__ import annotations

from vos_zoo.methods.joint.weights import WEIGHTS
from vos_zoo.registry import MethodInfo

METHOD = MethodInfo(
    name="joint",
    title="JOINT",
    paper="Joint Inductive and Transductive Learning for Video Object Segmentation",
    year=2021,
    url="https://arxiv.org/abs/2108.03679",
    licence_note="The authors' repository states no licence. This implementation is our own, Apache-2.0.",
    summary="A few-shot filter and a transformer over the memory each predict the mask encoding; their sum is decoded.",
    target_model="vos_zoo.methods.joint.target_model:Joint",
    converter="vos_zoo.methods.joint.checkpoint:convert_state_dict",
    weights=WEIGHTS,
)
