"""The field's evaluation protocols: which frames are scored, which numbers are reported, the form of submissions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from vos_zoo.metrics.streaming import Rule
from vos_zoo.types import VideoSequence

Numbers = Literal["means", "davis", "youtube_vos"]
"""In addition to J, F and J&F: nothing; recall and decay of both; or G with its four groups."""


@dataclass(frozen=True)
class ResultForm:
    """Layout of results in a folder or archive.

    Attributes:
        top: folder that holds the sequences' folders; "" for none.
        server: the server that scores such an archive; "" if ground truth is public, and one object may be written as
            255.
        from_first_mask: whether frames before the first given mask are omitted.
    """

    top: str = ""
    server: str = ""
    from_first_mask: bool = False


@dataclass(frozen=True)
class Protocol:
    """An evaluation protocol.

    Attributes:
        name: its name in reports.
        rule: which frames are scored.
        numbers: what is reported.
        form: form of submissions.
        sampled_frames_cost: whether published results were tracked on more frames than are scored (YouTube-VOS).
        scoring: name of the protocol of `vos-zoo score` that gives the final numbers; "" if this evaluation gives them.
    """

    name: str
    rule: Rule = "davis"
    numbers: Numbers = "means"
    form: ResultForm = ResultForm()
    sampled_frames_cost: bool = False
    scoring: str = ""

    @property
    def convention(self) -> str:
        """A description of which frames are scored."""
        if self.rule == "davis":
            return "DAVIS: first and last frame dropped, objects scored from the frame after their given mask"
        return (
            "YouTube-VOS, a local estimate: annotated frames after an object's given mask, the last one included; "
            "the server's code is not public"
        )


PLAIN = Protocol("any videos")
_DAVIS_SERVER = ResultForm(server="the DAVIS 2017 evaluation server")
_YOUTUBE_SERVER = ResultForm("Annotations", "the YouTube-VOS evaluation server", from_first_mask=True)


_MOSE_SERVER = ResultForm(server="the MOSEv2 server at Codabench")
_YOUTUBE = Protocol("YouTube-VOS", "youtube_vos", "youtube_vos", _YOUTUBE_SERVER, sampled_frames_cost=True)
_BY_EDITION = {
    ("davis", 2016): Protocol("DAVIS 2016", numbers="davis"),
    ("davis", 2017): Protocol("DAVIS 2017", numbers="davis", form=_DAVIS_SERVER),
    **{("youtube_vos", year): replace(_YOUTUBE, name=f"YouTube-VOS {year}") for year in (2018, 2019)},
}
_BY_DATA = {
    "sav": Protocol("SA-V", scoring="sav"),
    "lvos": Protocol("LVOS v2", scoring="lvos"),
    "lvos_v1": Protocol("LVOS v1", scoring="lvos_v1"),
    "vost": Protocol("VOST", scoring="vost"),
    "mose": Protocol("MOSE", scoring="mose"),
    "mosev2": Protocol("MOSEv2", form=_MOSE_SERVER, scoring="mosev2"),
    "visor": Protocol("VISOR", scoring="visor"),
}


def protocol_of(data: str, year: int) -> Protocol:
    """The protocol of a data set.

    Args:
        data: name of its reader.
        year: its edition, if it has several.
    """
    return _BY_EDITION.get((data, year)) or _BY_DATA.get(data, PLAIN)


def readable(sequences: Sequence[VideoSequence]) -> Iterator[VideoSequence]:
    """The videos that can be opened; the others are already among a run's failures."""
    for number in range(len(sequences)):
        with suppress(Exception):
            yield sequences[number]


def only_sampled(frame_names: tuple[str, ...]) -> bool:
    """Whether a video has only sampled frames, every fifth or fewer: their names are numbers at least 5 apart."""
    if len(frame_names) < 2 or not all(name.isdigit() for name in frame_names):
        return False
    numbers = [int(name) for name in frame_names]
    return min(after - before for before, after in pairwise(numbers)) >= 5
