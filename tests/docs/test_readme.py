"""What the README, the cards and the pages say: commands parse, names and files exist, scores are marked."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from benchmarks import card as cards

import vos_zoo
from vos_zoo.cli import build_parser
from vos_zoo.config.layers import load_config
from vos_zoo.config.resources import card_pictures
from vos_zoo.config.schema import DataConfig
from vos_zoo.evaluation.referee.truth import TruthSettings
from vos_zoo.registry import available_methods, load_method
from vos_zoo.tasks.score import find_protocol, read_settings

REPOSITORY = Path(__file__).resolve().parents[2]
README, DOCS = REPOSITORY / "README.md", REPOSITORY / "docs"
CARDS = sorted((REPOSITORY / "model_cards").glob("*.md"))
SHIPPED = sorted((REPOSITORY / "src" / "vos_zoo" / "shipped").glob("*/README.md"))
PAGES = [README, *CARDS, *SHIPPED, *sorted((REPOSITORY / "docs").rglob("*.md")), REPOSITORY / "CONTRIBUTING.md"]
PUBLISHED = ("81.5", "81.0", "70.4", "70.8", "81.6")
PUBLISHED_WORDS = re.compile(r"\bpublished\b", re.IGNORECASE)
NOT_KEYS = {
    *("model.py", "model.track", "model.network", "model.safetensors"),
    *("data.mixture.coco.root", "data.mixture.coco.weight"),
}
HUB_TASKS = {"image-segmentation", "mask-generation", "video-classification"}

pytestmark = pytest.mark.skipif(not README.is_file(), reason="the tests run outside the repository: no README")


def _blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def _commands() -> Iterator[tuple[str, str]]:
    """Page and command line of every complete `vos-zoo` command: lines of bash blocks, and examples in tables."""
    for page in PAGES:
        lines = [line for block in _blocks(page, "bash") for line in block.splitlines()]
        loops = [re.fullmatch(r"for (\w+) in ([\w -]+); do (.*); done", line) for line in lines]
        lines += [
            loop[3].replace(f"${loop[1]}", name).replace("$DAVIS", "DAVIS")
            for loop in loops
            if loop
            for name in loop[2].split()
        ]
        rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        lines += [code for row in rows for code in re.findall(r"`(vos-zoo [^`]+)`", row)]
        yield from ((page.name, line) for line in lines if line.startswith("vos-zoo "))


COMMANDS = sorted(set(_commands()))
SNIPPETS = [(page.name, block) for page in PAGES for block in _blocks(page, "python")]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_printed_command_is_understood_with_its_recipe_and_its_keys(page: str, line: str) -> None:
    options, rest = build_parser().parse_known_args(shlex.split(line, comments=True)[1:])
    assert all(re.fullmatch(r"[a-z_.]+=\S+", word) for word in rest), f"{page}: {line}: {rest}"
    assert options.overridable or not rest
    if options.command in ("models", "weights", "quickstart", "export", "check-data", "export-masks", "import-masks"):
        return
    if options.command == "score":
        assert options.data is None or (find_protocol(options.data) and read_settings(rest))
        return
    data = getattr(options, "kind", None) or getattr(options, "data", None)
    method = getattr(options, "model", None) or available_methods()[0]
    load_config(method=method, data=data, recipe=getattr(options, "recipe", None), overrides=rest)


def test_a_page_lists_every_command_and_another_every_recipe() -> None:
    known = set(build_parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr, arg-type]
    shown = set(re.findall(r"`vos-zoo ([a-z-]+)", (DOCS / "commands.md").read_text(encoding="utf-8")))
    assert known == shown
    recipes = {path.stem for path in (REPOSITORY / "configs" / "recipe").glob("*/*.yaml")}
    named = set(re.findall(r"`(\w+)`", (DOCS / "recipes.md").read_text(encoding="utf-8")))
    assert recipes <= named, f"docs/recipes.md does not name {sorted(recipes - named)}"


def test_the_readme_is_short_and_its_table_of_weights_is_that_of_the_shipped_models() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert cards.with_weights(text) == text, "run: python benchmarks/card.py write"


def test_the_loops_over_the_methods_know_every_method() -> None:
    loops = re.findall(r"^for m in ([\w -]+); do", (DOCS / "leaderboard.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert loops
    for names in loops:
        assert sorted(names.split()) == available_methods()


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) | set(re.findall(r"`make ([a-z-]+)`", text))
        assert named <= targets, f"{page.name} names {sorted(named - targets)}"


@pytest.mark.parametrize(("page", "code"), SNIPPETS)
def test_every_python_snippet_compiles_and_uses_names_that_exist(page: str, code: str) -> None:
    tree = ast.parse(code, filename=page)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("vos_zoo."):
            found: Any = vos_zoo
            for name in ast.unparse(node).split(".")[1:]:
                found = getattr(found, name)


def test_keywords_in_snippets_are_parameters_of_what_they_are_given_to() -> None:
    known = {
        "track": vos_zoo.VOSModel.track,
        "convert_checkpoint": vos_zoo.convert_checkpoint,
        "create_model": load_method("lwl").load_target_model(),
    }
    checked = 0
    for _, code in SNIPPETS:
        for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            for keyword in call.keywords if name in known else []:
                assert keyword.arg in inspect.signature(known[name]).parameters, ast.unparse(call)
                checked += 1
    assert checked


def _keys(kind: Any, prefix: str) -> Iterator[str]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        yield f"{prefix}.{field.name}"
        if is_dataclass(hints[field.name]):
            yield from _keys(hints[field.name], f"{prefix}.{field.name}")


def test_every_configuration_key_in_the_text_exists() -> None:
    known = {"track.preset", *_keys(DataConfig, "data"), *_keys(TruthSettings, "data")}
    for method in available_methods():
        model = load_method(method).load_target_model()
        known |= {f"model.{name}" for name in inspect.signature(model).parameters}
        known |= {*_keys(model.settings_type, "track")}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        codes = [*re.findall(r"`([^`\n]+)`", text), *_blocks(page, "bash")]
        named = re.findall(r"(?<![\w./])((?:model|track|data)\.[a-z_.]*[a-z])", "\n".join(codes))
        free = r"data\.mixture\.\w+\.(?:root|name)|model\.losses\.\w+"  # names in mappings are the user's
        wrong = {name for name in named if not re.fullmatch(free, name)} - known - NOT_KEYS
        assert not wrong, f"{page.name} names {sorted(wrong)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_linked_or_named_file_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith(("https://", "#")):
            assert (page.parent / link.partition("#")[0]).exists(), f"{page.name} links to {link}"
    for path in re.findall(r"(?<![\w/])((?:benchmarks|configs|tests|src|model_cards|docs|\.ci)/[a-z0-9_./-]+)", text):
        assert (REPOSITORY / path.rstrip(".")).exists(), f"{page.name} names {path}"


def test_cards_link_to_nothing_beside_them_but_the_pictures_that_travel_with_them() -> None:
    for card in CARDS:
        text = card.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)\s]+)\)", text)
        assert all(link.startswith("https://") or link in card_pictures(text) for link in links), card.name


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_a_cards_front_matter_says_what_the_registry_says(card: Path) -> None:
    front = yaml.safe_load(card.read_text(encoding="utf-8").split("---\n")[1])
    info = load_method(card.stem)
    assert {key: front[key] for key in ("title", "paper", "year", "url")} == {
        "title": info.title,
        "paper": info.paper,
        "year": info.year,
        "url": info.url,
    }
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "vos-zoo"
    assert front["pipeline_tag"] in HUB_TASKS
    assert "video-object-segmentation" in front["tags"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_published_scores_are_marked_on_their_line(page: Path) -> None:
    for line in page.read_text(encoding="utf-8").splitlines():
        if any(re.search(rf"(?<![\d.]){re.escape(score)}(?![\d.]\d)", line) for score in PUBLISHED):
            assert PUBLISHED_WORDS.search(line), f"{page.name}: {line}"


def test_pictures_are_small_and_all_of_them_are_shown() -> None:
    pictures = [path for path in (REPOSITORY / "docs" / "assets").iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in pictures) < 1_200_000
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert all(path.name in text for path in pictures)
