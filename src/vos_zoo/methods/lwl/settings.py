"""Inference settings of LWL (docs/methods/lwl.md, "Inference settings").

The settings for masks are the defaults of `LearnerTrackSettings`.
"""

from __future__ import annotations

BOX_PRESET = {
    "learning_rate": 0.2,
    "minimum_first_weight": 0.0,
    "equal_second": True,
    "refresh_every": 5,
    "update_iterations": 5,
}
"""The published settings of the box-initialised network."""
