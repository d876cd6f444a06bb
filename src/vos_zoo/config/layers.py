"""The configuration: its layers, merged and checked, with messages that name the key, the value and the fix.

Layers, later wins: the schema (`vos_zoo.config.schema`), `configs/default.yaml`, `configs/<method>.yaml`, the network
and inference settings of `init_from`, `configs/data/<data>.yaml`, `configs/recipe/<method>/<recipe>.yaml`, each file
given, the flags of the command line, `key=value`. A recipe or file may list stages: the layers of a stage directly
follow the one that lists it. All raw layers are merged first and interpolations (`${seed}`) are resolved once at the
end (`vos_zoo.config.merging`). The result is a plain `RunConfig`; only `check_signatures` imports torch and Lightning.
"""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vos_zoo.config.checking import check_keywords, plain_lists
from vos_zoo.config.merging import Layer, check_required, last_value, merge_layers
from vos_zoo.config.precision import with_precision
from vos_zoo.config.resources import available_data, config_folder, variants, yaml_stems
from vos_zoo.config.schema import LoggerConfig, OptimConfig, RunConfig, key_types
from vos_zoo.config.settings.data import DataConfig
from vos_zoo.config.yaml_texts import read_value, read_yaml, type_of_key, write_yaml
from vos_zoo.dataset_registry import load_dataset
from vos_zoo.files.atomic import atomic_file
from vos_zoo.registry import available_methods, load_method, suggestion
from vos_zoo.types import UsageError

__all__ = [
    "DataConfig",
    "LoggerConfig",
    "OptimConfig",
    "RunConfig",
    "available_data",
    "available_recipes",
    "check_keywords",
    "check_signatures",
    "load_config",
    "method_of",
    "save_config",
    "to_plain",
    "variant_keywords",
]

COMPLETE = "complete"
"""Key that marks a saved configuration: it needs no layer below it."""


