"""Weights by name: shipped and published ones, which of them are on this machine, and how to get the others.

Shipped weights are in the package, in ``shipped/NAME`` (a model folder with its card and ``measured.json``). The folder
`home()` holds ``files/FILE`` (put there by hand), ``downloads/NAME/FILE`` with ``FILE.lock.json`` (see
`vos_zoo.downloads.trust`) and ``models/NAME`` (converted, ready to load).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vos_zoo.config.resources import shipped_folder
from vos_zoo.downloads.fetching import home
from vos_zoo.downloads.published import local_file, where_to_get
from vos_zoo.registry import WeightsEntry, available_methods, load_method, suggestion
from vos_zoo.types import UsageError, VOSError

State = Literal["ready", "to convert", "to download", "missing"]
"""The states: loadable; the published file is here and is converted when first used; vos-zoo can download it; it must
be downloaded by hand."""
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
"""The files of a model folder."""
NUMBERS_FILE = "measured.json"
"""The numbers of a shipped model's card."""


@dataclass(frozen=True)
class LocalWeights:
    """The state of named weights on this machine.

    Attributes:
        method: the method they belong to.
        known: their entry.
        folder: folder of the converted model, present or future.
        file: the published file, or None if it is not on this machine.
        shipped: whether they are shipped with the package.
        size: bytes of the weights, or None if they are not on this machine.
        prompts: kinds of prompts, "masks" and "boxes"; of shipped weights.
        measured: our own scores, rows of "data", "real" and scores in percent; of shipped weights.
    """

    method: str
    known: WeightsEntry
    folder: Path
    file: Path | None
    shipped: bool = False
    size: int | None = None
    prompts: Sequence[str] = ()
    measured: Sequence[Mapping[str, Any]] = ()

    @property
    def state(self) -> State:
        """Whether the weights can be loaded, and if not, what is missing."""
        if (self.folder / CONFIG_FILE).is_file() or (self.file is not None and not self.known.converted):
            return "ready"
        if self.file is not None:
            return "to convert"
        return "to download" if self.known.url else "missing"

    @property
    def real_score(self) -> Mapping[str, Any] | None:
        """The first row of `measured` with J&F on real videos."""
        return next((row for row in self.measured if row["real"] and "J&F" in row), None)

    @property
    def quality(self) -> float:
        """J&F of `real_score` in percent; 0 where it is not measured."""
        return 0.0 if self.real_score is None else float(self.real_score["J&F"])

    def how_to_get(self) -> str:
        """One line on what to do to load them; empty if nothing."""
        return {
            "ready": "",
            "to convert": f"{self.file} is converted when first used",
            "to download": f"{self.known.url} is downloaded when first used",
            "missing": where_to_get(self.known),
        }[self.state]


def missing_weights_error(local: LocalWeights) -> UsageError:
    """The error for published weights that must be downloaded by hand first."""
    return UsageError(f"weights {local.known.name!r} are not on this machine: {local.how_to_get()}")


def known_weights() -> list[LocalWeights]:
    """All named weights: the shipped ones by name, then the published ones in the order of the methods."""
    return [*shipped_weights(), *published_weights()]


def published_weights() -> list[LocalWeights]:
    """All published weights of all methods, in the order of the methods."""
    return [_locate(method, known) for method in available_methods() for known in load_method(method).weights]


def shipped_weights() -> list[LocalWeights]:
    """The weights shipped with the package, by name.

    Raises:
        VOSError: the installation is damaged.
    """
    return [_shipped(folder) for folder in _shipped_folders().values()]


def find_weights(name: str) -> LocalWeights | None:
    """The weights called `name`, or the first ones listed of the method `name`; None if the name is neither."""
    everything = known_weights()
    for local in everything:
        if local.known.name == name:
            return local
    return next((local for local in everything if local.method == name), None)


def named_weights(source: str | Path) -> LocalWeights | None:
    """The weights that `source` names, or None if it is a path or unknown.

    A shipped name always means the shipped weights, whatever lies in the working directory; a folder of that name is
    ``./NAME``, or a `Path`. For every other name a file or folder of that name has precedence.
    """
    if isinstance(source, str) and (folder := _shipped_folders().get(source)):
        return _shipped(folder)
    return None if Path(source).exists() else find_weights(str(source))


def saved_settings(source: str) -> dict[str, Any]:
    """Keys `model` and `track` of a saved model, a folder or a name; empty for a checkpoint or unconverted weights.

    Raises:
        UsageError: the folder's configuration is not a model's.
    """
    named = named_weights(source)
    path = (named.folder if named else Path(source)) / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return {key: saved[key] for key in ("model", "track") if saved.get(key)}
    except (ValueError, AttributeError, TypeError):
        raise UsageError(f"init_from {source!r}: {path} is not a model's configuration") from None


