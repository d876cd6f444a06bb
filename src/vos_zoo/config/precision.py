"""One setting for the number format of tracking and training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TRAINER_PRECISIONS = {"float32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""Names of `vos_zoo.nn.precision.PRECISIONS` -> `trainer.precision`."""


def with_precision(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A layer of the configuration whose `precision`, if it has one, is that of `track` and `trainer`, too.

    What the layer itself gives to `track.precision` or `trainer.precision` stays.
    """
    wanted = tree.get("precision")
    if wanted not in TRAINER_PRECISIONS:  # none, or one that the check of values refuses
        return dict(tree)
    given = {"track": wanted, "trainer": TRAINER_PRECISIONS[wanted]}
    return {**tree, **{part: {"precision": value, **(tree.get(part) or {})} for part, value in given.items()}}
