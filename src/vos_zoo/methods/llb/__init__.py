"""LLB: labels made from the object's own pixels, and gates between the two branches (AAAI 2023)."""

from __future__ import annotations

from vos_zoo.methods.llb.weights import WEIGHTS
from vos_zoo.registry import MethodInfo

METHOD = MethodInfo(
    name="llb",
    title="LLB",
    paper="Learning to Learn Better for Video Object Segmentation",
    year=2023,
    url="https://arxiv.org/abs/2212.02112",
    licence_note="The authors' code and weights carry no licence. This implementation is our own, Apache-2.0.",
    summary="A vision transformer makes the labels from background-filtered frames; gates weigh both branches.",
    target_model="vos_zoo.methods.llb.target_model:LLB",
    converter="vos_zoo.methods.llb.checkpoint:convert_state_dict",
    weights=WEIGHTS,
)
