"""Fixtures shared by all tests: where the reference numbers and the data packs live."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
settings.register_profile("suite", max_examples=30, deadline=None)  # new ones in every run
settings.load_profile("suite")


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        pytest.skip(f"{variable}: the folder {folder.name!r} is not on this machine")
    return folder


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """The folder with the methods' golden data (`VOS_ZOO_REFERENCE`); skips where it is absent."""
    return _folder("VOS_ZOO_REFERENCE", REPOSITORY.parent / "shared" / "reference")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the real video packs (`VOS_ZOO_DATA`); skips where it is absent."""
    return _folder("VOS_ZOO_DATA", REPOSITORY.parent / "shared" / "data")


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and downloads allowed."""
    monkeypatch.setenv("VOS_ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VOS_ZOO_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
