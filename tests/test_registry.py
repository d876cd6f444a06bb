"""The registry: methods are found without importing them, and every method is complete."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from vos_zoo import registry
from vos_zoo.config.resources import config_folder, model_card, resource_folder
from vos_zoo.registry import MethodInfo, available_methods, load_method
from vos_zoo.types import UsageError, VOSError

TOY = MethodInfo(
    name="toy",
    title="Toy",
    paper="A toy",
    year=2026,
    url="https://example.org",
    licence_note="none",
    summary="Does nothing.",
    target_model="collections:OrderedDict",
)


@pytest.fixture(autouse=True)
def _fresh_cache():
    load_method.cache_clear()
    yield
    load_method.cache_clear()


def _install(monkeypatch: pytest.MonkeyPatch, loaded: object, name: str = "toy") -> None:
    """Pretend that an installed package offers `loaded` under the entry point `name`."""
    point = SimpleNamespace(name=name, load=lambda: loaded)
    monkeypatch.setattr(registry, "_entry_points", lambda: {name: point})


def test_the_zoo_has_methods():
    assert available_methods(), "no folder of vos_zoo/methods defines a method"


@pytest.mark.parametrize("name", available_methods())
def test_every_method_has_its_folder_its_configuration_and_its_card(name):
    info = load_method(name)
    assert info.name == name
    assert (config_folder() / f"{name}.yaml").is_file(), f"configs/{name}.yaml is missing"
    assert model_card(name) is not None, f"model_cards/{name}.md is missing"
    assert info.title and info.paper and info.licence_note and info.summary
    assert info.url.startswith("https://")
    assert 2015 <= info.year <= 2100


@pytest.mark.parametrize("name", available_methods())
def test_every_method_names_a_target_model_and_a_converter_that_exist(name):
    import torch

    info = load_method(name)
    assert issubclass(info.load_target_model(), torch.nn.Module)
    if info.converter is None:
        assert "published no" in info.licence_note, f"{name}: say that there are no weights to convert"
    else:
        assert callable(info.load_converter())


def test_every_card_and_every_recipe_belongs_to_a_method():
    cards = {path.stem for path in resource_folder("model_cards").glob("*.md")} - {"README"}
    recipes = {path.name for path in (config_folder() / "recipe").iterdir() if path.is_dir()}
    assert cards | recipes <= set(available_methods())


def test_listing_and_describing_all_methods_imports_no_heavy_library():
    script = (
        "import sys; from vos_zoo.registry import available_methods, load_method\n"
        "names = available_methods()\n"
        "assert not [m for m in sys.modules if m.startswith('vos_zoo.methods')], 'listing imported a method'\n"
        "[load_method(name) for name in names]\n"
        "heavy = {'torch', 'pytorch_lightning', 'timm', 'albumentations', 'cv2', 'wandb'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_refused_with_the_nearest_one(monkeypatch):
    _install(monkeypatch, TOY)
    with pytest.raises(UsageError, match=r"unknown method 'tyo'; did you mean 'toy'\?; there are: .*toy"):
        load_method("tyo")


@pytest.mark.parametrize("loaded", [TOY, SimpleNamespace(METHOD=TOY)], ids=["the description", "its module"])
def test_an_installed_package_adds_a_method(monkeypatch, loaded):
    _install(monkeypatch, loaded)
    assert "toy" in available_methods()
    assert load_method("toy") is TOY


def test_entry_points_of_the_group_are_the_ones_that_count(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("elsewhere", "collections:OrderedDict", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "vos_zoo.methods" else [])
    assert "elsewhere" in available_methods()


def test_a_package_without_a_description_is_refused(monkeypatch):
    _install(monkeypatch, object())
    with pytest.raises(VOSError, match="'toy' does not define METHOD"):
        load_method("toy")


def test_a_description_under_another_name_is_refused(monkeypatch):
    _install(monkeypatch, TOY, name="other")
    with pytest.raises(VOSError, match="'other' calls itself 'toy'"):
        load_method("other")


def test_a_target_model_that_does_not_exist_is_named():
    broken = MethodInfo(**{**vars(TOY), "target_model": "collections:Nothing"})
    with pytest.raises(VOSError, match="collections has no 'Nothing'"):
        broken.load_target_model()


def test_a_method_without_converter_says_so():
    with pytest.raises(UsageError, match="'toy' has no converter"):
        TOY.load_converter()


def test_a_folder_that_the_installation_lacks_is_a_failure_not_a_crash():
    with pytest.raises(VOSError, match="'no_such_folder' is missing"):
        resource_folder("no_such_folder")
