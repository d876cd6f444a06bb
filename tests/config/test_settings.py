"""Settings: declared once, checked wherever they are made, with the key, the value and the cure in the message."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.config.schema import RunConfig
from vos_zoo.config.settings.clips import CropSettings
from vos_zoo.config.settings.data import DataConfig, MixturePart
from vos_zoo.config.settings.rules import Settings, build_settings, describe_rule, key_hints, setting
from vos_zoo.registry import available_models, load_method
from vos_zoo.types import UsageError

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "vos_zoo"
SETTINGS = [PACKAGE / "config" / "schema.py", *sorted((PACKAGE / "config" / "settings").glob("*.py"))]
LIKE_A_GROUP = 4  # fields or keyword defaults that a second definition of a group shares with it
OTHERS = {"truth.TruthSettings"}  # keys of `vos-zoo score`: a ground truth, not a data set to train on


def groups(kind: type[Any] = RunConfig) -> Iterator[type[Any]]:
    """Every group of settings of the configuration, and the entries of mixtures."""
    yield kind
    for hint in key_hints(kind).values():
        if dataclasses.is_dataclass(hint):
            yield from groups(typing.cast(type[Any], hint))


GROUPS = [*groups(), MixturePart]
TRACK = dict.fromkeys(load_method(name).load_target_model().settings_type for name in available_models())
"""The inference settings of each method; their keys are the method's own."""


@pytest.mark.parametrize("kind", [*GROUPS, *TRACK], ids=lambda kind: kind.__name__)
def test_every_setting_has_a_meaning_and_a_default_that_keeps_its_rule(kind: type[Any]) -> None:
    assert issubclass(kind, Settings)
    made = kind()
    for item in dataclasses.fields(kind):
        assert len(item.metadata["meaning"].split()) >= 2, item.name
        assert not item.metadata["meaning"].endswith("."), f"{item.name}: a phrase, not a sentence"
    assert made == kind(**{item.name: getattr(made, item.name) for item in dataclasses.fields(kind)})


def test_no_two_groups_declare_the_same_key() -> None:
    """A field that two classes share comes from their common base."""
    owners: dict[str, set[type[Any]]] = {}
    for kind in GROUPS:
        for item in dataclasses.fields(kind):
            owner = next(base for base in kind.__mro__ if item.name in inspect.get_annotations(base))
            owners.setdefault(f"{kind.KEY}.{item.name}", set()).add(owner)
    assert {key for key, found in owners.items() if len(found) > 1} == set()


def states_a_value(default: ast.expr) -> bool:
    """Whether a default is a value of its own: not None or False, and no reference such as `Settings.field`."""
    unset = isinstance(default, ast.Constant) and (default.value is None or default.value is False)
    return not unset and not isinstance(default, ast.Attribute)


def declared(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Classes with their annotated fields, and functions with the parameters to which they give a default of theirs."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            lines = [line for line in node.body if isinstance(line, ast.AnnAssign) and line.value is not None]
            yield f"{path.stem}.{node.name}", {ast.unparse(line.target) for line in lines}
        elif isinstance(node, ast.FunctionDef):
            names = [each.arg for each in [*node.args.posonlyargs, *node.args.args]]
            pairs = [*zip(names[::-1], node.args.defaults[::-1], strict=False)]
            pairs += [(a.arg, d) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d]
            yield f"{path.stem}.{node.name}", {name for name, default in pairs if states_a_value(default)}


def test_no_class_or_function_states_the_defaults_of_a_group_again() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path in SETTINGS:
            continue
        for place, names in declared(path):
            for kind in GROUPS:
                if kind is not RunConfig and place not in OTHERS:
                    shared = names & {item.name for item in dataclasses.fields(kind)}
                    found += [f"{place}: {sorted(shared)} of {kind.__name__}"] * (len(shared) >= LIKE_A_GROUP)
    assert not found, f"take the settings object, or refer to its field: {found}"


def test_a_second_definition_of_a_group_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "again.py").write_text(
        "class Again:\n    size: int = 3\n    factor: float = 5.0\n    other = 2\n    bare: int\n"
        "def cut(size, factor=5.0, *, mode='x', flip=AugmentSettings.flip): ...\n"
    )
    assert dict(declared(tmp_path / "again.py")) == {"again.Again": {"size", "factor"}, "again.cut": {"factor", "mode"}}


