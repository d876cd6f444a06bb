"""Evaluating trackers on data sets: scores, speed, memory, mask files, images of the worst frames.

The names below are loaded lazily, so that ``import vos_zoo.evaluation`` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vos_zoo.evaluation.baselines import copy_first_mask
    from vos_zoo.evaluation.gallery import write_gallery
    from vos_zoo.evaluation.protocols import Protocol, protocol_of
    from vos_zoo.evaluation.report import EvaluationReport, format_table, write_report
    from vos_zoo.evaluation.runner import evaluate
    from vos_zoo.evaluation.submission import check_submission, write_archive

_HOMES = {
    "EvaluationReport": "report",
    "Protocol": "protocols",
    "check_submission": "submission",
    "copy_first_mask": "baselines",
    "evaluate": "runner",
    "format_table": "report",
    "protocol_of": "protocols",
    "write_archive": "submission",
    "write_gallery": "gallery",
    "write_report": "report",
}

__all__ = [
    "EvaluationReport",
    "Protocol",
    "check_submission",
    "copy_first_mask",
    "evaluate",
    "format_table",
    "protocol_of",
    "write_archive",
    "write_gallery",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import the module behind a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
