"""Old names of modules that methods outside this package may import; use the new ones, named in the warnings."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

_MOVED = {
    "vos_zoo.core.box_start": "vos_zoo.engine.box_start",
    "vos_zoo.core.checkpoint": "vos_zoo.nn.unpickling",
    "vos_zoo.core.few_shot_target": "vos_zoo.methods._few_shot.target",
    "vos_zoo.core.hub": "vos_zoo.create",
    "vos_zoo.core.memory": "vos_zoo.engine.memory",
    "vos_zoo.core.merge": "vos_zoo.engine.merge",
    "vos_zoo.core.module": "vos_zoo.model",
    "vos_zoo.core.parallel_targets": "vos_zoo.methods._few_shot.parallel_targets",
    "vos_zoo.core.pretrained": "vos_zoo.hub.pretrained",
    "vos_zoo.core.propagator": "vos_zoo.engine.propagator",
    "vos_zoo.core.regional": "vos_zoo.methods._few_shot.regional",
    "vos_zoo.core.search_region": "vos_zoo.methods._few_shot.search_region",
    "vos_zoo.core.target_model": "vos_zoo.engine.target_model",
    "vos_zoo.core.views": "vos_zoo.engine.views",
}


class _Moved(MetaPathFinder, Loader):
    """Finds a module under its old name and gives the one that took its place."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A specification for the old names, None for every other."""
        return spec_from_loader(name, self) if name in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An alias with all names of the new module."""
        new = _MOVED[spec.name]
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        alias = ModuleType(spec.name)
        alias.__dict__.update({k: v for k, v in vars(import_module(new)).items() if not k.startswith("__")})
        return alias

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run."""


sys.meta_path.append(_Moved())
