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


def test_every_shipped_model_has_a_calibration_that_is_measured() -> None:
    for local in shipped_weights():
        calibration = Calibration.load(local.folder / CONFIDENCE_FILE)
        assert calibration != Calibration(), f"{local.known.name}: run benchmarks/calibrate.py"