def test_lists_become_the_tuples_that_are_declared() -> None:
    assert CropSettings(size=[32, 48]).size == (32, 48)  # type: ignore[arg-type]
    assert build_settings(DataConfig, {"jitter": {"query_centre": [1, 2]}}, "data").jitter.query_centre == (1.0, 2.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bach_size": 1}, r"unknown key data\.bach_size; did you mean data\.batch_size\?"),
        ({"crop": 3}, r"'data\.crop' is 3, expected keys and values"),
        ({"crop": {"size": [32]}}, r"'data\.crop\.size' is \[32\], expected 2 values"),
        ({"crop": {"size": 32}}, r"'data\.crop\.size' is 32, expected a list of integers"),
        ({"crop": {"size": [32, 4.5]}}, r"'data\.crop\.size' is \[32, 4\.5\], expected a list of integers"),
        ({"crop": {"factor": True}}, r"'data\.crop\.factor' is True, expected a number"),
        ({"crop": {"mode": None}}, r"'data\.crop\.mode' is null, expected a text"),
        ({"mask_threshold": 256}, r"'data\.mask_threshold' is 256, expected at most 255"),
        ({"frame": {"shear": 90}}, r"'data\.frame\.shear' is 90, expected below 90"),
        ({"batch_size": None}, r"'data\.batch_size' is null, expected an integer"),
    ],
)
def test_wrong_keys_and_values_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build_settings(DataConfig, given, "data")
    assert "\n" not in str(caught.value)


def test_the_parts_of_a_mixture_are_named_by_their_label() -> None:
    with pytest.raises(UsageError, match=r"'data\.mixture\.mine\.weight' is -1, expected above 0; null .* removes it"):
        DataConfig(mixture={"mine": {"name": "davis", "weight": -1}}).mixture_parts()
    parts = DataConfig(mixture={"davis": {"year": 2016}, "gone": None}).mixture_parts()
    assert parts == {"davis": MixturePart("davis", year=2016)}


@settings(max_examples=50, deadline=None)
@given(
    bound=st.integers(-5, 5), value=st.integers(-7, 7), rule=st.sampled_from(["minimum", "above", "maximum", "below"])
)
def test_a_bound_holds_for_every_number(bound: int, value: int, rule: str) -> None:
    @dataclasses.dataclass
    class Pair(Settings):
        KEY = "pair"
        both: tuple[int, int] = setting((bound, bound), "two numbers", **{rule: bound})

    fits = {"minimum": value >= bound, "above": value > bound, "maximum": value <= bound, "below": value < bound}[rule]
    inside = bound if rule in ("minimum", "maximum") else bound + (1 if rule == "above" else -1)
    if fits:
        assert Pair((inside, value)).both == (inside, value)
    else:
        with pytest.raises(UsageError, match=rf"^'pair\.both' is \[{inside}, {value}\], expected .* {bound}$"):
            Pair((inside, value))


def test_rules_are_said_in_words() -> None:
    rules = {
        item.name: (item.metadata, key_hints(CropSettings)[item.name]) for item in dataclasses.fields(CropSettings)
    }
    assert describe_rule(*rules["size"]) == "2 values, each at least 1"
    assert describe_rule(*rules["factor"]) == "above 0"
    assert describe_rule(*rules["mode"]) == "one of `inside_major`, `inside`, `replicate`"


def test_settings_load_no_heavy_library() -> None:
    code = (
        "import sys, vos_zoo.config.settings.data\n"
        "print(sorted({'torch', 'cv2', 'albumentations', 'pytorch_lightning', 'omegaconf', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
