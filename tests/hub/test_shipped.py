"""Weights that come with the package: how they are stored, found and listed; those that are there are sound."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import card as cards
from benchmarks import ship as tool
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests.evaluation.test_records import example
from tests.helpers.contract_settings import BY_METHOD, build, moving_squares
from tests.helpers.runs import small
from tests.helpers.shipped import ABOUT, ship_into, ship_small
from vos_zoo.cli import build_parser, main
from vos_zoo.config import resources
from vos_zoo.config.layers import load_config
from vos_zoo.evaluation.fingerprint import weights_digest
from vos_zoo.evaluation.record import RunRecord, read_record, write_record
from vos_zoo.hub.download import file_digest
from vos_zoo.hub.weights import find_weights, named_weights, shipped_weights
from vos_zoo.model import VOSModel
from vos_zoo.registry import load_method
from vos_zoo.types import UsageError, VOSError

METHODS = sorted(BY_METHOD)
THERE = [local.known.name for local in shipped_weights()]
FOLDER = resources.shipped_folder()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of shipped weights for this test, without a network."""
    monkeypatch.setenv("VOS_ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr(cards, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(cards, "README", shutil.copyfile(cards.README, tmp_path / "README.md"))
    ship_into(tmp_path / "shipped", monkeypatch)
    yield tmp_path / "shipped"


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("something asked the network")


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
    assert "missing" in lines[3]
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


# -- cards and numbers -----------------------------------------------------------------------------------------------


def check_card(folder: Path) -> None:
    """What holds of every card of shipped weights."""
    name, text = folder.name, (folder / "README.md").read_text(encoding="utf-8")
    card, config = ModelCard(text), json.loads((folder / "config.json").read_text())
    info = load_method(config["method"])
    assert card.data.license == "cc-by-nc-4.0" and card.data.library_name == "vos-zoo"
    front = card.data.to_dict()
    assert {key: front[key] for key in ("title", "paper", "year", "url")} == {
        key: getattr(info, key) for key in ("title", "paper", "year", "url")
    }
    assert {"video-object-segmentation", info.name} <= set(card.data.tags)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    for topic in ("Commands", "Made with", "Trained on", "Numbers", "Not good for", "Licence"):
        assert topic in headings, f"{name}: no heading {topic!r}"
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        assert link.startswith("https://") or (folder / link).is_file(), f"{name} links to {link}"
    commands = [line for line in text.splitlines() if line.startswith("vos-zoo ")]
    assert len(commands) >= 4
    for line in commands:
        options, words = build_parser().parse_known_args(shlex.split(line)[1:])
        assert getattr(options, "weights", name) == name, line
        if options.command == "fit":
            assert load_config(method=options.model, recipe=options.recipe, overrides=words).stages, line
    numbers = json.loads((folder / "measured.json").read_text())
    assert cards.with_numbers(text, name, cards.render(numbers)) == text, "run: python benchmarks/card.py write"


@pytest.mark.parametrize("method", METHODS)
def test_the_first_card_of_shipped_weights_is_sound(method: str, place: Path, tmp_path: Path) -> None:
    ship_small(method, tmp_path / "run", boxes=method == "lwl")
    check_card(place / f"{method}-small")
    text = (place / f"{method}-small" / "README.md").read_text()
    assert ABOUT in text and "No score of ours on a real data set yet." in text and "$" not in text


def record_of(model: VOSModel, name: str) -> RunRecord:
    """A record of a run of `model` under a name."""
    record = example()
    result = replace(record.result, method=model.method, weights=weights_digest(model.state_dict()))
    return replace(record, result=result, run=replace(record.run, source=name))


def test_a_run_of_shipped_weights_counts_in_their_card_with_every_sequence(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "run")
    record = record_of(VOSModel.from_pretrained("lwl-small"), "lwl-small")
    for _ in range(2):
        cards.add_score(write_record(record, tmp_path))
    cards.write_cards()
    check_card(place / "lwl-small")
    text = (place / "lwl-small" / "README.md").read_text()
    assert "| lwl-small | davis2017-val | 65.0 | 60.0 | 70.0 |" in text
    assert "J&F by sequence of davis2017-val: dog 65.0." in text
    assert read_record(tmp_path / "records" / "lwl-small-davis2017-val.json") == record
    assert find_weights("lwl-small").measured[0]["J&F"] == 65.0  # type: ignore[union-attr]


def test_a_run_of_other_weights_under_the_same_name_does_not_count(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "run")
    with pytest.raises(VOSError, match="as it was before; run vos-zoo test again"):
        cards.add_score(write_record(record_of(build("lwl", seed=7), "lwl-small"), tmp_path))


def test_speed_enters_a_card_in_R_and_in_frames_per_second() -> None:
    row = {"objects": 1, "note": "", "in_R": 0.513, "held_bytes": 2_000_000, "frames_per_second": 3.21}
    speed = {"what": "x", "command": "y", "R_seconds": 0.6, "device": "z", "rows": [row]}
    block = cards.render({"speed": speed, "parameters": 1_500_000, "bytes": 3_100_000, "scores": []})
    assert "| 1 | 0.51 R | 3.2 | 2 MB |" in block and "1.5 million parameters in 3.1 MB." in block


# -- the weights that are there --------------------------------------------------------------------------------------


def test_all_shipped_weights_together_are_small() -> None:
    files = list(FOLDER.rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) <= tool.MAX_TOTAL
    assert all(local.size is not None and local.size <= tool.MAX_BYTES for local in shipped_weights())


@pytest.mark.skipif(not THERE, reason="no weights ship yet")
def test_shipped_weights_are_what_their_folders_say() -> None:
    for local in shipped_weights():
        config = json.loads((local.folder / "config.json").read_text())
        assert local.known.licence == "cc-by-nc-4.0" and config["origin"]["name"] == local.known.name
        numbers = json.loads((local.folder / "measured.json").read_text())
        model = VOSModel.from_pretrained(local.known.name)
        assert numbers["weights"] == weights_digest(model.state_dict()) and numbers["bytes"] == local.size
        assert model.network.takes_boxes == ("boxes" in local.prompts)
        state: dict[str, Tensor] = load_file(local.folder / "model.safetensors")
        assert all(tensor.isfinite().all() for tensor in state.values())


@pytest.mark.skipif(not THERE, reason="no weights ship yet")
def test_cards_of_shipped_weights_are_sound_and_show_where_they_fail() -> None:
    for local in shipped_weights():
        check_card(local.folder)
        shown = re.findall(r"\]\((assets/[\w.-]+)\)", (local.folder / "README.md").read_text(encoding="utf-8"))
        assert shown, f"{local.known.name}: the card shows no failures; see benchmarks/failures.py"
        for name in shown:
            with Image.open(local.folder / name) as picture:
                assert picture.size[0] >= 600 and (local.folder / name).stat().st_size < 150_000


@pytest.mark.skipif(not THERE, reason="no weights ship yet")
def test_scores_of_shipped_weights_are_those_of_their_records() -> None:
    for local in shipped_weights():
        for row in local.measured:
            if row["real"]:
                record = read_record(cards.RECORDS / f"{row['weights']}-{row['data']}.json")
                assert round(100 * (record.result.scores["J&F"] or 0), 2) == row["J&F"]
                assert record.result.weights == json.loads((local.folder / "measured.json").read_text())["weights"]
