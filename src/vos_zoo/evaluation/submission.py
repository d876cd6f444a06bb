"""Archives for the evaluation servers: written from a folder of masks and validated.

DAVIS expects the sequences' folders at the top of the archive, YouTube-VOS in one folder ``Annotations``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from vos_zoo.evaluation.protocols import ResultForm
from vos_zoo.files.atomic import atomic_file
from vos_zoo.labels import objects_of, shows_one_object
from vos_zoo.metrics.streaming import wanted_frames
from vos_zoo.types import LabelMap, UsageError, VideoSequence, VOSError
from vos_zoo.video.masks import davis_palette

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every entry, so that equal masks make equal archives."""
_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Fault:
    """A fault of results, and its location; with `fatal` faults a server refuses them or scores them wrongly."""

    where: str
    what: str
    fatal: bool = True

    def __str__(self) -> str:
        """One line."""
        return f"{'error' if self.fatal else 'note'}: {self.where}: {self.what}"


@dataclass
class CheckedSubmission:
    """The result of `check_submission`.

    Attributes:
        sequences: number of checked sequences.
        masks: number of checked masks.
        faults: all faults.
    """

    sequences: int = 0
    masks: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether there is no fatal fault."""
        return not any(fault.fatal for fault in self.faults)

    def __str__(self) -> str:
        """The faults, at most 20 of a kind, and a last line that says whether it can be submitted."""
        lines = []
        for fatal in (True, False):
            chosen = [str(fault) for fault in self.faults if fault.fatal is fatal]
            lines += chosen[:20] + ([f"... and {len(chosen) - 20} more"] if len(chosen) > 20 else [])
        verdict = "can be submitted" if self.sound else "must be corrected before submission"
        return "\n".join([*lines, f"{self.sequences} sequences, {self.masks} masks: {verdict}"])


def asked_frames(sequence: VideoSequence, form: ResultForm) -> list[int]:
    """Frames of a sequence that belong in an archive."""
    start = min(sequence.prompts()) if form.from_first_mask else 0
    return [index for index in wanted_frames(sequence) if index >= start]


def write_archive(masks: str | Path, sequences: Sequence[VideoSequence], form: ResultForm, path: str | Path) -> Path:
    """Pack the requested masks into a zip; equal masks make an equal archive.

    Args:
        masks: folder with ``SEQUENCE/FRAME.png``.
        sequences: all videos of the split.
        form: layout of the archive.
        path: the archive; written atomically.

    Raises:
        VOSError: a mask is missing.
    """
    path, masks = Path(path), Path(masks)
    with (
        atomic_file(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,  # PNGs are compressed already
    ):
        for sequence in sequences:
            for index in asked_frames(sequence, form):
                name = f"{sequence.name}/{sequence.frame_names[index]}.png"
                if not (masks / name).is_file():
                    raise VOSError(f"{masks / name}: there is no such mask, so the archive would be incomplete")
                entry = zipfile.ZipInfo(str(PurePosixPath(form.top, name)), _EPOCH)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, (masks / name).read_bytes())
    return path


class _Store(Interface):
    """A folder or an archive of files."""

    def names(self) -> list[str]: ...

    def read(self, name: str) -> bytes: ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        files = (path for path in self.root.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.root).as_posix() for path in files)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


class _Archive:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive

    def names(self) -> list[str]:
        return [entry.filename for entry in self.archive.infolist() if not entry.is_dir()]

    def read(self, name: str) -> bytes:
        return self.archive.read(name)


def check_submission(
    source: str | Path, sequences: Sequence[VideoSequence], form: ResultForm, *, server: bool = True
) -> CheckedSubmission:
    """Validate results before submission.

    All sequences and frames must be present and nothing else; masks must be palette PNGs of the frames' size;
    ids must be given ones, and not appear earlier; the first given masks must be unchanged.

    Args:
        source: a zip, or the folder that will be packed.
        sequences: all videos of the split.
        form: required form.
        server: whether a server will read them; else wrong folders and formats that other tools accept are notes only.

    Raises:
        UsageError: there is no such file or folder, or it is not a zip.
    """
    path = Path(source)
    checked = CheckedSubmission()
    with ExitStack() as stack:
        if path.is_dir():
            store: _Store = _Folder(path)
        elif path.is_file():
            try:
                store = _Archive(stack.enter_context(zipfile.ZipFile(path)))
            except (zipfile.BadZipFile, OSError) as error:
                raise UsageError(f"{source}: is not a readable zip ({error}); pack the folder again") from error
        else:
            raise UsageError(f"{source}: there is no such archive or folder")
        found = _sort_files(store, sequences, form, checked)
        for sequence in sequences:
            checked.sequences += 1
            if not found[sequence.name]:
                checked.faults.append(Fault(sequence.name, "the sequence is missing"))
                continue
            checked.faults += _check_names(sequence, found[sequence.name], form)
            for fault in _check_masks(sequence, found[sequence.name], store, form, checked):
                checked.faults.append(fault)
    if not server:
        checked.faults = [Fault(f.where, f.what, f.fatal and f.what not in _ONLY_SERVERS) for f in checked.faults]
    return checked


_NO_PALETTE = "is a grey PNG, not a palette PNG (mode P)"
_ONLY_SERVERS = (_NO_PALETTE,)


def _sort_files(
    store: _Store, sequences: Sequence[VideoSequence], form: ResultForm, checked: CheckedSubmission
) -> dict[str, dict[str, str]]:
    """Sequence -> frame -> entry; files elsewhere are faults."""
    found: dict[str, dict[str, str]] = {sequence.name: {} for sequence in sequences}
    names = store.names()
    top = _common_top(names, form, found)
    if top != form.top:
        wanted = f"in one folder {form.top!r}" if form.top else "at the top"
        where = f"in the folder {top!r}" if top else "at the top"
        checked.faults.append(Fault(where, f"the sequences' folders are here; they must be {wanted} of the archive"))
    for name in names:
        parts = PurePosixPath(name).parts
        if any(part in _JUNK or part.startswith("._") for part in parts):
            checked.faults.append(Fault(name, "does not belong in an archive"))
            continue
        inner = parts[1:] if top and parts[0] == top else parts
        if ".." in parts or len(inner) != 2 or inner[0] not in found:
            checked.faults.append(Fault(name, "is not in a folder of a sequence of this split"))
        elif not inner[1].endswith(".png"):
            checked.faults.append(Fault(name, "is not a .png"))
        elif inner[1].removesuffix(".png") in found[inner[0]]:
            checked.faults.append(Fault(name, "is a duplicate"))
        else:
            found[inner[0]][inner[1].removesuffix(".png")] = name
    return found


def _common_top(names: Sequence[str], form: ResultForm, known: dict[str, dict[str, str]]) -> str:
    """The folder above the sequences' folders: the expected one, or the actual one."""
    tops = {PurePosixPath(name).parts[0] for name in names if len(PurePosixPath(name).parts) > 2} - set(_JUNK)
    if form.top in tops:
        return form.top
    return next(iter(sorted(tops - known.keys())), "" if names else form.top)