def load_config(
    method: str | None = None,
    data: str | None = None,
    recipe: str | None = None,
    files: Sequence[str | os.PathLike[str]] = (),
    overrides: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    stage: str | None = None,
    trained: bool = False,
    start: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Merge all layers, resolve interpolations once, check every key and value.

    Args:
        method: name of the method, or of a variant of one; None takes the `method` that the last file or override
            names, if any does.
        data: name of a file in `configs/data`; None takes the `data.name` that the last layer names.
        recipe: name of a file in `configs/recipe/<method>`.
        files: YAML files, later wins. A saved configuration of a run is complete: it repeats that run, and no
            layer below it is read.
        overrides: `key=value` strings with dotted keys and YAML values; they take precedence over everything else.
        flags: a nested mapping between the files and the overrides, for options that correspond to keys.
        stage: the configuration of this stage of those that the layers list; None: the configuration without its
            stages' own keys, with the names of the stages as `stages`.
        trained: weights are loaded that carry their own inference settings: `track` in the method's file is
            ignored.
        start: keys `model` and `track` of the weights a training starts from (`init_from`); a layer above the
            method's file, so that the same network is built.

    Returns:
        The checked configuration with plain Python values.

    Raises:
        UsageError: unknown key, method, data set or recipe, a wrong type or value, an unreadable file.
    """
    given = [_read(Path(path), str(path)) for path in files]
    complete = [number for number, layer in enumerate(given) if layer.tree.pop(COMPLETE, False)]
    given += [Layer("flags", _flag_tree(method, data, flags)), _dotlist(overrides)]
    name = last_value(given, "method")
    method = name if name is None else method_of(str(name))
    for layer in given:
        if layer.tree.get("method") == name:
            layer.tree.update({"method": method} if method else {})
    base = [_read(config_folder() / "default.yaml", "configs/default.yaml")]
    base += _method_layers(method, name)
    for layer in base if trained else []:
        layer.tree.pop("track", None)
    base += [Layer("init_from", dict(start))] if start else []
    recipes = _recipe_layers(method, recipe)
    listing = next((layer for layer in reversed([*recipes, *given]) if "stages" in layer.tree), None)
    stages = {} if listing is None else _stages(listing.tree.pop("stages"))
    if stage is not None:  # its layers directly follow the layer that lists it
        own = _stage_layers(method, stage, stages)
        recipes, given = ([x for y in some for x in ([y, *own] if y is listing else [y])] for some in (recipes, given))
    data = last_value([*base, *recipes, *given], "data", "name")
    layers = [*base, *_data_layers(data), *recipes, *given]
    if complete:  # a saved configuration is complete: values of the package's current files must not be mixed in
        layers = [*given[complete[-1] :], *recipes] if recipe else given[complete[-1] :]
    layers = [*layers, *_reader_layers(data)]

    layers = [Layer(layer.source, with_precision(layer.tree)) for layer in layers]
    config = merge_layers(layers)
    config.stages = list(stages) if stage is None else []
    for name, path in config.paths.items():
        if path is None:
            raise UsageError(f"'paths.{name}' is not set and the recipe needs it; give paths.{name}=PATH")
    config.optim.groups = {prefix: rate for prefix, rate in config.optim.groups.items() if rate is not None}
    check_required(config, layers)
    return config


def method_of(name: str) -> str:
    """The method that a name of a method or variant refers to.

    Raises:
        UsageError: there is no such name; the message proposes the nearest one.
    """
    known = variants()
    if name in known:
        return known[name]
    try:
        return load_method(name).name
    except UsageError:
        names = sorted([*available_methods(), *known])
        near = f"unknown method {name!r}{suggestion(name, names)}; there are: {', '.join(names)}"
        raise UsageError(near) from None


def variant_keywords(name: str) -> dict[str, dict[str, Any]]:
    """Keys "model" and "track" of a variant's own file; nothing for a method itself."""
    if name not in variants():
        return {"model": {}, "track": {}}
    tree = _method_layers(name, name)[0].tree
    return {key: dict(tree.get(key) or {}) for key in ("model", "track")}


def check_signatures(config: RunConfig) -> None:
    """Check `trainer` against Lightning's Trainer and `model` against the method's target model (heavy imports).

    Raises:
        UsageError: a key that the constructor does not take, one it needs, or a value of the wrong type.
    """
    if config.method is not None:
        check_keywords(config.model, load_method(config.method).load_target_model(), "model")
    from pytorch_lightning import Trainer

    check_keywords(config.trainer, Trainer, "trainer")


def to_plain(config: Any) -> dict[str, Any]:
    """A configuration (or a part of it) as nested dicts and lists: ready for YAML or as keyword arguments."""
    plain: dict[str, Any] = plain_lists(dataclasses.asdict(config))
    return plain


def save_config(config: RunConfig, path: str | os.PathLike[str]) -> Path:
    """Write the resolved configuration as YAML; atomic, so that a reader never sees half a file."""
    path = Path(path)
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        write_yaml({COMPLETE: True, **to_plain(config)}, file)
    return path


def available_recipes(method: str) -> list[str]:
    """Names of the recipes of `method`."""
    return yaml_stems(config_folder() / "recipe" / method)


def _flag_tree(method: str | None, data: str | None, flags: Mapping[str, Any] | None) -> dict[str, Any]:
    tree = OmegaConf.merge({"method": method, "data": {"name": data}}, dict(flags or {}))
    return _prune(typing.cast(dict[str, Any], OmegaConf.to_container(tree)))


def _prune(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree without None leaves, which are flags that were not given."""
    pruned = {key: _prune(value) if isinstance(value, dict) else value for key, value in tree.items()}
    return {key: value for key, value in pruned.items() if value is not None and value != {}}


def _method_layers(method: Any, name: Any) -> list[Layer]:
    """The method's own file, then that of its variant `name`."""
    if method is None:
        return []
    paths = [config_folder() / f"{own}.yaml" for own in dict.fromkeys((method, str(name)))]
    return [_read(path, f"configs/{path.name}") for path in paths if path.is_file()]


def _data_layers(data: Any) -> list[Layer]:
    known = available_data()
    if data not in known:
        raise UsageError(f"unknown data set {data!r}{suggestion(str(data), known)}; there are: {', '.join(known)}")
    path = config_folder() / "data" / f"{data}.yaml"
    if path.is_file():
        return [_read(path, f"configs/data/{data}.yaml")]
    info = load_dataset(data)
    own: dict[str, Any] = {} if info.generated else {"root": "???"}
    tree = OmegaConf.merge({"data": {"name": data, **own}}, dict(info.config))
    return [Layer(f"data set {data}", typing.cast(dict[str, Any], OmegaConf.to_container(tree)))]


def _reader_layers(data: Any) -> list[Layer]:
    """The reader that a file of `configs/data` names, where that is another name than its own (an edition's file)."""
    reader = last_value(_data_layers(data), "data", "name")
    return [] if reader in (None, data) else [Layer(f"configs/data/{data}.yaml", {"data": {"name": reader}})]


def _recipe_layers(method: Any, recipe: str | None) -> list[Layer]:
    if recipe is None:
        return []
    if method is None:
        raise UsageError(f"recipe {recipe!r} belongs to a method; give --model METHOD")
    known = available_recipes(str(method))
    if recipe not in known:
        there = f"there are: {', '.join(known)}" if known else "it has none"
        raise UsageError(f"unknown recipe {recipe!r} of method {method!r}{suggestion(recipe, known)}; {there}")
    source = f"configs/recipe/{method}/{recipe}.yaml"
    return [_read(config_folder() / "recipe" / str(method) / f"{recipe}.yaml", source)]


def _stages(entries: Any) -> dict[str, dict[str, Any]]:
    """The stages by name, in order, each with its "recipe" (None: without one) and further keys."""
    stages: dict[str, dict[str, Any]] = {}
    for entry in entries or []:
        tree = {"recipe": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, Mapping) else {}
        name = tree.pop("name", None) or tree.get("recipe")
        if not isinstance(name, str) or not name or "/" in name or name in stages:
            raise UsageError(f"'stages': {entry!r} needs a name of its own, or a recipe that gives it one")
        stages[name] = {"recipe": None, **tree}
    return stages


def _stage_layers(method: Any, stage: str, stages: Mapping[str, Mapping[str, Any]]) -> list[Layer]:
    """The recipe of a stage, and the stage's own keys."""
    if stage not in stages:
        raise UsageError(f"unknown stage {stage!r}{suggestion(stage, list(stages))}; there are: {', '.join(stages)}")
    own = dict(stages[stage])
    return [*_recipe_layers(method, own.pop("recipe")), Layer(f"stage {stage}", own)]


def _read(path: Path, source: str) -> Layer:
    try:
        tree = read_yaml(path.read_bytes(), RunConfig, key_types)
    except FileNotFoundError:
        raise UsageError(f"{source}: no such configuration file") from None
    except OSError as error:
        raise UsageError(f"{source}: cannot be read ({error.strerror or error})") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{source}: not valid YAML ({' '.join(str(error).split())})") from error
    if tree is not None and not isinstance(tree, dict):
        kind = "list" if isinstance(tree, list) else "single value"
        raise UsageError(f"{source}: expected keys and values, found a {kind}")
    return Layer(source, tree or {})


def _dotlist(overrides: Sequence[str]) -> Layer:
    tree = OmegaConf.create()
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign or not key or not all(key.split(".")):
            raise UsageError(f"{text!r} is not of the form key=value (for example data.batch_size=4)")
        expected = type_of_key(RunConfig, [part for part in re.split(r"[.\[\]]", key) if part], key_types)
        try:
            OmegaConf.update(tree, key, read_value(value, expected, key_types))
        except (yaml.YAMLError, ValueError, OmegaConfBaseException) as error:
            raise UsageError(f"cannot read {text!r}: {' '.join(str(error).split())}") from error
    return Layer("key=value", typing.cast(dict[str, Any], OmegaConf.to_container(tree, resolve=False)))
