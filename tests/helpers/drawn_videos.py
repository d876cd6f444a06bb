"""A data module on videos in DAVIS layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vos_zoo.data.datamodule import VOSDataModule

WHOLE: dict[str, Any] = {
    "canvas": "frame",
    "sampling": {"query_frames": 2, "objects": 2},
    "gaps": {"limits": [[0, 3]]},
}


def module(root: Path, **changes: Any) -> VOSDataModule:
    options: dict[str, Any] = {
        "batch_size": 2,
        "workers": 0,
        "batches_per_epoch": 4,
        "crop": {"size": [32, 48]},
        "val_split": "train",
    }
    return VOSDataModule("davis", str(root), **{**options, **changes})


def frame_files(root: Path) -> list[Path]:
    return sorted((root / "JPEGImages").rglob("*.jpg"))
