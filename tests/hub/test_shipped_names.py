"""Weights that come with the package: found and listed by name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from tests.helpers.contract_settings import build
from tests.helpers.runs import small
from tests.helpers.shipped import ABOUT, ship_small
from vos_zoo.cli import main
from vos_zoo.evaluation.record import read_record
from vos_zoo.hub.weights import find_weights, named_weights
from vos_zoo.model import VOSModel
from vos_zoo.types import UsageError, VOSError

# -- names -----------------------------------------------------------------------------------------------------------


def test_a_shipped_name_is_never_a_path_and_never_asks_the_hub(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ship_small("lwl", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    other = build("joint", seed=2)
    other.save_pretrained(tmp_path / "lwl-small")
    assert VOSModel.from_pretrained("lwl-small").method == "lwl"
    assert VOSModel.from_pretrained("./lwl-small").method == "joint"
    assert VOSModel.from_pretrained(Path("lwl-small")).method == "joint"
    (tmp_path / "lwl-youtubevos").mkdir()
    assert named_weights("lwl-youtubevos") is None, "published names give way to a folder"
    with pytest.raises(UsageError, match=r"no weights at 'lwl-smal'; did you mean 'lwl-small'"):
        VOSModel.from_pretrained("lwl-smal")
    assert main(["weights", "lwl-smal"]) == 2
    assert "did you mean 'lwl-small'" in capsys.readouterr().err


def test_the_name_of_a_method_means_its_shipped_weights(place: Path, tmp_path: Path) -> None:
    assert find_weights("lwl").known.name == "lwl-youtubevos"  # type: ignore[union-attr]
    ship_small("lwl", tmp_path / "run")
    assert find_weights("lwl").known.name == "lwl-small"  # type: ignore[union-attr]
    assert find_weights("joint").known.name == "joint-youtubevos"  # type: ignore[union-attr]


def test_a_damaged_folder_is_named_and_does_not_stand_in_the_way_of_others(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "run")
    (place / "lwl-small" / "measured.json").write_text("{")
    with pytest.raises(VOSError, match=r"lwl-small are damaged .*install the package again"):
        VOSModel.from_pretrained("lwl-small")
    assert VOSModel.from_pretrained(tmp_path / "run").method == "lwl"


@pytest.mark.parametrize("method", ["joint", "pcvos"])
def test_the_command_line_tracks_and_tests_by_name(
    method: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ship_small(method, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    settings = ["data.synthetic.size=[48,80]", "data.synthetic.frames=5", "data.synthetic.test_videos=1"]
    name = f"{method}-small"
    assert main(["test", "--weights", name, "--data", "synthetic", "--output", str(tmp_path / "out"), *settings]) == 0
    record = read_record(tmp_path / "out" / "record.json")
    assert record.run.source == name and record.result.method == method
    assert record.result.weights == json.loads((place / name / "measured.json").read_text())["weights"]
    capsys.readouterr()


def test_training_starts_from_shipped_weights_and_keeps_their_licence(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "run")
    words = ["fit", "--model", "lwl", "--recipe", "quickstart", *small("lwl"), f"output={tmp_path}", "run_name=further"]
    words += ["trainer.max_epochs=1", "data.batches_per_epoch=1", "logger.name=none", "trainer.limit_val_batches=0"]
    assert main([*words, "init_from=lwl-small", "optim.groups={'': null, decoder: 1.0e-9}"]) == 0
    model, start = VOSModel.from_pretrained(tmp_path / "further" / "model"), VOSModel.from_pretrained("lwl-small")
    assert torch.equal(model.network.feature_conv.weight, start.network.feature_conv.weight)  # type: ignore[union-attr]
    assert model.origin == {**start.origin, "trained": "further"}
    card = ModelCard.load(tmp_path / "further" / "model" / "README.md")
    assert card.data.license == "cc-by-nc-4.0" and "were trained further from `lwl-small`" in card.text


# -- the list --------------------------------------------------------------------------------------------------------


def test_shipped_weights_are_listed_first_with_size_score_and_licence(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ship_small("pcvos", tmp_path / "a")
    ship_small("joint", tmp_path / "b")
    path = place / "joint-small" / "measured.json"
    numbers = json.loads(path.read_text())
    numbers["scores"] = [
        {"weights": "joint-small", "data": "six generated videos", "real": False, "J&F": 40.0},
        {"weights": "joint-small", "data": "davis2016-val", "real": True, "J&F": 63.24, "J": 61.0, "F": 65.48},
    ]
    path.write_text(json.dumps(numbers))
    assert main(["weights"]) == 0
    lines = capsys.readouterr().out.splitlines()
    size = f"{numbers['bytes'] / 1e6:.1f} MB"
    assert re.split(r"  +", lines[0]) == ["name", "method", "state", "size", "J&F by us", "licence", "source"]
    assert re.split(r"  +", lines[1]) == [
        *("joint-small", "joint", "ready", size, "63.2 on davis2016-val"),
        *("cc-by-nc-4.0 (research weights)", "ships with vos-zoo"),
    ]
    assert re.split(r"  +", lines[2])[:3] == ["pcvos-small", "pcvos", "ready"] and "  -  " in lines[2]
    assert "to download" in lines[3]
    assert main(["weights", "joint-small"]) == 0
    text = capsys.readouterr().out
    for line in (
        f"joint-small: {ABOUT}",
        "method     joint",
        "licence    cc-by-nc-4.0 (research weights)",
        "starts     from masks",
        f"size       {size}",
        f"here       {place / 'joint-small'}",
        "measured   davis2016-val: J&F 63.2, J 61.0, F 65.5",
    ):
        assert line in text.splitlines(), line
    assert main(["weights", "joint"]) == 0
    assert "joint-small:" in (text := capsys.readouterr().out) and "joint-youtubevos:" in text


def test_listing_weights_loads_no_torch(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from vos_zoo.config import resources; "
        f"resources._SHIPPED = Path({str(place)!r}); from vos_zoo.cli import main; main(['weights']); "
        "print({'torch', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    lines = done.stdout.splitlines()
    assert lines[1].startswith("lwl-small") and lines[-1] == "set()", done.stderr
