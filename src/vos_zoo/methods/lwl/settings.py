"""Inference settings of LWL (sheet 4.10); the mask setting is the default of `LearnerTrackSettings`."""

from __future__ import annotations

BOX_PRESET = {
    "learning_rate": 0.2,
    "minimum_first_weight": 0.0,
    "equal_second": True,
    "refresh_every": 5,
    "update_iterations": 5,
}
"""The published setting of the box-initialised network (sheet 4.10)."""
