"""Conversion of the authors' weights, entry by entry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.contract_settings import BY_METHOD, build, moving_squares
from tests.helpers.small_models import SMALL, theirs
from tests.parity.golden import fill_weights
from vos_zoo.create import convert_checkpoint
from vos_zoo.methods.lwl.checkpoint import convert_state_dict
from vos_zoo.model import VOSModel
from vos_zoo.nn.unpickling import load_converted
from vos_zoo.types import Conversion, UsageError


def test_renamed_weights_convert_to_equal_ones(small: VOSModel) -> None:
    converted = convert_checkpoint(theirs(small), method="lwl", **SMALL)
    state = converted.network.state_dict()
    assert state.keys() == small.network.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in small.network.state_dict().items())
    assert converted.track_settings().refresh_every == 1  # type: ignore[attr-defined]


def test_weights_with_a_box_encoder_imply_it_and_its_inference_settings() -> None:
    boxes = build("lwl", box_encoder=True)
    converted = convert_checkpoint(theirs(boxes), method="lwl", **SMALL)
    assert converted.network.box_encoder is not None
    assert converted.track_settings().refresh_every == 5  # type: ignore[attr-defined]
    video = moving_squares(3)
    results = list(converted.eval().track(video.frames, {0: {1: (5, 6, 20, 22)}}, **BY_METHOD["lwl"].track))
    assert [result.ids for result in results] == [(1,)] * 3


def test_a_converted_file_and_its_state_dict_give_the_same_model(small: VOSModel, tmp_path: Path) -> None:
    torch.save({"net": theirs(small), "epoch": 1}, tmp_path / "authors.pth")
    converted = convert_checkpoint(tmp_path / "authors.pth", method="lwl", **SMALL)
    for name, tensor in converted.network.state_dict().items():
        assert torch.equal(tensor, small.network.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "entry"),
    [
        pytest.param(lambda s: s.pop("decoder.TSE.layer3.reduce.0.weight"), "TSE.layer3.reduce.0.weight", id="missing"),
        pytest.param(
            lambda s: s.pop("target_model.filter_optimizer.residual_module.filter_reg"),
            "filter_reg",
            id="scalar",
        ),
        pytest.param(
            lambda s: s.update({"decoder.novel.weight": torch.ones(1)}),
            "decoder.novel.weight",
            id="extra, known",
        ),
        pytest.param(lambda s: s.update({"optimizer.lr": torch.ones(1)}), "optimizer.lr", id="extra, unknown family"),
        pytest.param(
            lambda s: s.update({"decoder.project.conv1.bias": torch.ones(99)}), "decoder.project.conv1.bias", id="shape"
        ),
        pytest.param(
            lambda s: s.update({"module.x": s.pop("decoder.project.conv1.bias")}), "conv1.bias|module", id="prefix"
        ),
    ],
)
def test_missing_extra_and_mis_shaped_entries_are_refused_by_name(
    small: VOSModel, change: Callable[[dict[str, Tensor]], Any], entry: str
) -> None:
    state = theirs(small)
    change(state)
    with pytest.raises(UsageError, match=entry) as caught:
        convert_checkpoint(state, method="lwl", **SMALL)
    assert "\n" not in str(caught.value)


def test_entries_a_method_declares_unused_are_let_through_and_no_others() -> None:
    network = torch.nn.Linear(2, 2)
    state = {"w": torch.ones(2, 2), "b": torch.ones(2), "old": torch.ones(1)}
    names = {"weight": "w", "bias": "b"}
    load_converted(network, state, Conversion({}, {}, names, frozenset({"old"})))
    assert torch.equal(network.weight, state["w"])
    with pytest.raises(UsageError, match="old"):
        load_converted(network, state, Conversion({}, {}, names))


@pytest.mark.parametrize(("table", "entries"), [("state_dict.csv", 480), ("state_dict_box.csv", 490)])
def test_every_entry_of_the_authors_networks_is_mapped(reference_dir: Path, table: str, entries: int) -> None:
    state = fill_weights(reference_dir / "lwl", table)
    assert len(state) == entries
    conversion = convert_state_dict(state)
    assert set(conversion.names.values()) == set(state)
    converted = convert_checkpoint(state, method="lwl").network.state_dict()
    assert converted.keys() == conversion.names.keys()
    assert all(torch.equal(converted[ours], state[authors]) for ours, authors in conversion.names.items())


def test_a_method_without_a_converter_says_so() -> None:
    from tests.helpers.contract_settings import toy_installed

    with toy_installed(), pytest.raises(UsageError, match="toy"):
        convert_checkpoint({"x": torch.ones(1)}, method="toy")
