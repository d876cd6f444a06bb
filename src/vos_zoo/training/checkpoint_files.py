"""Atomic checkpoint files: written under another name, synced, renamed; verified before they are read."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from vos_zoo.files.atomic import atomic_file, remove_temporaries, sync_folder
from vos_zoo.types import UsageError, VOSError

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under another name, syncs it to disk, and then renames it.

    So after a crash, or on a full disk, the former file is still there. Of the checkpoint of every
    few steps the one before it is kept, too, as `previous.ckpt`: if the newest one is damaged, a run continues
    from there. Damage is detected by the file's own checksums (CRC-32 of every tensor).
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            VOSError: it cannot be written, for example because the disk is full.
        """
        if storage_options is not None:
            raise TypeError(f"checkpoints are files of this machine; {storage_options!r} is not supported")
        path = Path(path)
        try:
            remove_temporaries(path)
            with atomic_file(path) as temporary:
                with temporary.open("wb") as file:
                    torch.save(checkpoint, file)
                if path.name == LAST and path.is_file():
                    _keep(path)
            sync_folder(path.parent)
        except (OSError, RuntimeError) as error:
            raise VOSError(f"cannot write checkpoint {str(path)!r}: {_reason(error)}") from error

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read an undamaged checkpoint; tensors and plain values only.

        Raises:
            UsageError: it is damaged.
        """
        damage = damage_of(path)
        if damage is not None:
            raise UsageError(f"checkpoint {str(path)!r} is damaged ({damage}); continue from another one")
        loaded: dict[str, Any] = super().load_checkpoint(str(path), map_location, weights_only is not False)
        return loaded


def damage_of(path: str | os.PathLike[str]) -> str | None:
    """The damage of a checkpoint file, by its own checksums; None if there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        return " ".join(str(error).split())
    return None if damaged is None else f"entry {damaged} does not have its checksum"


def newest_checkpoint(folder: Path, warn: Callable[[str], object] | None = None) -> Path | None:
    """The newest undamaged one of `last.ckpt` and `previous.ckpt`; None if there is none.

    Args:
        folder: the run's checkpoints.
        warn: called with a message if a newer one is damaged.
    """
    for name in (LAST, PREVIOUS):
        path = folder / name
        if path.is_file():
            damage = damage_of(path)
            if damage is None:
                return path
            if warn is not None:
                warn(f"checkpoint {str(path)!r} is damaged ({damage}); trying the one before it")
    return None


def _keep(path: Path) -> None:
    """Keep a checkpoint under its second name, by a hard link, or by renaming where links are not supported."""
    second = path.with_name(f".{PREVIOUS}.part")
    second.unlink(missing_ok=True)
    try:
        second.hardlink_to(path)
    except OSError:
        path.replace(path.with_name(PREVIOUS))
    else:
        second.replace(path.with_name(PREVIOUS))


def _reason(error: Exception) -> str:
    """Why a file could not be written: torch hides the system's message."""
    causes = [error, error.__cause__, error.__context__]
    said = next((e.strerror for e in causes if isinstance(e, OSError) and e.strerror), None)
    return said or " ".join(str(error).split())
