"""Published weights of LWL: facts of the files, none of which the zoo ships."""

from __future__ import annotations

from vos_zoo.registry import KnownWeights

_PAGE = "https://github.com/visionml/pytracking"
_LICENCE = "GPL-3.0"

WEIGHTS = (
    KnownWeights(
        name="lwl-youtubevos",
        file="lwl_stage2.pth",
        page=_PAGE,
        licence=_LICENCE,
        about="the authors', trained on YouTube-VOS and DAVIS, starts from masks",
        published={"youtube_vos18": {"G": 81.5}, "youtube_vos19": {"G": 81.0}},
    ),
    KnownWeights(
        name="lwl-boxes",
        file="lwl_boxinit.pth",
        page=_PAGE,
        licence=_LICENCE,
        about="the authors', mask weights trained further on YouTube-VOS and COCO, starts from boxes",
        published={"youtube_vos18": {"G": 70.4}, "davis17": {"J&F": 70.8}},
    ),
)
