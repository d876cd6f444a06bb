"""Result masks that authors published, by name: to check a published number with `vos-zoo score`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vos_zoo.downloads.published import in_folder, local_file
from vos_zoo.hub.weights import aligned
from vos_zoo.registry import PublishedFile, available_methods, load_method


@dataclass(frozen=True)
class LocalMasks:
    """Published result masks and where they are.

    Attributes:
        method: the method that made them.
        known: their entry.
        file: the file on this machine, or None.
    """

    method: str
    known: PublishedFile
    file: Path | None

    @property
    def state(self) -> str:
        """Whether they are here."""
        return "ready" if self.file is not None else "to download" if self.known.url else "missing"


def published_masks() -> list[LocalMasks]:
    """All published result masks of all methods, in the order of the methods."""
    entries = [(method, known) for method in available_methods() for known in load_method(method).masks]
    return [LocalMasks(method, known, local_file(known)) for method, known in entries]


def named_masks(source: str) -> LocalMasks | None:
    """The published result masks that `source` names (NAME, or NAME/FILE in a folder), or None: a path or unknown."""
    if Path(source).exists():
        return None
    name, _, path = source.partition("/")
    found = next((masks for masks in published_masks() if masks.known.name == name), None)
    if found is None or not path:
        return found
    known = in_folder(found.known, path)
    return None if known is None else LocalMasks(found.method, known, local_file(known))


def masks_table(found: Sequence[LocalMasks]) -> str:
    """Names, methods, states, published scores and licences of result masks as a text table."""
    rows = [("result masks", "method", "state", "published", "licence")]
    rows += [(each.known.name, each.method, each.state, _published(each.known), each.known.licence) for each in found]
    return "\n".join(aligned(rows))


def masks_details(local: LocalMasks) -> str:
    """All facts about published result masks, line by line."""
    known = local.known
    lines = [f"{known.name}: {known.about}", f"method     {local.method}", f"page       {known.page}"]
    lines += [f"licence    {known.licence}", f"state      {local.state}"]
    lines += [
        f"published  {_published(known)}",
        f"use        vos-zoo score {known.name}{'' if known.file else '/FILE'} --data PROTOCOL data.root=FOLDER",
    ]
    return "\n".join(lines)


def _published(known: PublishedFile) -> str:
    """The publishers' scores, by data set."""
    found = [(data, score, value) for data, scores in known.published.items() for score, value in scores.items()]
    return "; ".join(f"{data}: {score} {value:.1f}" for data, score, value in found) or "-"
