"""PCVOS: a matching network that reads, refines and decodes a whole clip of frames at a time (CVPR 2022)."""

from __future__ import annotations

from vos_zoo.methods.pcvos.weights import MASKS, WEIGHTS
from vos_zoo.registry import MethodInfo

METHOD = MethodInfo(
    name="pcvos",
    title="PCVOS",
    paper="Per-Clip Video Object Segmentation",
    year=2022,
    url="https://arxiv.org/abs/2208.01924",
    licence_note="The authors' code is GPL-3.0 (inference only). This implementation is our own, Apache-2.0.",
    summary="A clip of frames at a time is matched with the memory, refined by shifted windows, and decoded.",
    target_model="vos_zoo.methods.pcvos.target_model:PCVOS",
    converter="vos_zoo.methods.pcvos.checkpoint:convert_state_dict",
    weights=WEIGHTS,
    masks=MASKS,
)