def _check_names(sequence: VideoSequence, files: dict[str, str], form: ResultForm) -> Iterator[Fault]:
    asked = [sequence.frame_names[index] for index in asked_frames(sequence, form)]
    missing = [name for name in asked if name not in files]
    if missing:
        yield Fault(sequence.name, f"{len(missing)} masks are missing, the first is {missing[0]}.png")
    more = sorted(set(files) - set(asked))
    unknown = [name for name in more if name not in sequence.frame_names]
    if unknown:
        yield Fault(sequence.name, f"{len(unknown)} masks belong to no frame, the first is {unknown[0]}.png")
    elif more:
        yield Fault(sequence.name, f"{len(more)} masks are not requested, the first is {more[0]}.png", fatal=False)


def _check_masks(
    sequence: VideoSequence, files: dict[str, str], store: _Store, form: ResultForm, checked: CheckedSubmission
) -> Iterator[Fault]:
    prompts = sequence.prompts()
    size = next(iter(prompts.values())).shape
    ids: set[int] = set()
    palette: str | None = None
    maps = (labels for name in files.values() if (labels := _read(store, name)[0]) is not None)
    one_object = not form.server and shows_one_object(maps)
    for index, name in enumerate(sequence.frame_names):
        given = prompts.get(index)
        if given is not None:
            given = np.where(np.isin(given, sequence.object_ids), given, 0)  # void is not an object
            ids |= {int(identity) for identity in np.unique(given) if identity}
        if name not in files:
            continue
        checked.masks += 1
        where = files[name]
        labels, problems = _read(store, where)
        yield from (Fault(where, what, fatal) for what, fatal in problems if what != palette)
        palette = next((what for what, _ in problems if "colour table" in what), palette)  # once per sequence
        if labels is None:
            continue
        if labels.shape != size:
            yield Fault(
                where, f"is {labels.shape[1]}x{labels.shape[0]} (width x height), the frame {size[1]}x{size[0]}"
            )
            continue
        if one_object:
            labels = objects_of(labels, one_object=True)
        unknown = sorted({int(identity) for identity in np.unique(labels) if identity} - ids)
        if unknown:
            known = ", ".join(map(str, sorted(ids))) or "none"
            yield Fault(where, f"has the ids {', '.join(map(str, unknown))}; given up to this frame: {known}")
        if given is not None and index == min(prompts) and not np.array_equal(labels, given):
            yield Fault(where, f"differs from the given mask in {int((labels != given).sum())} pixels")


def _read(store: _Store, name: str) -> tuple[LabelMap | None, list[tuple[str, bool]]]:
    """A mask, uint8 ``(H, W)`` (None if it is not one), and (fault, whether it is fatal)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(store.read(name))) as image:
            image.load()
            if image.format != "PNG" or image.mode not in ("P", "L"):
                return None, [(f"is a {image.format} of mode {image.mode}, not a palette PNG (mode P)", True)]
            labels: NDArray[np.uint8] = np.array(image).astype(np.uint8)
            colours = (image.getpalette() or []) if image.mode == "P" else None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return None, [(f"cannot be read as an image ({error})", True)]
    if colours is None:
        return labels, [(_NO_PALETTE, True)]
    used = int(labels.max(initial=0)) + 1
    if colours[: 3 * used] != davis_palette()[: 3 * used]:
        return labels, [("has another colour table than DAVIS's: the ids count, the colours will look wrong", False)]
    return labels, []
