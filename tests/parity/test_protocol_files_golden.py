"""Folders as the official programs were given them: what is missing, broken or odd has their values, or is refused."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parity.test_protocols_golden import FOLDER, GOLDEN, pytestmark
from vos_zoo.evaluation.referee import PROTOCOLS, ScoredMasks, TruthSettings, open_results, score_masks
from vos_zoo.types import VOSError

__all__ = ["pytestmark"]

# program -> (protocol, its folder in the archive, the data set's root and further settings in a case's folder)
PROGRAMS: dict[str, tuple[str, str, dict[str, str]]] = {
    "vos_benchmark": ("vos_benchmark", "vosb", {"root": "gt"}),
    "sav": ("sav", "sav", {"root": "gt"}),
    "lvos": ("lvos", "lvos", {"root": "lvos", "unseen": "unseen_videos.txt"}),
    "vost": ("vost", "vost", {"root": "vost"}),
    "mosev2": ("mosev2", "mosev2", {"root": "."}),
    "visor": ("visor", "visor", {"root": "visor"}),
    "davis": ("davis17", "davis", {"root": "davis"}),
}
DECIMALS = {"vos_benchmark": 1, "sav": 1, "mosev2": 2}
MEASURES = {"lvos": ("J", "F", "V"), "vost": ("J", "J_last"), "mosev2": ("J", "F_new", "F")}
CASES = [(program, case) for program, cases in GOLDEN.get("folder_cases", {}).items() for case in cases]
OPTIONS_OF_THE_PROGRAM = ("strict", "processes")  # the same folders, run in another way


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    with zipfile.ZipFile(FOLDER / "files.zip") as archive:
        archive.extractall(folder)
    return folder


def scored(program: str, case: str, unpacked: Path) -> ScoredMasks:
    protocol, inside, settings = PROGRAMS[program]
    base = unpacked / inside / case
    chosen = TruthSettings(**{key: str(base / value) for key, value in settings.items()})
    truth = PROTOCOLS[protocol].find(chosen)
    with open_results(base / "pred", truth.videos, truth.masks.threshold) as results:
        return score_masks(PROTOCOLS[protocol], chosen, truth, results, official=True)


def expected_rows(files: dict[str, Any]) -> Iterator[tuple[str, list[float]]]:
    """(video_object, its numbers) of whatever file the program wrote."""
    for name, content in files.items():
        if name.endswith("metrics.json"):
            yield from ((key, [row["J"], row["F_new"], row["F"]]) for key, row in content.items())
        elif name.endswith("pred/results.csv"):
            for row in list(csv.reader(io.StringIO(content)))[2:]:
                yield f"{row[0].strip()}_{int(row[1])}", [float(row[3]), float(row[4])]
        elif "per-sequence" in name:
            yield from ((row[0], [*map(float, row[1:])]) for row in list(csv.reader(io.StringIO(content)))[1:])


def found_rows(program: str, result: ScoredMasks) -> Iterator[tuple[str, list[float]]]:
    decimals = DECIMALS.get(program, 3)
    scale = 100 if program in DECIMALS else 1
    position: dict[str, int] = {}
    for one in result.report.objects:
        position[one.video] = position.get(one.video, 0) + 1
        name = str(position[one.video]) if program == "lvos" else str(int(one.name))
        numbers = [round(scale * one.scores[key], decimals) for key in MEASURES.get(program, ("J", "F"))]
        yield f"{one.video}_{name}", numbers


@pytest.mark.parametrize(("program", "case"), CASES)
def test_folders_have_the_official_numbers_or_are_refused(program: str, case: str, unpacked: Path) -> None:
    about = GOLDEN["folder_cases"][program][case]
    if any(word in case for word in OPTIONS_OF_THE_PROGRAM):
        return
    expected = dict(expected_rows(about["files"]))
    try:
        result = scored(program, case, unpacked)
    except VOSError as error:
        assert not expected, f"the program has numbers, and this was refused: {error}"
        assert "\n" not in str(error)
        return
    if about["files"]:
        found = dict(found_rows(program, result))
        assert found.keys() == expected.keys()
        for key, row in expected.items():
            assert found[key] == pytest.approx(row, abs=1e-6), key
    else:  # the program crashes; there are right values
        assert result.report.objects


@pytest.mark.parametrize(("program", "case"), [c for c in CASES if c[1].startswith(("missing_middle", "missing_two"))])
def test_missing_frames_are_named(program: str, case: str, unpacked: Path) -> None:
    about = GOLDEN["folder_cases"][program][case]
    if about["files"] or "processes" in case:
        return
    with pytest.raises(VOSError, match=r"beta") as caught:
        scored(program, case, unpacked)
    assert re.search(r"missing|no mask", str(caught.value))
