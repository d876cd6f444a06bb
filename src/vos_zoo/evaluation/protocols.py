"""The field's evaluation protocols: which frames are scored, which numbers are reported, the form of submissions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
    """

    name: str
    rule: Rule = "davis"
    numbers: Numbers = "means"
    form: ResultForm = ResultForm()
    sampled_frames_cost: bool = False

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


def protocol_of(data: str, year: int) -> Protocol:
    """The protocol of a data set.

    Args:
        data: name of its reader.
        year: its edition, if it has several.
    """
    if data == "davis" and year == 2016:
        return Protocol("DAVIS 2016", numbers="davis")
    if data == "davis":
        return Protocol(f"DAVIS {year}", numbers="davis", form=_DAVIS_SERVER)
    if data == "youtube_vos":
        return Protocol(f"YouTube-VOS {year}", "youtube_vos", "youtube_vos", _YOUTUBE_SERVER, sampled_frames_cost=True)
    return PLAIN


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
