"""The tasks of the commands. Each task has its own module, which is imported when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vos_zoo.evaluation.protocol_titles import PROTOCOL_TITLES

MASK_FORMATS = ("coco", "sav", "yolo", "rgba", "prores", "vp9", "cvat", "label-studio")
"""What masks can be exported to and imported from."""
POLICIES = ("suggest", "uniform", "random", "oracle", "worst")
"""Who chooses the next frame to correct in `simulate`: the expected gain; even spacing; chance; the best of all by
trying; the lowest J&F."""
_HOMES = {
    "run_fit": "fit",
    "run_stages": "stages",
    "run_validate": "evaluate",
    "run_test": "evaluate",
    "run_check_submission": "evaluate",
    "run_leaderboard": "leaderboard",
    "run_score": "score",
    "run_export_masks": "masks",
    "run_import_masks": "masks",
    "run_track": "track",
    "run_review": "review",
    "run_simulate": "simulate",
    "run_quickstart": "quickstart",
    "run_benchmark": "benchmark",
    "run_export": "export",
    "run_convert": "convert",
    "run_demo": "demo",
    "run_check_data": "data",
    "run_make_data": "data",
}
__all__ = ["MASK_FORMATS", "POLICIES", "PROTOCOL_TITLES", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"vos_zoo.tasks.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
