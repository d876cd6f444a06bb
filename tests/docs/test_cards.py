"""The model cards: front matter the hub reads, figures of our own, measured numbers that are those of their JSON."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmarks import card as cards
from huggingface_hub import ModelCard
from huggingface_hub.repocard import RepoCard
from PIL import Image

from vos_zoo.config.resources import card_pictures, model_card, resource_folder
from vos_zoo.create import create_model
from vos_zoo.registry import available_methods, load_method

CARDS = [name for name in available_methods() if model_card(name) is not None]
FIGURES = sorted((resource_folder("model_cards") / "assets").glob("*.svg"))
NUMBERS = sorted((resource_folder("model_cards") / "measured").glob("*.json"))
SVG = "{http://www.w3.org/2000/svg}"


def text_of(method: str) -> str:
    path = model_card(method)
    assert path is not None
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("method", CARDS)
def test_the_front_matter_is_read_as_the_hub_reads_it(method: str) -> None:
    card = ModelCard(text_of(method))
    assert card.data.library_name == "vos-zoo" and card.data.license == "apache-2.0"
    assert card.data.pipeline_tag == "image-segmentation"
    assert {"video-object-segmentation", method} <= set(card.data.tags)
    again = RepoCard(str(card))
    assert again.data.to_dict() == card.data.to_dict() and again.text == card.text
    assert all(tag == tag.lower() and " " not in tag for tag in card.data.tags)


@pytest.mark.parametrize("method", CARDS)
def test_a_card_says_what_whom_how_well_how_fast_and_where_it_fails(method: str) -> None:
    headings = " ".join(re.findall(r"^## (.+)$", text_of(method), re.MULTILINE)).lower()
    for topic in ("how it works", "use it when", "commands", "numbers", "speed|cost", "failure", "licence"):
        assert re.search(topic, headings), f"{method}: no heading speaks of {topic!r}"
    assert re.search(r"\d MB", text_of(method)), f"{method}: the card says nothing of memory"


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_a_figure_is_a_small_picture_that_loads_nothing_and_says_what_it_shows(path: Path) -> None:
    assert path.stat().st_size < 30_000
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    assert root.tag == f"{SVG}svg"
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert root.find(f"{SVG}title") is not None and root.find(f"{SVG}desc") is not None
    for node in root.iter():
        assert node.tag.removeprefix(SVG) not in ("script", "image", "foreignObject", "use")
        assert not [name for name in node.attrib if "href" in name or name.startswith("on")]
        if node.tag in (f"{SVG}rect", f"{SVG}text"):
            x, y = float(node.attrib.get("x", 0)), float(node.attrib.get("y", 0))
            assert 0 <= x <= x + float(node.attrib.get("width", 0)) <= width
            assert 0 <= y <= y + float(node.attrib.get("height", 0)) <= height


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_every_card_shows_the_figure_of_its_method(path: Path) -> None:
    if path.stem in CARDS:
        assert f"assets/{path.name}" in card_pictures(text_of(path.stem)), f"{path.stem}.md does not show its figure"


def test_a_saved_model_takes_its_card_with_the_figure(tmp_path: Path) -> None:
    small = {"backbone": "timm:resnet10t", "feature_channels": 16, "label_channels": 4, "label_widths": [4, 4, 8]}
    create_model("lwl", decoder_width=4, **small).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == text_of("lwl")
    for name, picture in card_pictures(text_of("lwl")).items():
        assert (tmp_path / name).read_bytes() == picture.read_bytes()
    assert (tmp_path / "assets" / "lwl.svg").is_file()


@pytest.mark.parametrize("path", NUMBERS, ids=lambda path: path.stem)
def test_the_numbers_of_a_card_are_those_of_its_json(path: Path) -> None:
    text = text_of(path.stem)
    block = cards.render(json.loads(path.read_text()))
    assert cards.with_numbers(text, path.stem, block) == text, "run: python benchmarks/card.py write"


@pytest.mark.parametrize("path", NUMBERS, ids=lambda path: path.stem)
def test_the_json_of_a_card_belongs_to_the_method_as_it_is(path: Path) -> None:
    from vos_zoo.config.layers import load_config

    numbers = json.loads(path.read_text())
    model = load_method(path.stem).load_target_model()(**load_config(path.stem).model)
    assert numbers["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    rows = numbers["speed"]["rows"]
    assert rows[0]["objects"] == 1 and all(row["in_R"] > 0 and row["held_bytes"] > 0 for row in rows)


def test_changed_numbers_change_the_card_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(cards.CARDS, tmp_path / "cards")
    monkeypatch.setattr(cards, "CARDS", tmp_path / "cards")
    monkeypatch.setattr(cards, "README", shutil.copyfile(cards.README, tmp_path / "README.md"))
    path = tmp_path / "cards" / "measured" / "lwl.json"
    numbers = json.loads(path.read_text())
    numbers["speed"]["rows"][0]["in_R"] = 9.87
    path.write_text(json.dumps(numbers))
    cards.write_cards()
    old, new = text_of("lwl").splitlines(), (tmp_path / "cards" / "lwl.md").read_text().splitlines()
    assert [(a, b) for a, b in zip(old, new, strict=True) if a != b] == [
        (next(line for line in old if line.startswith("| 1 | 2.")), next(line for line in new if "9.9 R" in line))
    ]
    with pytest.raises(ValueError, match="lacks the lines"):
        cards.with_numbers("no such lines", "lwl", "x")


def test_a_runs_scores_enter_the_json_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.evaluation.test_records import example
    from vos_zoo.evaluation.record import write_record

    shutil.copytree(cards.CARDS, tmp_path / "cards")
    monkeypatch.setattr(cards, "CARDS", tmp_path / "cards")
    monkeypatch.setattr(cards, "README", shutil.copyfile(cards.README, tmp_path / "README.md"))
    record: Any = example()
    for _ in range(2):
        cards.add_score(write_record(record, tmp_path))
    rows = json.loads(cards.numbers_file(record.result.method).read_text())["scores"]
    added = [row for row in rows if row["data"] == record.result.data.title]
    assert len(added) == 1 and added[0]["J&F"] == pytest.approx(100 * record.result.scores["J&F"], abs=0.01)
    assert "| " + added[0]["weights"] in cards.render(json.loads(cards.numbers_file(record.result.method).read_text()))


@pytest.mark.parametrize("method", available_methods())
def test_a_card_shows_where_its_method_fails(method: str) -> None:
    shown = card_pictures(text_of(method))
    assert f"assets/{method}-failures.png" in shown, f"{method}.md shows no failures; see benchmarks/failures.py"
    with Image.open(shown[f"assets/{method}-failures.png"]) as picture:
        assert picture.size[0] >= 600 and shown[f"assets/{method}-failures.png"].stat().st_size < 100_000
