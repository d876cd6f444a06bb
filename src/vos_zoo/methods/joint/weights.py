"""Published weights of JOINT: facts about the files, which vos-zoo does not ship."""

from __future__ import annotations

from vos_zoo.registry import WeightsEntry

_PAGE = "https://github.com/maoyunyao/JOINT"
_LICENCE = "none stated: all rights are the authors'"

WEIGHTS = (
    WeightsEntry(
        name="joint-youtubevos",
        file="joint_ytvos.pth.tar",
        url="https://drive.google.com/file/d/1U48rlb1Xplb2CN2urwFtaB_o62B2Y4xo/view",
        page=_PAGE,
        licence=_LICENCE,
        about="the authors', trained on YouTube-VOS and DAVIS, for YouTube-VOS (stores every 5th frame)",
        track={"preset": "youtube_vos"},
        published={"youtube_vos18": {"G": 83.1}, "youtube_vos19": {"G": 82.8}},
    ),
    WeightsEntry(
        name="joint-davis",
        file="joint_davis.pth.tar",
        url="https://drive.google.com/file/d/1UB_gDc0LMg0yixIQmkxpAt2AMF4m9zRq/view",
        page=_PAGE,
        licence=_LICENCE,
        about="the authors', trained on YouTube-VOS and DAVIS, for DAVIS (stores every 3rd frame)",
        track={"preset": "davis"},
        published={"davis17": {"J&F": 83.5}},
    ),
)
