"""The configuration: order of the layers, late interpolation, and messages that name the key and the cure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo import registry
from vos_zoo.config import layers as configuration
from vos_zoo.config import resources
from vos_zoo.config.layers import (
    available_data,
    available_recipes,
    check_keywords,
    check_signatures,
    load_config,
    save_config,
)
from vos_zoo.registry import MethodInfo, available_methods, load_method
from vos_zoo.types import UsageError

TOY = MethodInfo("toy", "Toy", "A toy", 2026, "https://example.org", "none", "Nothing.", "fractions:Fraction")
PATHS = ("youtube_vos", "davis", "coco", "saliency", "mask_rcnn", "vitae", "stills", "videos", "validation")
LAYERS = ("default", "method", "data", "recipe", "file", "second file", "flags", "override")


def _write(path: Path, tree: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of configurations with one method `toy`, its recipe `short`, and the data sets `plain` and `other`."""
    root = tmp_path / "configs"
    _write(root / "default.yaml", {"data": {"name": "plain"}})
    _write(root / "toy.yaml", {})
    _write(root / "data" / "plain.yaml", {"data": {"name": "plain"}})
    _write(root / "data" / "other.yaml", {"data": {"name": "other", "root": "???", "year": 2016}})
    _write(root / "recipe" / "toy" / "short.yaml", {})
    for module in (configuration, resources):
        monkeypatch.setattr(module, "config_folder", lambda: root)
    monkeypatch.setattr(configuration, "load_method", lambda name: TOY)
    return root


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("layers")


@settings(max_examples=15, deadline=None)
@given(chosen=st.sets(st.sampled_from(LAYERS), min_size=1))
def test_the_last_layer_that_names_a_key_wins_and_the_others_keep_their_own_keys(shared_folder, chosen):
    value = {name: 100 + number for number, name in enumerate(LAYERS)}

    def tree(layer: str, **more: object) -> dict:
        own = {"trainer": {layer.replace(" ", "_"): True}}
        return own | {"data": ({"batch_size": value[layer]} if layer in chosen else {}) | more}

    root = shared_folder
    _write(root / "default.yaml", tree("default", name="plain"))
    _write(root / "toy.yaml", tree("method"))
    _write(root / "data" / "plain.yaml", tree("data"))
    _write(root / "recipe" / "toy" / "short.yaml", tree("recipe"))
    files = [_write(root / f"{name}.yaml", tree(name)) for name in ("file", "second file")]
    with pytest.MonkeyPatch.context() as patch:
        for module in (configuration, resources):
            patch.setattr(module, "config_folder", lambda: root)
        patch.setattr(configuration, "load_method", lambda name: TOY)
        overrides = [f"data.batch_size={value['override']}"] if "override" in chosen else []
        config = load_config("toy", recipe="short", files=files, overrides=overrides, flags=tree("flags"))
    assert config.data.batch_size == max(value[name] for name in chosen)
    assert set(config.trainer) == {name.replace(" ", "_") for name in LAYERS if name != "override"}


def test_interpolations_are_resolved_after_the_last_layer(folder):
    _write(folder / "toy.yaml", {"model": {"size": "${data.crop.size}", "note": "${data.name}-${seed}"}})
    config = load_config("toy", overrides=["data.crop.size=[32,48]", "seed=7"])
    assert config.model == {"size": [32, 48], "note": "plain-7"}


def test_the_data_set_named_last_brings_its_own_file(folder):
    assert load_config("toy", overrides=["data.name=other", "data.root=x"]).data.year == 2016
    assert load_config("toy", data="other", overrides=["data.root=x", "data.year=2017"]).data.year == 2017
    assert load_config("toy", data="other", overrides=["data.root=x", "data.name=plain"]).data.root == "x"


def test_a_key_that_a_file_demands_must_be_given(folder):
    with pytest.raises(
        UsageError, match=r"'data.root' is not set and configs/data/other.yaml needs it; give data.root="
    ):
        load_config("toy", data="other")


