"""Published weights by name: which there are, which of them lie on this machine, and how to get the others.

The folder `home()` holds ``files/FILE`` (put there by hand: most authors share their files in ways that cannot be
downloaded by a program), ``downloads`` (see `vos_zoo.download`) and ``models/NAME`` (converted, ready to load).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vos_zoo.download import cached_file, home
from vos_zoo.registry import KnownWeights, available_methods, load_method, suggestion
from vos_zoo.types import UsageError

State = Literal["ready", "to convert", "to download", "missing"]
"""Loadable as it is; the published file is here and is converted when first used; the zoo can download it; it has
to be fetched by hand."""


@dataclass(frozen=True)
class LocalWeights:
    """What this machine has of published weights.

    Attributes:
        method: the method they belong to.
        known: what is known of them.
        folder: where the model lies, or will lie, in our form.
        file: the published file, or None where it is not here.
    """

    method: str
    known: KnownWeights
    folder: Path
    file: Path | None

    @property
    def state(self) -> State:
        """How far the weights are from being loaded."""
        if (self.folder / "config.json").is_file() or (self.file is not None and not self.known.converted):
            return "ready"
        if self.file is not None:
            return "to convert"
        return "to download" if self.known.url and self.known.sha256 else "missing"

    def how_to_get(self) -> str:
        """One line on what is left to do; empty where nothing is."""
        place = home() / "files" / self.known.file
        return {
            "ready": "",
            "to convert": f"{self.file} is converted when first used",
            "to download": f"{self.known.url} is downloaded when first used",
            "missing": f"get {self.known.file} from {self.known.page} and put it to {place}",
        }[self.state]


def missing(local: LocalWeights) -> UsageError:
    """The error for published weights that somebody has to fetch first."""
    return UsageError(f"weights {local.known.name!r} are not at hand: {local.how_to_get()}")


def known_weights() -> list[LocalWeights]:
    """All published weights of all methods, in the order of the methods."""
    return [_locate(method, known) for method in available_methods() for known in load_method(method).weights]


def find_weights(name: str) -> LocalWeights | None:
    """The published weights called `name`, or those a method takes by default; None where the name is neither."""
    everything = known_weights()
    for local in everything:
        if local.known.name == name:
            return local
    return next((local for local in everything if local.method == name), None)


def nowhere(source: str) -> UsageError:
    """The error for weights that are no file, no folder and no known name."""
    if source in available_methods():
        return UsageError(f"no weights named {source!r} are published; train the method, or give a folder of your own")
    names = [local.known.name for local in known_weights()]
    return UsageError(
        f"no weights at {source!r}{suggestion(source, names)}: neither a folder, a .ckpt, a name that vos-zoo weights "
        "lists, nor a hub id 'owner/name'"
    )


def _locate(method: str, known: KnownWeights) -> LocalWeights:
    places = [home() / "files" / known.file]
    if known.url and known.sha256:
        places.append(cached_file(known.url, known.sha256))
    file = next((place for place in places if place.is_file()), None)
    return LocalWeights(method, known, home() / "models" / known.name, file)


def weights_table(found: Sequence[LocalWeights]) -> str:
    """Names, methods, states and licences as a text table, with what is left to do under it."""
    rows = [("name", "method", "state", "file", "licence")]
    rows += [(each.known.name, each.method, each.state, each.known.file, each.known.licence) for each in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"{each.known.name}: {each.how_to_get()}" for each in found if each.how_to_get()]
    return "\n".join([*lines, f"weights are kept in {home()} (VOS_ZOO_HOME changes that)"])


def weights_details(local: LocalWeights) -> str:
    """All that is known of one entry, line by line; published scores are marked as such."""
    known = local.known
    lines = [
        f"{known.name}: {known.about}",
        f"method     {local.method}",
        f"file       {known.file}",
        f"page       {known.page}",
        f"licence    {known.licence}",
        f"sha256     {known.sha256 or 'not known'}",
        f"state      {local.state}",
    ]
    if local.state == "ready":
        lines.append(f"here       {local.folder if local.folder.is_dir() else local.file}")
    lines += [
        f"published  {data}: " + ", ".join(f"{score} {value:.1f}" for score, value in scores.items())
        for data, scores in known.published.items()
    ]
    return "\n".join([*lines, *([f"to do      {local.how_to_get()}"] if local.how_to_get() else [])])
