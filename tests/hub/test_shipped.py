"""Weights that come with the package: how they are stored, shared and shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import ship as tool
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.helpers.contract_settings import build, moving_squares
from tests.helpers.shipped import ABOUT, ship_small
from tests.helpers.shipped_tests import METHODS
from vos_zoo.downloads.fetching import file_digest
from vos_zoo.hub.weights import find_weights
from vos_zoo.model import VOSModel
from vos_zoo.types import UsageError


def label_maps(model: VOSModel) -> list[Any]:
    video = moving_squares(5)
    return [result.label_map() for result in model.track(video.frames, {0: video.labels[0]})]


# -- how they are stored ---------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=6, max_size=6),
    st.sampled_from([1e-12, 1e-7, 1e-5, 1.0, 1e3]),
)
def test_an_entry_is_stored_as_float16_only_where_that_is_as_good_as_rounding(
    values: list[float], scale: float
) -> None:
    matrix = torch.tensor(values, dtype=torch.float32).view(2, 3) * scale
    kept = tool.stored(matrix)
    assert kept.float().isfinite().all()
    allowed = (matrix.abs().amax(1) * 2**-11).clamp(min=float(matrix.abs().max()) * 2**-21)
    assert ((kept.float() - matrix).abs().amax(1) <= allowed).all()
    vector = tool.stored(matrix.flatten())
    bound = (matrix.flatten().abs() * 2**-11).clamp(min=float(matrix.abs().max()) * 2**-21)
    assert ((vector.float() - matrix.flatten()).abs() <= bound).all(), "each element of a vector keeps its own bits"


def test_what_would_overflow_or_vanish_in_float16_stays_float32() -> None:
    fine = torch.linspace(-2, 2, 12).view(3, 4)
    assert tool.stored(fine).dtype == torch.float16
    assert tool.stored(fine * 1e5).dtype == torch.float32
    faint = fine * 1e-3
    faint[1] *= 1e-3  # one channel alone
    assert tool.stored(faint).dtype == torch.float32
    switched_off = fine.clone()
    switched_off[1] *= 1e-9
    assert tool.stored(switched_off).dtype == torch.float16, "the channel is nothing beside the others"
    assert tool.stored(torch.arange(6).view(2, 3)).dtype == torch.int64


@pytest.mark.parametrize("method", METHODS)
def test_every_method_ships_half_as_large_and_gives_the_same_masks(method: str, place: Path, tmp_path: Path) -> None:
    model = ship_small(method, tmp_path / "run")
    state = load_file(place / f"{method}-small" / "model.safetensors")
    for name, tensor in state.items():
        assert tensor.dtype in (torch.float16, model.state_dict()[name].dtype)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "run", place / f"{method}-small")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = VOSModel.from_pretrained(f"{method}-small")
    assert not loaded.training and all(p.dtype == torch.float32 for p in loaded.parameters())
    pairs = zip(label_maps(loaded), label_maps(model), strict=True)
    assert np.mean([(one == other).mean() for one, other in pairs]) > 0.98


def test_a_model_agrees_with_itself_on_drawn_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "FRAMES", 2)
    model = build("lwl").eval()
    assert tool.agreement(model, model) == 1


def test_a_model_saved_after_loading_is_whole_and_says_where_it_comes_from(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "run", share="network.backbone.")
    loaded = VOSModel.from_pretrained("lwl-small")
    loaded.save_pretrained(tmp_path / "copy")
    again = VOSModel.from_pretrained(tmp_path / "copy")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in loaded.state_dict().items())
    assert again.origin == {"name": "lwl-small", "licence": "cc-by-nc-4.0", "about": ABOUT}
    card = ModelCard.load(tmp_path / "copy" / "README.md")
    assert card.data.license == "cc-by-nc-4.0"
    assert "are `lwl-small`, which comes with vos-zoo, and keep their licence: cc-by-nc-4.0" in card.text


# -- a shared backbone -----------------------------------------------------------------------------------------------


def test_models_with_the_same_backbone_share_its_file(place: Path, tmp_path: Path) -> None:
    backbone = "network.backbone."
    models = {}
    for method in ("joint", "lwl"):
        model = build(method, seed=3).eval()
        if models:
            same = {k: v for k, v in models["joint"].state_dict().items() if k.startswith(backbone)}
            model.load_state_dict({**model.state_dict(), **same})
        model.save_pretrained(tmp_path / method)
        tool.ship(tmp_path / method, f"{method}-small", ABOUT, share=backbone)
        models[method] = model
    shared = load_file(place / "backbone.safetensors")
    for method, model in models.items():
        own = load_file(place / f"{method}-small" / "model.safetensors")
        assert not [name for name in own if name.startswith(backbone)]
        assert len(own) + len(shared) == len(model.state_dict())
        loaded = VOSModel.from_pretrained(f"{method}-small").state_dict()
        assert all(torch.allclose(loaded[name], tensor, atol=1e-2) for name, tensor in model.state_dict().items())
        config = json.loads((place / f"{method}-small" / "config.json").read_text())
        digest = file_digest(place / "backbone.safetensors")
        assert config["shared"] == {"backbone.safetensors": {"prefix": backbone, "sha256": digest}}
    files = (place / "backbone.safetensors", place / "lwl-small" / "model.safetensors")
    assert find_weights("lwl-small").size == sum(path.stat().st_size for path in files)  # type: ignore[union-attr]


def test_a_shared_file_that_is_missing_or_another_one_is_named(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "run", share="network.backbone.")
    folder = place / "lwl-small"
    backbone = (place / "backbone.safetensors").read_bytes()
    (place / "backbone.safetensors").write_bytes(backbone + b"\0")
    with pytest.raises(UsageError, match=r"backbone\.safetensors: SHA-256 is"):
        VOSModel.from_pretrained(folder)
    (place / "backbone.safetensors").unlink()
    with pytest.raises(UsageError, match=r"lacks the file 'backbone\.safetensors' next to it"):
        VOSModel.from_pretrained(folder)
    (folder / "backbone.safetensors").write_bytes(backbone)
    assert VOSModel.from_pretrained(folder).method == "lwl"
    config = json.loads((folder / "config.json").read_text())
    config["shared"] = {"../" + name: facts for name, facts in config["shared"].items()}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="plain file name"):
        VOSModel.from_pretrained(folder)


def test_other_entries_than_the_shared_ones_are_not_split_off(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "run", share="network.backbone.")
    build("joint", seed=9).save_pretrained(tmp_path / "other")
    with pytest.raises(UsageError, match=r"differs from that in backbone\.safetensors; ship without --share"):
        tool.ship(tmp_path / "other", "joint-small", ABOUT, share="network.backbone.")
    with pytest.raises(UsageError, match="no entry of the model begins so"):
        tool.ship(tmp_path / "other", "joint-small", ABOUT, share="backbone.")
    assert sorted(path.name for path in place.iterdir()) == ["backbone.safetensors", "lwl-small"]


# -- the tool that ships ---------------------------------------------------------------------------------------------


def test_weights_that_are_there_are_replaced_only_on_request_and_keep_their_card(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "run")
    folder = place / "lwl-small"
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nWritten by hand.\n")
    (folder / "assets").mkdir()
    (folder / "assets" / "failures.png").write_bytes(b"png")
    numbers = json.loads((folder / "measured.json").read_text())
    numbers["scores"] = [{"weights": "lwl-small", "data": "davis2016-val", "real": True, "J&F": 61.5}]
    (folder / "measured.json").write_text(json.dumps(numbers))
    build("lwl", seed=5).save_pretrained(tmp_path / "newer")
    with pytest.raises(UsageError, match="--replace"):
        tool.ship(tmp_path / "newer", "lwl-small", ABOUT)
    tool.ship(tmp_path / "newer", "lwl-small", ABOUT, replace=True)
    assert (folder / "README.md").read_text().endswith("Written by hand.\n")
    assert (folder / "assets" / "failures.png").read_bytes() == b"png"
    fresh = json.loads((folder / "measured.json").read_text())
    assert fresh["scores"] == [] and fresh["weights"] != numbers["weights"], "the scores were those of other weights"
    assert [path.name for path in place.iterdir()] == ["lwl-small"]


@pytest.mark.parametrize("name", ["lwl", "lwl-youtubevos", "a/b", ".."])
def test_a_name_that_means_something_else_is_refused(place: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        tool.ship(tmp_path, name, ABOUT)


def test_weights_of_others_and_weights_that_are_too_large_are_not_shipped(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("lwl")
    model.origin = {"file": "lwl_stage2.pth", "licence": "GPL-3.0"}
    model.save_pretrained(tmp_path / "theirs")
    with pytest.raises(UsageError, match="weights of others are not shipped"):
        tool.ship(tmp_path / "theirs", "lwl-small", ABOUT)
    build("lwl").save_pretrained(tmp_path / "ours")
    monkeypatch.setattr(tool, "MAX_BYTES", 1_000_000)
    with pytest.raises(UsageError, match="at most 1 MB each and 45 MB in all"):
        tool.ship(tmp_path / "ours", "lwl-small", ABOUT)
    assert not list(place.iterdir())
