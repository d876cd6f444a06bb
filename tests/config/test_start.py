"""A training that starts from weights builds their network, whatever the method's file says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from vos_zoo.cli.handlers import configuration
from vos_zoo.config.resources import config_folder
from vos_zoo.hub.weights import shipped_weights
from vos_zoo.tasks.fit import build_model
from vos_zoo.types import UsageError

METHODS = sorted(path.parent.name for path in config_folder().glob("recipe/*/finetune.yaml"))


def config_of(method: str, *overrides: str, recipe: str | None = None):  # type: ignore[no-untyped-def]
    return configuration(argparse.Namespace(model=method, data="synthetic", recipe=recipe, overrides=list(overrides)))


@pytest.mark.parametrize("method", METHODS)
def test_the_recipe_builds_the_shipped_network_with_its_settings_and_weights(method: str) -> None:
    config = config_of(method, recipe="finetune")
    shipped = next(local for local in shipped_weights() if local.known.name == config.init_from)
    saved = json.loads((shipped.folder / "config.json").read_text(encoding="utf-8"))
    assert shipped.method == method and config.track == saved["track"]
    assert config.model["backbone"] == saved["model"]["backbone"]
    assert build_model(config).origin["trained"] == "further"  # raises where an entry does not fit


def test_there_is_a_recipe_for_every_method_with_shipped_weights() -> None:
    assert {local.method for local in shipped_weights()} == set(METHODS)


def test_keys_of_the_recipe_and_of_the_command_win_over_those_of_the_weights(tmp_path: Path) -> None:
    saved = {"model": {"decoder_width": 24, "label_channels": 6}, "track": {"capacity": 9, "write_every": 2}}
    (tmp_path / "config.json").write_text(json.dumps(saved), encoding="utf-8")
    config = config_of("joint", f"init_from={tmp_path}", "model.label_channels=8", "track.write_every=5")
    assert (config.model["decoder_width"], config.model["label_channels"]) == (24, 8)
    assert config.track == {"capacity": 9, "write_every": 5}


def test_a_file_without_settings_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    assert config_of("joint", f"init_from={tmp_path / 'last.ckpt'}").model == config_of("joint").model


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match=r"init_from .*not a model's configuration"):
        config_of("joint", f"init_from={tmp_path}")
