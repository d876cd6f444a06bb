"""Fixtures of the tests of videos in DAVIS layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from vos_zoo.data.datasets.export import write_davis_layout
from vos_zoo.data.opening import open_dataset


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three generated videos as files in DAVIS layout."""
    root = tmp_path_factory.mktemp("davis")
    settings = {"size": (64, 96), "frames": 12, "min_objects": 2, "max_objects": 2, "late_objects": 0.0}
    videos = open_dataset("synthetic", split="train", synthetic={**settings, "train_videos": 3})
    write_davis_layout(videos, root, split="train")
    return root


@pytest.fixture
def davis(drawn: Path, tmp_path: Path) -> Path:
    """A copy of the files that a test may break."""
    import shutil

    shutil.copytree(drawn, tmp_path / "davis")
    return tmp_path / "davis"
