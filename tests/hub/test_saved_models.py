"""Saved models: what a folder holds, and files and folders that are refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.shipped import ship_into
from tests.helpers.small_models import Payload
from vos_zoo.create import create_model
from vos_zoo.model import VOSModel
from vos_zoo.types import UsageError

# -- saved models ----------------------------------------------------------------------------------------------------


def test_a_saved_folder_holds_weights_configuration_and_card(small: VOSModel, tmp_path: Path) -> None:
    small.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"model.safetensors", "config.json"}
    config = (tmp_path / "config.json").read_text()
    assert '"method": "lwl"' in config
    assert "backbone_weights" not in config, "where fresh weights came from is no property of saved ones"


def test_a_loaded_model_can_be_saved_and_loaded_again(small: VOSModel, tmp_path: Path) -> None:
    small.save_pretrained(tmp_path / "first")
    VOSModel.from_pretrained(tmp_path / "first", track={"capacity": 5}).save_pretrained(tmp_path / "second")
    again = VOSModel.from_pretrained(tmp_path / "second")
    assert again.track_settings().capacity == 5  # type: ignore[attr-defined]
    assert again.network.state_dict().keys() == small.network.state_dict().keys()


def spoil(folder: Path, how: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    if how == "no configuration":
        config.unlink()
    elif how == "broken configuration":
        config.write_text("{")
    elif how == "unknown method":
        config.write_text(config.read_text().replace('"lwl"', '"lwll"'))
    elif how == "unknown hyper-parameter":
        config.write_text(config.read_text().replace('"decoder_width"', '"decoder_with"'))
    elif how == "no weights":
        weights.unlink()
    elif how == "cut weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "other widths":
        config.write_text(config.read_text().replace('"feature_channels": 32', '"feature_channels": 16'))


@pytest.mark.parametrize(
    "how",
    [
        "no configuration",
        "broken configuration",
        "unknown method",
        "unknown hyper-parameter",
        "no weights",
        "cut weights",
        "other widths",
    ],
)
def test_a_spoiled_folder_is_refused_in_one_line(small: VOSModel, tmp_path: Path, how: str) -> None:
    small.save_pretrained(tmp_path)
    spoil(tmp_path, how)
    with pytest.raises(UsageError) as caught:
        VOSModel.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("lwl", r"downloads are switched off .*put the file at \S+lwl_stage2\.pth"),
        ("lwl-box", r"no weights at 'lwl-box'; did you mean 'lwl-boxes'"),
        ("no/such/folder", "no weights at"),
        ("nowhere.ckpt", "no weights at"),
    ],
)
def test_weights_that_are_nowhere_are_reported_by_name(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOS_ZOO_HOME", str(tmp_path))
    monkeypatch.setenv("VOS_ZOO_OFFLINE", "1")
    ship_into(tmp_path, monkeypatch)
    with pytest.raises(UsageError, match=message):
        VOSModel.from_pretrained(source)


def test_a_hub_id_that_is_not_at_hand_is_reported_by_name() -> None:
    with pytest.raises(UsageError, match="nobody/nothing"):
        VOSModel.from_pretrained("nobody/nothing", local_files_only=True)


def test_files_that_are_no_checkpoint_of_ours_are_refused(tmp_path: Path) -> None:
    torch.save({"net": {}}, tmp_path / "authors.pth")
    with pytest.raises(UsageError, match="vos-zoo convert"):
        VOSModel.from_pretrained(tmp_path / "authors.pth")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(UsageError, match=r"other\.ckpt"):
        VOSModel.from_pretrained(tmp_path / "other.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(UsageError, match=r"text\.ckpt"):
        VOSModel.from_pretrained(tmp_path / "text.ckpt")


def test_a_checkpoint_that_wants_to_run_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    content: Mapping[str, Any] = {"state_dict": {}, "hyper_parameters": Payload(os.system, f"touch '{marker}'")}
    torch.save(content, tmp_path / "evil.ckpt")
    with pytest.raises(UsageError, match=r"evil\.ckpt"):
        VOSModel.from_pretrained(tmp_path / "evil.ckpt")
    assert not marker.exists()


def test_unknown_methods_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"'lwll'.*'lwl'"):
        create_model("lwll")


def test_a_folder_that_bears_a_methods_name_is_a_folder(
    small: VOSModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.save_pretrained(tmp_path / "lwl")
    monkeypatch.chdir(tmp_path)
    assert VOSModel.from_pretrained("lwl").method == "lwl"