def box_weights() -> LocalWeights | None:
    """The shipped weights that predict first masks from boxes for models without a box encoder, or None."""
    return next((local for local in shipped_weights() if "boxes" in local.prompts), None)


def unknown_weights_error(source: str) -> UsageError:
    """The error for weights that are neither a file nor a folder nor a known name."""
    if source in available_methods():
        return UsageError(f"no weights named {source!r} are published; train the method, or give a folder of your own")
    names = [local.known.name for local in known_weights()]
    return UsageError(
        f"no weights at {source!r}{suggestion(source, names)}: neither a folder, a .ckpt, a name that vos-zoo weights "
        "lists, nor a hub id 'owner/name'"
    )


def _locate(method: str, known: WeightsEntry) -> LocalWeights:
    file, folder = local_file(known), home() / "models" / known.name
    return LocalWeights(method, known, folder, file, size=_bytes(folder / WEIGHTS_FILE, file))


def _bytes(*files: Path | None) -> int | None:
    """Size of the first of these files that exists."""
    return next((file.stat().st_size for file in files if file is not None and file.is_file()), None)


def _shipped_folders() -> dict[str, Path]:
    return {path.parent.name: path.parent for path in sorted(shipped_folder().glob(f"*/{CONFIG_FILE}"))}


def _shipped(folder: Path) -> LocalWeights:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        numbers = json.loads((folder / NUMBERS_FILE).read_text(encoding="utf-8"))
        origin, shared = config["origin"], config.get("shared", {})
        files = [folder / WEIGHTS_FILE, *(folder.parent / name for name in shared)]
        known = WeightsEntry(
            name=folder.name,
            file=WEIGHTS_FILE,
            page=origin.get("page", ""),
            licence=origin["licence"],
            about=origin["about"],
            converted=False,
        )
        size, prompts = sum(file.stat().st_size for file in files), tuple(config["prompts"])
        return LocalWeights(
            config["method"],
            known,
            folder,
            files[0],
            shipped=True,
            size=size,
            prompts=prompts,
            measured=numbers["scores"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise VOSError(f"the shipped weights in {folder} are damaged ({reason}); install the package again") from error


def weights_table(found: Sequence[LocalWeights]) -> str:
    """Names, methods, states, sizes, scores and licences as a text table, with instructions under it."""
    rows = [("name", "method", "state", "size", "J&F by us", "licence", "source")]
    rows += [
        (each.known.name, each.method, each.state, _size(each), _score(each), _licence(each), _source(each))
        for each in found
    ]
    lines = aligned(rows)
    lines += [f"{each.known.name}: {each.how_to_get()}" for each in found if each.how_to_get()]
    return "\n".join([*lines, f"weights are kept in {home()} (VOS_ZOO_HOME changes that)"])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a text table with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _size(local: LocalWeights) -> str:
    return "-" if local.size is None else f"{local.size / 1e6:.1f} MB"


def _score(local: LocalWeights) -> str:
    """Our first J&F on a real data set."""
    row = local.real_score
    return "-" if row is None else f"{row['J&F']:.1f} on {row['data']}"


def _licence(local: LocalWeights) -> str:
    return f"{local.known.licence} (research weights)" if local.shipped else local.known.licence


def _source(local: LocalWeights) -> str:
    return "ships with vos-zoo" if local.shipped else local.known.file


def weights_details(local: LocalWeights) -> str:
    """All facts about one entry, line by line; published scores are marked as such."""
    known = local.known
    lines = [f"{known.name}: {known.about}", f"method     {local.method}"]
    if local.shipped:
        starts = " and ".join(local.prompts)
        lines += [f"source     {_source(local)}", f"licence    {_licence(local)}", f"starts     from {starts}"]
    else:
        lines += [
            f"file       {known.file}",
            f"page       {known.page}",
            f"licence    {known.licence}",
            f"address    {known.url or 'none'}",
            f"sha256     {known.sha256 or 'not published; that of the first download is recorded and must stay'}",
        ]
    lines.append(f"state      {local.state}")
    if local.size is not None:
        lines.append(f"size       {_size(local)}")
    if local.state == "ready":
        lines.append(f"here       {local.folder if local.folder.is_dir() else local.file}")
    lines += [
        f"measured   {row['data']}: "
        + ", ".join(f"{name} {row[name]:.1f}" for name in ("J&F", "J", "F") if name in row)
        for row in local.measured
    ]
    lines += [
        f"published  {data}: " + ", ".join(f"{score} {value:.1f}" for score, value in scores.items())
        for data, scores in known.published.items()
    ]
    return "\n".join([*lines, *([f"to do      {local.how_to_get()}"] if local.how_to_get() else [])])
