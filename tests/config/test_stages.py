"""Chains of stages: their layers, checks before the first one, and resuming."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.contract_settings import build
from tests.helpers.runs import chain, die_in_step, run_apart, weights
from vos_zoo.cli import main
from vos_zoo.config.layers import load_config
from vos_zoo.model import VOSModel
from vos_zoo.tasks.fit import start_from
from vos_zoo.types import UsageError


def test_layers_of_a_stage_stand_behind_what_lists_it_and_before_the_command_line(tmp_path: Path) -> None:
    own = {"name": "a", "recipe": "box", "optim": {"gamma": 0.5}, "data": {"batch_size": 3}}
    chain(tmp_path, own, "stage2", optim={"gamma": 0.7, "clip_norm": 2.0})
    file = tmp_path / "chain.yaml"
    one = load_config("lwl", files=[file], overrides=["seed=5"], stage="a")
    assert (one.optim.gamma, one.optim.clip_norm, one.data.batch_size, one.seed) == (0.5, 2.0, 3, 5)
    assert one.model["trains"] == "boxes" and one.stages == []
    two = load_config("lwl", files=[file], overrides=["data.batch_size=7"], stage="stage2")
    assert (two.data.batch_size, two.optim.gamma, two.optim.milestones) == (7, 0.2, [25, 75])
    assert load_config("lwl", files=[file]).stages == ["a", "stage2"]
    with pytest.raises(UsageError, match=r"unknown stage 'stage3'; did you mean 'stage2'\?"):
        load_config("lwl", files=[file], stage="stage3")


@pytest.mark.parametrize("stages", [["stage1", "stage1"], [{"optim": {}}], [["stage1"]]])
def test_stages_without_a_name_of_their_own_are_refused(tmp_path: Path, stages: list[Any]) -> None:
    chain(tmp_path, *stages)
    with pytest.raises(UsageError, match="needs a name of its own"):
        load_config("lwl", files=[tmp_path / "chain.yaml"])


def test_a_stage_may_adapt_the_entries_of_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = build("lwl")
    narrow.save_pretrained(tmp_path / "narrow")
    wide = build("lwl", label_channels=7, optim={"groups": {"": 1e-3}})
    with pytest.raises(UsageError, match="has shape"):
        start_from(wide, str(tmp_path / "narrow"), [""])

    def widen(earlier: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        fresh = wide.network.state_dict()
        return {name: t if t.shape == fresh[name].shape else fresh[name] for name, t in earlier.items()}

    monkeypatch.setattr(wide.network, "adopt", widen)
    start_from(wide, str(tmp_path / "narrow"), [""])
    same = [
        torch.equal(tensor, wide.state_dict()[name])
        for name, tensor in narrow.state_dict().items()
        if tensor.shape == wide.state_dict()[name].shape
    ]
    assert len(same) > 100 and all(same)


FIRST = {"name": "masks", "recipe": "quickstart", "data": {"batches_per_epoch": 2}}
SECOND = {
    "name": "boxes",
    "recipe": "quickstart",
    "model": {"box_encoder": True, "trains": "boxes", "losses": {"lovasz": 10.0}},
    "optim": {"groups": {"": None, "box_encoder": 1.0e-3}},
    "data": {"batches_per_epoch": 2},
}


def test_a_chain_killed_in_its_second_stage_ends_with_the_bits_of_an_unbroken_one(tmp_path: Path) -> None:
    words = [word for word in chain(tmp_path, FIRST, SECOND) if not word.startswith("model.losses")]
    assert main([*words, "run_name=whole"]) == 0
    code, said = run_apart([*words, "run_name=cut"], tmp_path, partial(die_in_step, 7))
    assert code == -signal.SIGKILL, said
    assert weights(tmp_path / "cut" / "boxes")["global_step"] == 2
    before = (tmp_path / "cut" / "masks" / "model" / "model.safetensors").stat().st_mtime_ns
    assert main([*words, "run_name=cut", "--ckpt", "last"]) == 0
    assert (tmp_path / "cut" / "masks" / "model" / "model.safetensors").stat().st_mtime_ns == before
    states = [
        {stage: VOSModel.from_pretrained(tmp_path / run / stage / "model").state_dict() for stage in ("masks", "boxes")}
        for run in ("whole", "cut")
    ]
    for stage, state in states[0].items():
        for name, tensor in state.items():
            assert torch.equal(tensor, states[1][stage][name]), f"{stage}: {name} differs"
    for name, tensor in states[1]["masks"].items():
        assert torch.equal(tensor, states[1]["boxes"][name]), f"{name}: the second stage did not start from the first"


def test_stages_are_checked_before_the_first_one_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = chain(tmp_path, FIRST, {**SECOND, "data": {"mixture": {"davis": {"root": "/nowhere"}}}})
    assert main([*words, "run_name=a"]) == 2
    assert "data.mixture.davis.root is '/nowhere'" in capsys.readouterr().err
    words = chain(tmp_path, FIRST, {**SECOND, "model": {"no_such": 1}})
    assert main([*words, "run_name=a"]) == 2
    assert "model.no_such" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_what_to_go_on_with_is_said_or_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = chain(tmp_path, FIRST)
    assert main([*words, "--ckpt", "last"]) == 2
    assert "no run lwl-stages-*" in capsys.readouterr().err
    assert main([*words, "run_name=x", "--ckpt", "last"]) == 2
    assert "no run 'x'" in capsys.readouterr().err
    assert main([*words, "--ckpt", str(tmp_path / "chain.yaml")]) == 2
    assert "continued with --ckpt last" in capsys.readouterr().err
    kept = tmp_path / "x" / "masks" / "checkpoints" / "last.ckpt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert main([*words, "run_name=x"]) == 2
    assert "resume them with --ckpt last" in capsys.readouterr().err
