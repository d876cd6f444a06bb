"""The protocols that masks can be scored by: where its ground truth is, how it is scored, its name on the board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vos_zoo.evaluation.protocol_titles import PROTOCOL_TITLES
from vos_zoo.evaluation.referee import truth
from vos_zoo.evaluation.referee.lists import LVOS_V1_UNSEEN, LVOS_V2_UNSEEN
from vos_zoo.evaluation.referee.truth import Find, Truth, TruthSettings
from vos_zoo.metrics.davis_videos import score_davis, score_visor
from vos_zoo.metrics.lvos import Edition, read_ranges, score_lvos
from vos_zoo.metrics.mask_video import MaskVideo
from vos_zoo.metrics.mosev2 import read_objects, score_mosev2
from vos_zoo.metrics.sa_v import score_sa_v
from vos_zoo.metrics.score_report import ScoreReport
from vos_zoo.metrics.vost import score_vost
from vos_zoo.metrics.youtube_vos_videos import score_youtube_vos
from vos_zoo.types import UsageError

Score = Callable[[Sequence[MaskVideo], Truth, TruthSettings, bool], ScoreReport]


@dataclass(frozen=True)
class ScoringProtocol:
    """A protocol by its name on the command line.

    Attributes:
        name: its name.
        find: how its ground truth is found.
        score: how videos are scored: (videos, truth, settings, official).
        main: the measures of an object whose mean is the main score.
        board: final score -> its name on the board.
        skips_missing_videos: whether the official program leaves out videos without results, without a word.
        by_position: whether the official program takes results by their place, and a lone folder for the root.
    """

    name: str
    find: Find
    score: Score
    main: tuple[str, ...] = ("J", "F")
    board: tuple[tuple[str, str], ...] = (("J&F", "J&F"), ("J", "J"), ("F", "F"))
    skips_missing_videos: bool = False
    by_position: bool = False


_DAVIS_BOARD = (("J&F-Mean", "J&F"), ("J-Mean", "J"), ("F-Mean", "F"))
_LVOS_BOARD = (
    *_DAVIS_BOARD,
    *((f"{measure}-{group}-Mean", f"{measure}_{group}") for measure in "JF" for group in ("seen", "unseen")),
    ("V-Mean", "V"),
)
_G_BOARD = tuple((name, name) for name in ("G", "J_seen", "F_seen", "J_unseen", "F_unseen"))
_MOSE_BOARD = tuple(
    (name, name) for name in ("J&F_new", "J", "F_new", "disappear_J&F_new", "reappear_J&F_new", "F", "J&F")
)


def _davis(videos: Sequence[MaskVideo], found: Truth, settings: TruthSettings, official: bool) -> ScoreReport:
    return score_davis(videos, official=official)


def _visor(videos: Sequence[MaskVideo], found: Truth, settings: TruthSettings, official: bool) -> ScoreReport:
    return score_visor(videos, official=official)


def _vost(videos: Sequence[MaskVideo], found: Truth, settings: TruthSettings, official: bool) -> ScoreReport:
    return score_vost(videos, official=official)


def _sa_v(name: str) -> Score:
    def score(videos: Sequence[MaskVideo], found: Truth, settings: TruthSettings, official: bool) -> ScoreReport:
        return score_sa_v(videos, official=official, ends=settings.ends, name=name)

    return score


def _lvos(edition: Edition) -> Score:
    def score(videos: Sequence[MaskVideo], found: Truth, settings: TruthSettings, official: bool) -> ScoreReport:
        return score_lvos(videos, read_ranges(found.meta), found.unseen, official=official, edition=edition)

    return score


def _mosev2(videos: Sequence[MaskVideo], found: Truth, settings: TruthSettings, official: bool) -> ScoreReport:
    return score_mosev2(videos, read_objects(found.meta), official=official)


def _youtube(videos: Sequence[MaskVideo], found: Truth, settings: TruthSettings, official: bool) -> ScoreReport:
    if official:
        raise UsageError("--official: the YouTube-VOS server's program is not public; leave the option out")
    return score_youtube_vos(videos, found.meta)


_ALL = (
    ScoringProtocol("davis17", truth.davis_layout("davis2017", 2017), _davis, board=_DAVIS_BOARD),
    ScoringProtocol("davis16", truth.davis_layout("davis2016", 2016), _davis, board=_DAVIS_BOARD),
    ScoringProtocol("youtube_vos18", truth.meta_layout("youtube_vos2018", "jjvalid", True), _youtube, board=_G_BOARD),
    ScoringProtocol("youtube_vos19", truth.meta_layout("youtube_vos2019", "jjvalid", True), _youtube, board=_G_BOARD),
    ScoringProtocol(
        "sav",
        truth.folder_layout("sav", ("Annotations_6fps", "sav_{split}/Annotations_6fps"), "val"),
        _sa_v("SA-V"),
        skips_missing_videos=True,
    ),
    ScoringProtocol(
        "vos_benchmark",
        truth.folder_layout("masks", ("Annotations",)),
        _sa_v("vos-benchmark"),
        skips_missing_videos=True,
    ),
    ScoringProtocol("lvos", truth.lvos_layout("lvos_v2", LVOS_V2_UNSEEN), _lvos("2024"), board=_LVOS_BOARD),
    ScoringProtocol("lvos_v1", truth.lvos_layout("lvos_v1", LVOS_V1_UNSEEN), _lvos("2024"), board=_LVOS_BOARD),
    ScoringProtocol(
        "lvos_2022", truth.lvos_layout("lvos_v1_by_2022", LVOS_V1_UNSEEN), _lvos("2022"), board=_LVOS_BOARD
    ),
    ScoringProtocol(
        "vost",
        truth.listed_layout("vost", ("",)),
        _vost,
        main=("J",),
        board=(("J-Mean", "J"), ("J_last-Mean", "J_last")),
    ),
    ScoringProtocol(
        "mosev2",
        truth.meta_layout("mosev2", "valid", True),
        _mosev2,
        main=("J", "F_new"),
        board=_MOSE_BOARD,
        by_position=True,
    ),
    ScoringProtocol(
        "mose", truth.folder_layout("mose", ("{split}/Annotations", "Annotations"), "valid"), _davis, board=_DAVIS_BOARD
    ),
    ScoringProtocol(
        "visor", truth.listed_layout("visor", ("2022", "2017"), resolution=True), _visor, board=_DAVIS_BOARD
    ),
)
_BY_NAME = {one.name: one for one in _ALL}
PROTOCOLS = {name: _BY_NAME.pop(name) for name in PROTOCOL_TITLES}
"""All protocols, by name, in the order of `PROTOCOL_TITLES`."""
assert not _BY_NAME, f"protocols without a title: {', '.join(_BY_NAME)}"
