"""Published weights of PCVOS and of its base method STCN, and PCVOS's result masks: facts, none of which we ship."""

from __future__ import annotations

from vos_zoo.registry import PublishedFile, WeightsEntry

_PAGE, _LICENCE = "https://github.com/pkyong95/PCVOS", "GPL-3.0"
_STCN_PAGE, _STCN_LICENCE = "https://github.com/hkchengrex/STCN", "MIT"
_STCN_TRACK = {"clip_length": 1, "memory_every": 5, "capacity": None}

WEIGHTS = (
    WeightsEntry(
        name="pcvos-youtubevos",
        file="s03_pcvos_ytvos.pth",
        url="https://drive.google.com/file/d/1g69yjZOkl4Hz3iFYfJkmo8Pvk1T25jjk/view",
        page=_PAGE,
        licence=_LICENCE,
        about="the authors', trained on static images, YouTube-VOS and DAVIS; the scores are with clips of 5 frames",
        track={"short_edge": 480},
        published={"youtube_vos18": {"G": 84.6}, "youtube_vos19": {"G": 84.6}},
    ),
    WeightsEntry(
        name="stcn",
        file="stcn.pth",
        url="https://drive.google.com/file/d/1mRrE0uCI2ktdWlUgapJI_KmgeIiF2eOm/view",
        page=_STCN_PAGE,
        licence=_STCN_LICENCE,
        about="STCN's authors' (PCVOS's base method), trained on static images, BL30K, YouTube-VOS and DAVIS",
        track=_STCN_TRACK,
        published={
            "davis16": {"J&F": 91.7},
            "davis17": {"J&F": 85.3},
            "youtube_vos18": {"G": 84.3},
            "youtube_vos19": {"G": 84.2},
        },
    ),
    WeightsEntry(
        name="stcn-s03",
        file="stcn_s03.pth",
        url="https://drive.google.com/file/d/1JllXPJZola0G-g1aUQfXe9nLMBioj-aH/view",
        page=_STCN_PAGE,
        licence=_STCN_LICENCE,
        about="STCN's authors', trained without BL30K",
        track=_STCN_TRACK,
    ),
)


def _masks(name: str, number: str, about: str, data: str, score: str, value: float) -> PublishedFile:
    """Result masks that PCVOS's authors share."""
    return PublishedFile(
        name=f"pcvos-{name}-masks",
        file=f"pcvos-{name}-masks.zip",
        url=f"https://drive.google.com/file/d/{number}/view",
        page=_PAGE,
        licence=_LICENCE,
        about=f"the authors' masks of {about}",
        published={data: {score: value}},
    )


_CLIPS_19 = {
    5: ("1DHvrKNmcglJtYnJJtpktZFMCCuTWo2_G", 84.6),
    10: ("16AfvzsEqqxXryCg-NrRB1J6cR5Cz242h", 84.1),
    15: ("19y2iNrMGDSZi5FBG_ZGLj54YIEsP01bY", 83.6),
    25: ("13bmDNZjEPVHdSmErq26cJhWgWcDxOq7R", 83.0),
}
_CLIPS_18 = {
    5: ("1ZhDGYsbfJKxKUXLbDsFssivMKSPzEJ43", 84.6),
    10: ("1nlDeJHVVsxIFPVRoAaeSDWhlYq9XUbBv", 84.0),
    15: ("1DuK9H6lmAJLGJrWwL-eUVz-d81Qc6-S7", 83.8),
    25: ("1VPFNXiYXKUU2P-aM20s-G3wIijSwZCt9", 83.3),
}
MASKS = (
    PublishedFile(
        name="stcn-masks",
        file="",
        url="https://drive.google.com/drive/folders/1V4wslwiGaFHwq09k019tXU1HpG-kODnZ",
        page=_STCN_PAGE,
        licence=_STCN_LICENCE,
        about="the masks of STCN's authors, several files in a folder; the published scores are those of s012",
        published={
            "davis16": {"J&F": 91.7},
            "davis17": {"J&F": 85.3},
            "youtube_vos18": {"G": 84.3},
            "youtube_vos19": {"G": 84.2},
        },
    ),
    _masks("davis17", "1Uh3sWM6u3KSs0lfVEhpBWsV5rVOdSRNI", "DAVIS 2017 val", "davis17", "J&F", 86.1),
    _masks("davis16", "1dqP2TIG9l5E7VI4NhLYKv7rehPJgxpBN", "DAVIS 2016 val", "davis16", "J&F", 91.9),
    *(
        _masks(f"yt{year}-clip{length}", number, f"YouTube-VOS 20{year} valid, clips of {length}", data, "G", value)
        for year, data, clips in ((19, "youtube_vos19", _CLIPS_19), (18, "youtube_vos18", _CLIPS_18))
        for length, (number, value) in clips.items()
    ),
)
