"""Names and titles of the protocols that masks can be scored by. Imports nothing heavy: help texts need it."""

from __future__ import annotations

PROTOCOL_TITLES = {
    "davis17": "DAVIS 2017",
    "davis16": "DAVIS 2016",
    "youtube_vos18": "YouTube-VOS 2018, a local estimate",
    "youtube_vos19": "YouTube-VOS 2019, a local estimate",
    "sav": "SA-V",
    "vos_benchmark": "any label maps, by vos-benchmark's rules",
    "lvos": "LVOS v2",
    "lvos_v1": "LVOS v1",
    "lvos_2022": "LVOS v1 by the program used until May 2024",
    "vost": "VOST",
    "mosev2": "MOSEv2",
    "mose": "MOSEv1, by DAVIS's rules",
    "visor": "VISOR as its converter writes it",
}
"""Name -> data set; `vos_zoo.evaluation.referee.protocols.PROTOCOLS` has exactly these."""