def test_a_file_may_name_the_method(folder, tmp_path):
    file = _write(tmp_path / "mine.yaml", {"method": "toy"})
    assert load_config(files=[file]).method == "toy"
    assert load_config().method is None


def test_null_takes_a_group_of_parameters_away(folder):
    _write(folder / "toy.yaml", {"optim": {"groups": {"": 1e-3, "backbone.layer4": 1e-5}}})
    assert load_config("toy").optim.groups == {"": 1e-3, "backbone.layer4": 1e-5}
    assert load_config("toy", overrides=["optim.groups={backbone.layer4: null}"]).optim.groups == {"": 1e-3}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.rot=x", r"unknown key 'data.rot'; did you mean 'data.root'\?"),
        ("root=x", r"unknown key 'root'; did you mean 'data.root'\?"),
        ("optm.gamma=1", r"unknown key 'optm'; did you mean 'optim'\?"),
        ("data.crop.factr=1", r"unknown key 'data.crop.factr'; did you mean 'data.crop.factor'\?"),
        ("zzz=1", r"unknown key 'zzz'; there are: method, model"),
        ("data.batch_size=many", r"'data.batch_size' is 'many', expected an integer"),
        ("data.batch_size=1.5", r"'data.batch_size' is 1.5, expected an integer"),
        ("data.batch_size=null", r"'data.batch_size' is null, expected an integer"),
        ("data.crop.factor=wide", r"'data.crop.factor' is 'wide', expected a number"),
        ("data.crop=3", r"'data.crop' is 3, expected keys and values"),
        ("data.crop.size=[3]", r"'data.crop.size' is \[3\], expected 2 values"),
        ("data.crop.size=[3,x]", r"'data.crop.size' is \[3, 'x'\], expected a list of integers"),
        ("data.sequences=bear", r"'data.sequences' is 'bear', expected a list of texts or null"),
        ("data.skip_broken=perhaps", r"'data.skip_broken' is 'perhaps', expected true or false"),
        ("data.batch_size=0", r"'data.batch_size' is 0, expected at least 1"),
        ("data.augment.flip=1.5", r"'data.augment.flip' is 1.5, expected at most 1"),
        ("logger.name=paper", r"'logger.name' is 'paper', expected one of: csv, wandb, none"),
        ("optim.groups={head: fast}", r"'optim.groups.head' is 'fast', expected a number or null"),
        ("trainer=3", r"'trainer' is 3, expected keys and values"),
        ("data.seed=${sed}", r"'data.seed': Interpolation key 'sed' not found"),
        ("data.seed=${output}", r"'data.seed': .*could not be converted to Integer"),
        ("data.name=plan", r"unknown data set 'plan'; did you mean 'plain'\?"),
        ("data.batch_size", r"'data.batch_size' is not of the form key=value"),
        ("=3", r"'=3' is not of the form key=value"),
        ("model.x=[1", r"cannot read 'model.x=\[1'"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_with_the_cure(folder, override, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_config("toy", overrides=[override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("data: {rot: 1}", r"unknown key 'data.rot' in .*mine.yaml; did you mean 'data.root'\?"),
        ("data: {workers: x}", r"'data.workers' is 'x', expected an integer \(.*mine.yaml\)"),
        ("data: [1", r"mine.yaml: not valid YAML"),
        ("- 1", r"mine.yaml: expected keys and values"),
    ],
)
def test_a_wrong_file_is_named(folder, tmp_path, content, message):
    (tmp_path / "mine.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        load_config("toy", files=[tmp_path / "mine.yaml"])


def test_missing_files_and_unknown_recipes_are_refused(folder):
    with pytest.raises(UsageError, match=r"nowhere.yaml: no such configuration file"):
        load_config("toy", files=["nowhere.yaml"])
    with pytest.raises(UsageError, match=r"toy: cannot be read"):
        load_config("toy", files=[folder / "recipe" / "toy"])
    with pytest.raises(UsageError, match=r"unknown recipe 'shrt' of method 'toy'; did you mean 'short'\?"):
        load_config("toy", recipe="shrt")
    with pytest.raises(UsageError, match=r"recipe 'short' belongs to a method; give --model"):
        load_config(recipe="short")


def test_a_saved_configuration_loads_as_the_same_configuration(folder, tmp_path):
    _write(folder / "toy.yaml", {"model": {"rate": 1e-6, "size": "${data.crop.size}"}, "optim": {"groups": {"": 3e-5}}})
    config = load_config("toy", overrides=["data.crop.size=[64,96]", "run_name='01'", "data.seed=3"])
    path = save_config(config, tmp_path / "run" / "config.yaml")
    assert "${" not in path.read_text(encoding="utf-8")
    assert load_config(files=[path]) == config


def test_a_failed_save_leaves_the_old_file_and_nothing_else(folder, tmp_path):
    path = save_config(load_config("toy"), tmp_path / "run" / "config.yaml")
    before = path.read_bytes()
    broken = load_config("toy")
    broken.model["unwritable"] = object()
    with pytest.raises(yaml.YAMLError):
        save_config(broken, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["config.yaml"]


def _build(width: int, rate: float = 0.1, name: str | None = None, layers: tuple[int, ...] = ()) -> None:
    """Stands for the constructor of a target model."""


def test_keywords_that_fit_a_signature_pass():
    check_keywords({"width": 3, "rate": 1, "name": None, "layers": [1, 2]}, _build, "model")


@pytest.mark.parametrize(
    ("given_keywords", "message"),
    [
        ({"width": 3, "rte": 1}, r"unknown key 'model.rte'; did you mean 'model.rate'\?"),
        ({"width": 3, "zzz": 1}, r"unknown key 'model.zzz'; model takes: width, rate, name, layers"),
        ({"rate": 1.0}, r"'model.width' is not set; give model.width=VALUE"),
        ({"width": "wide"}, r"'model.width' is 'wide', expected an integer"),
        ({"width": True}, r"'model.width' is True, expected an integer"),
        (
            {"width": 1, "name": 3},
            r"'model.name' is 3, expected a text or null; quote a string .*: 'model.name=\"...\"'",
        ),
        ({"width": 1, "name": True}, r"'model.name' is True, expected a text or null; quote a string"),
    ],
)
def test_keywords_that_do_not_fit_a_signature_are_named(given_keywords, message):
    with pytest.raises(UsageError, match=message):
        check_keywords(given_keywords, _build, "model")


def test_trainer_keys_are_checked_against_lightnings_own_signature(folder):
    check_signatures(load_config(overrides=["trainer.max_epochs=3", "trainer.precision=16-mixed"]))
    with pytest.raises(UsageError, match=r"unknown key 'trainer.max_epoch'; did you mean 'trainer.max_epochs'\?"):
        check_signatures(load_config(overrides=["trainer.max_epoch=3"]))


@pytest.mark.parametrize("method", available_methods())
def test_every_method_loads_with_every_data_set_and_every_recipe_and_fits_its_constructor(method):
    for data in available_data():
        config = load_config(method, data=data, overrides=["data.root=somewhere"])
        assert config.method == method and data.startswith(config.data.name)
    given = ["data.root=somewhere", *(f"paths.{name}=there" for name in PATHS)]
    for recipe in (None, *available_recipes(method)):
        whole = load_config(method, recipe=recipe, overrides=given)
        for stage in (None, *whole.stages):
            check_signatures(load_config(method, recipe=recipe, overrides=given, stage=stage))
    with pytest.raises(UsageError, match=r"unknown key 'model\.no_such_argument'"):
        check_signatures(load_config(method, overrides=["model.no_such_argument=1"]))


def test_loading_a_configuration_imports_no_heavy_library():
    script = (
        "import sys; from vos_zoo.config.layers import load_config; load_config()\n"
        "heavy = {'torch', 'pytorch_lightning', 'timm', 'albumentations', 'cv2', 'wandb'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_method_is_refused_before_anything_is_merged():
    load_method.cache_clear()
    with pytest.raises(UsageError, match="unknown method 'no_such_method'"):
        load_config("no_such_method")
    assert registry.suggestion("no_such_method", ["a"]) == ""
