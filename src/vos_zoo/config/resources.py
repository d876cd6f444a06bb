"""Finds the folders `configs` and `model_cards`: inside the installed package, or at the top of the repository."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from vos_zoo.dataset_registry import outside_datasets
from vos_zoo.types import VOSError

_PACKAGE = Path(__file__).resolve().parents[1]
_SHIPPED = _PACKAGE / "shipped"


def resource_folder(name: str) -> Path:
    """The folder `name` ("configs" or "model_cards").

    A wheel carries both folders inside the package; an editable install reads the repository's.

    Raises:
        VOSError: neither location has it, so the installation is broken.
    """
    for parent in (_PACKAGE, _PACKAGE.parents[1]):
        if (parent / name).is_dir():
            return parent / name
    raise VOSError(f"the folder {name!r} is missing from this installation of vos-zoo; install the package again")


def shipped_folder() -> Path:
    """The folder of the trained weights that come with the package, ``NAME/config.json`` each; it may be absent."""
    return _SHIPPED


def config_folder() -> Path:
    """The folder of the YAML configurations."""
    return resource_folder("configs")


def available_data() -> list[str]:
    """Names of the configurations of data: the files of `configs/data`, and the data sets of other packages."""
    files = yaml_stems(config_folder() / "data")
    return [*files, *(name for name in outside_datasets() if name not in files)]


def yaml_stems(folder: Path) -> list[str]:
    """Names of the YAML files of a folder, without their ending, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def variants() -> dict[str, str]:
    """Named configurations of a method: name -> method.

    Such a file of `configs` says `method: NAME`; it is read after that method's own file, `configs/NAME.yaml`.
    """
    return dict(_variants(config_folder()))


@cache
def _variants(folder: Path) -> tuple[tuple[str, str], ...]:
    import yaml

    trees = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml"))}
    named = {name: tree.get("method") for name, tree in trees.items() if isinstance(tree, dict)}
    return tuple((name, str(method)) for name, method in named.items() if method)


def model_card(method: str) -> Path | None:
    """The card of `method` (Markdown), or None where the package has none (methods of other packages)."""
    path = resource_folder("model_cards") / f"{method}.md"
    return path if path.is_file() else None


def card_pictures(card: str) -> dict[str, Path]:
    """Images of a card that are stored next to it: name in its text -> file; they are copied with it."""
    names = re.findall(r"\]\((assets/[\w.-]+)\)", card)
    files = {name: resource_folder("model_cards") / name for name in names}
    return {name: path for name, path in files.items() if path.is_file()}
