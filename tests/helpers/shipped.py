"""Small models made and shipped in a test, by the tool that ships the real ones, into a folder of the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.ship import ship

from tests.helpers.contract_settings import build_lively
from vos_zoo.config import resources
from vos_zoo.model import VOSModel

ABOUT = "a small network, made in a test"


def ship_into(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on shipped weights lie in `place`."""
    monkeypatch.setattr(resources, "_SHIPPED", place)


def ship_small(method: str, folder: Path, name: str = "", boxes: bool = False, **options: Any) -> VOSModel:
    """Ship a small model of a method as METHOD-small (or `name`); returns it as it was before.

    Args:
        method: the method.
        folder: where the model is saved first.
        name: name of the weights.
        boxes: with a box encoder.
        options: keywords of `ship`.
    """
    model = build_lively(method, **({"box_encoder": True} if boxes else {}))
    model.save_pretrained(folder)
    ship(folder, name or f"{method}-small", options.pop("about", ABOUT), **options)
    return model
