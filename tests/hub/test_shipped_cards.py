"""Weights that come with the package: their cards and scores; those that ship are sound."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import card as cards
from benchmarks import ship as tool
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from tests.evaluation.test_records import example
from tests.helpers.contract_settings import build
from tests.helpers.shipped import ABOUT, ship_small
from tests.helpers.shipped_tests import METHODS
from vos_zoo.cli import build_parser
from vos_zoo.config import resources
from vos_zoo.config.layers import load_config
from vos_zoo.evaluation.fingerprint import weights_digest
from vos_zoo.evaluation.record import RunRecord, read_record, write_record
from vos_zoo.hub.weights import find_weights, shipped_weights
from vos_zoo.model import VOSModel
from vos_zoo.registry import load_method
from vos_zoo.types import VOSError

THERE = [local.known.name for local in shipped_weights()]
FOLDER = resources.shipped_folder()


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


def test_a_run_can_count_under_a_name_of_its_own(place: Path, tmp_path: Path) -> None:
    ship_small("lwl", tmp_path / "run")
    record = record_of(VOSModel.from_pretrained("lwl-small"), "lwl-small")
    cards.add_score(write_record(record, tmp_path), "drawn, three objects")
    cards.write_cards()
    assert "| lwl-small | drawn, three objects | 65.0 " in (place / "lwl-small" / "README.md").read_text()
    assert read_record(tmp_path / "records" / "lwl-small-drawn-three-objects.json") == record


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
            record = read_record(cards.record_file(row["weights"], row["data"]))
            assert round(100 * (record.result.scores["J&F"] or 0), 2) == row["J&F"]
            assert record.result.weights == json.loads((local.folder / "measured.json").read_text())["weights"]
