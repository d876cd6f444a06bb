"""Published weights of LLB: facts about the file, which vos-zoo does not ship."""

from __future__ import annotations

from vos_zoo.registry import WeightsEntry

WEIGHTS = (
    WeightsEntry(
        name="llb",
        file="JOINTNet_ep0090.pth.tar",
        url="https://drive.google.com/drive/folders/1Kkm1cOfgSySpSgHvzW7hgbdAjeb5iiwj",
        page="https://github.com/ViTAE-Transformer/VOS-LLB",
        licence="none stated: all rights are the authors'",
        about="the authors', trained on COCO images, YouTube-VOS and DAVIS, one file for both data sets",
        published={"davis17": {"J&F": 84.6, "J": 81.5, "F": 87.7}},
    ),
)
