"""Published weights of PCVOS: facts about the file, which vos-zoo does not ship."""

from __future__ import annotations

from vos_zoo.registry import WeightsEntry

WEIGHTS = (
    WeightsEntry(
        name="pcvos-youtubevos",
        file="s03_pcvos_ytvos.pth",
        page="https://github.com/pkyong95/PCVOS",
        licence="GPL-3.0",
        about="the authors', trained on static images, YouTube-VOS and DAVIS; the scores are with clips of 5 frames",
        track={"short_edge": 480},
        published={"youtube_vos18": {"G": 84.6}, "youtube_vos19": {"G": 84.6}},
    ),
)
