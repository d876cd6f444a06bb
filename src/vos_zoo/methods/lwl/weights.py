"""Published weights of LWL: facts about the files, which vos-zoo does not ship."""

from __future__ import annotations

from vos_zoo.registry import PublishedFile, WeightsEntry

_PAGE = "https://github.com/visionml/pytracking"
_LICENCE = "GPL-3.0"

WEIGHTS = (
    WeightsEntry(
        name="lwl-youtubevos",
        file="lwl_stage2.pth",
        url="https://drive.google.com/file/d/1Xnm4A2BRBliDBKO4EEFHAQfGyfOMsVyY/view",
        page=_PAGE,
        licence=_LICENCE,
        about="the authors', trained on YouTube-VOS and DAVIS, starts from masks",
        published={"youtube_vos18": {"G": 81.5}, "youtube_vos19": {"G": 81.0}},
    ),
    WeightsEntry(
        name="lwl-boxes",
        file="lwl_boxinit.pth",
        url="https://drive.google.com/file/d/1aAsj_N1LAMpmmcb1iOxo2z66tJM6MEuM/view",
        page=_PAGE,
        licence=_LICENCE,
        about="the authors', mask weights trained further on YouTube-VOS and COCO, starts from boxes",
        published={"youtube_vos18": {"G": 70.4}, "davis17": {"J&F": 70.8}},
    ),
)

MASKS = (
    PublishedFile(
        name="pytracking-masks",
        file="",
        url="https://drive.google.com/drive/folders/1cJ-5Ctl4PV9niQEe54zcWRQzsTutfY_n",
        page=_PAGE,
        licence=_LICENCE,
        about="the authors' masks, several files of LWL and of other methods in a folder; compare with the page",
    ),
)
