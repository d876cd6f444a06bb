"""Models on the hub: what is uploaded comes back, calibration included, and what is not ours to publish stays here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open

from tests.helpers.contract_settings import toy_installed
from tests.helpers.stand_in_hub import Hub
from tests.helpers.unruly_server import Site
from vos_zoo.create import create_model
from vos_zoo.engine.confidence import CONFIDENCE_FILE, Calibration
from vos_zoo.hub import pretrained
from vos_zoo.model import VOSModel
from vos_zoo.types import UsageError

CALIBRATION = Calibration({"soft_iou": 0.5, "border": 2.0}, bias=-0.25, lost=0.3, found=0.6)


@pytest.fixture(autouse=True)
def _toy(online: None) -> Iterator[None]:
    with toy_installed():
        yield


@pytest.fixture
def hub(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(site, monkeypatch, tmp_path / "cache")


@pytest.fixture
def small() -> VOSModel:
    torch.manual_seed(1)
    return create_model("toy", channels=4, track={"short_edge": 48})


def same(one: VOSModel, two: VOSModel) -> bool:
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_pushed_to_the_hub_comes_back_from_it(
    small: VOSModel, site: Site, hub: Hub, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    small.push_to_hub("me/toy", token="hf_test")
    assert set(hub.committed) == {"model.safetensors", "config.json", "README.md"}
    with pytest.raises(UsageError, match="me/toy"):
        VOSModel.from_pretrained("me/toy", local_files_only=True)
    loaded = VOSModel.from_pretrained("me/toy", track={"short_edge": 40})
    assert same(loaded, small) and loaded.track_settings().short_edge == 40  # type: ignore[attr-defined]
    assert loaded.calibration == Calibration()
    count = len(site.asked)
    monkeypatch.setenv("VOS_ZOO_OFFLINE", "1")
    assert same(VOSModel.from_pretrained("me/toy"), small)
    assert len(site.asked) == count, "offline, the cache is enough"
    with pytest.raises(UsageError, match="me/other"):
        VOSModel.from_pretrained("me/other")
    assert len(site.asked) == count
    assert not [warning for warning in recwarn if CONFIDENCE_FILE in str(warning.message)]


def test_the_calibration_comes_from_the_hub_beside_the_weights(
    small: VOSModel, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.calibration = CALIBRATION
    small.push_to_hub("me/toy", token="hf_test")
    # as models are whose calibration was measured after they were saved: the weights file does not hold it
    other = Calibration({"soft_iou": 0.25})
    hub.committed[CONFIDENCE_FILE] = other.to_json().encode()
    assert VOSModel.from_pretrained("me/toy").calibration == other
    monkeypatch.setenv("VOS_ZOO_OFFLINE", "1")
    assert VOSModel.from_pretrained("me/toy").calibration == other


def test_a_hub_that_cannot_be_asked_for_the_calibration_is_named(
    small: VOSModel, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.push_to_hub("me/toy", token="hf_test")
    real = pretrained.hf_hub_download

    def broken(source: str, name: str, **options: object) -> str:
        if name == CONFIDENCE_FILE:
            raise LocalEntryNotFoundError("no connection")
        return real(source, name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pretrained, "hf_hub_download", broken)
    with pytest.warns(UserWarning, match=r"me/toy: confidence\.json cannot be looked up"):
        assert same(VOSModel.from_pretrained("me/toy"), small)


def test_a_weights_file_alone_has_its_calibration_and_the_file_beside_it_comes_first(
    small: VOSModel, site: Site, tmp_path: Path
) -> None:
    small.calibration = CALIBRATION
    small.save_pretrained(tmp_path / "saved")
    weights = tmp_path / "saved" / "model.safetensors"
    site.files["/alone/model.safetensors"] = weights.read_bytes()
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    address = f"{site.address}/alone/model.safetensors#sha256={digest}"
    assert VOSModel.from_pretrained(address).calibration == CALIBRATION
    other = Calibration({"border": 1.0})
    (tmp_path / "saved" / CONFIDENCE_FILE).write_text(other.to_json())
    assert VOSModel.from_pretrained(tmp_path / "saved").calibration == other


def test_a_folder_that_is_saved_again_without_a_calibration_has_none(small: VOSModel, tmp_path: Path) -> None:
    small.calibration = CALIBRATION
    small.save_pretrained(tmp_path)
    assert json.loads((tmp_path / CONFIDENCE_FILE).read_text())["bias"] == -0.25
    small.calibration = Calibration()
    small.save_pretrained(tmp_path)
    assert not (tmp_path / CONFIDENCE_FILE).exists()
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert sorted(file.metadata()) == ["format", "vos_zoo"]


def test_weights_of_others_without_a_licence_are_not_published(small: VOSModel, hub: Hub) -> None:
    small.origin = {"file": "x.pth", "licence": "none stated"}
    with pytest.raises(UsageError, match=r"'x\.pth', whose licence is 'none stated'; keep them to yourself"):
        small.push_to_hub("me/toy", token="hf_test")
    assert hub.committed == {}
    small.push_to_hub("me/toy", token="hf_test", private=True)
    assert "model.safetensors" in hub.committed
