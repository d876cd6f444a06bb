"""Fixtures of the tests of truths and predictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.scored_masks import PLAIN_FRAMES, TRUTH, videos, write_maps


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    root = tmp_path / "DAVIS"
    write_maps(root / "Annotations" / "480p", {"alpha": [TRUTH] * 6, "beta": [TRUTH] * 6}, PLAIN_FRAMES)
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("alpha\nbeta\n")
    return root


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    write_maps(tmp_path / "masks", videos(), PLAIN_FRAMES)
    return tmp_path / "masks"
