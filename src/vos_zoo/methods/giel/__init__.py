"""GIEL: one pass for all objects of a frame, from global and instance embeddings (CVPR 2021)."""

from __future__ import annotations

from vos_zoo.registry import MethodInfo

METHOD = MethodInfo(
    name="giel",
    title="GIEL",
    paper="Video Object Segmentation Using Global and Instance Embedding Learning",
    year=2021,
    url="https://openaccess.thecvf.com/content/CVPR2021/html/Ge_Video_Object_Segmentation_Using_Global_and_Instance_Embedding_Learning_CVPR_2021_paper.html",
    licence_note="The authors published no code and no weights. This implementation is our own, Apache-2.0.",
    summary="One affinity with past frames reads a global embedding and a cheap embedding per object.",
    target_model="vos_zoo.methods.giel.target_model:Giel",
)
