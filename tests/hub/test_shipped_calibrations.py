"""The calibrations that ship with the weights, and what was measured of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vos_zoo.engine.confidence import CONFIDENCE_FILE, Calibration
from vos_zoo.hub.weights import shipped_weights

REPOSITORY = Path(__file__).resolve().parents[2]
RECORD = REPOSITORY / "benchmarks" / "results" / "confidence.json"


@pytest.mark.skipif(not RECORD.is_file(), reason="the tests run outside the repository: no records of benchmarks")
def test_expected_iou_ranks_frames_of_sequences_that_the_calibration_has_not_seen() -> None:
    record = json.loads(RECORD.read_text())
    assert record, "no weights are calibrated"
    for name, numbers in record.items():
        assert numbers["spearman"] >= 0.6, f"{name}: {numbers}"
        assert numbers["auroc_lost"] >= 0.85, f"{name}: {numbers}"


@pytest.mark.skipif(not RECORD.is_file(), reason="the tests run outside the repository: no records of benchmarks")
def test_calibrations_ship_with_the_weights_whose_numbers_are_recorded() -> None:
    record = json.loads(RECORD.read_text())
    shipped = {local.known.name: local.folder / CONFIDENCE_FILE for local in shipped_weights()}
    assert {name for name, path in shipped.items() if path.is_file()} == set(record)
    assert all(Calibration.load(shipped[name]) != Calibration() for name in record)
