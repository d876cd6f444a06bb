"""The reference of all keys: complete, current on its page, and printed by `vos-zoo config`."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest

from vos_zoo.cli import main
from vos_zoo.config.reference import as_markdown, as_text, chosen_sections, method_sections, sections
from vos_zoo.config.schema import RunConfig
from vos_zoo.config.settings.rules import key_hints
from vos_zoo.registry import available_methods, load_method
from vos_zoo.types import UsageError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def leaves(kind: type, prefix: str = "") -> set[str]:
    names = set()
    for name, hint in key_hints(kind).items():
        names |= leaves(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else {prefix + name}  # type: ignore[arg-type]
    return names


def test_every_key_of_the_schema_is_listed_once() -> None:
    names = [key.name for section in sections() for key in section.keys]
    assert len(names) == len(set(names))
    assert {name for name in names if not name.startswith("data.mixture.")} == leaves(RunConfig)
    assert "data.mixture.LABEL.weight" in names


@pytest.mark.skipif(not PAGE.parent.is_dir(), reason="the tests run outside the repository: no pages")
def test_the_page_is_what_the_command_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown([*sections()]), (
        "vos-zoo config --markdown > docs/configuration.md"
    )


def test_a_key_or_a_part_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "data.crop.size"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "data.crop.size=[480, 832]  (a list of integers; 2 values, each at least 1)",
        "    height and width of the canvas in pixels",
    ]
    assert main(["config", "optim"]) == 0
    printed = capsys.readouterr().out
    assert "optim.betas=[0.9, 0.999]" in printed and "data." not in printed
    assert max(map(len, as_text([*sections()]).splitlines())) <= 120
    assert [key.name for section in chosen_sections([*sections()], "seed") for key in section.keys] == ["seed"]


@pytest.mark.parametrize(("key", "near"), [("data.crop.sise", "data.crop.size"), ("batch_size", "data.batch_size")])
def test_an_unknown_key_is_refused_with_the_nearest(key: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=f"unknown key '{key}'; did you mean '{near}'"):
        chosen_sections([*sections()], key)
    assert main(["config", key]) == 2


@pytest.mark.parametrize("method", available_methods())
def test_a_method_adds_its_own_keys_each_with_its_meaning(method: str) -> None:
    network, (model, track) = load_method(method).load_target_model(), method_sections(method)
    assert [key.name for key in model.keys] == [f"model.{name}" for name in inspect.signature(network).parameters]
    settings = [f"track.{item.name}" for item in dataclasses.fields(network.settings_type)]
    assert [key.name for key in track.keys] == ["track.preset", *settings]
    assert [key.name for key in (*model.keys, *track.keys) if not key.meaning] == []
