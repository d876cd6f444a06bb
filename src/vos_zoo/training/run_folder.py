"""The folder of a training run: its path, its checkpoints, the record of its starts, its model."""

from __future__ import annotations

import json
import platform
import warnings
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import yaml

from vos_zoo import __version__
from vos_zoo.config.layers import COMPLETE, RunConfig
from vos_zoo.files.atomic import atomic_folder, write_text
from vos_zoo.files.text import read_text
from vos_zoo.hub.pretrained import Pretrained
from vos_zoo.revision import git_revision
from vos_zoo.training.checkpoint_files import newest_checkpoint
from vos_zoo.types import UsageError

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "segmentation-models-pytorch",
    "albumentations",
    "numpy",
)


def find_run(config: RunConfig, ckpt: str | None) -> tuple[Path, str | None]:
    """Run folder, and the checkpoint to continue from.

    Args:
        config: the configuration of the run.
        ckpt: None starts a run; "last" continues from the newest undamaged checkpoint of the named run (or of the
            newest run of the method), and warns of a newer one that is damaged; else the path of a checkpoint.

    Raises:
        UsageError: the folder holds a run or a configuration written by hand, or there is no checkpoint to continue
            from.
    """
    runs = Path(config.output)
    if ckpt is None:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = runs / (config.run_name or f"{config.method}-{stamp}")
        if has_checkpoint(folder) or (folder / "model").is_dir():
            raise UsageError(
                f"run folder {str(folder)!r} holds a trained run; resume it with --ckpt last, or rename it"
            )
        if not _is_saved(folder / "config.yaml"):
            raise UsageError(
                f"{folder / 'config.yaml'}: was written by hand and would be overwritten; move it elsewhere, "
                "or choose another run_name"
            )
        return folder, None
    if ckpt != "last":
        path = Path(ckpt)
        known = path.parent.name == "checkpoints"
        return (path.parent.parent if known else runs / (config.run_name or path.stem)), str(path)
    candidates = [runs / config.run_name] if config.run_name else runs.glob(f"{config.method}-*")
    found = sorted((folder for folder in candidates if has_checkpoint(folder)), key=_age)
    if not found:
        raise UsageError(f"--ckpt last: no checkpoint of {config.run_name or config.method} under {str(runs)!r}")
    newest = newest_checkpoint(found[-1] / "checkpoints", warnings.warn)
    if newest is None:
        raise UsageError(
            f"--ckpt last: every checkpoint in {str(found[-1] / 'checkpoints')!r} is damaged; start a new run"
        )
    return found[-1], str(newest)


def _is_saved(path: Path) -> bool:
    """Whether a run may write its configuration there: no file, or one that a run has saved."""
    if not path.is_file():
        return True
    try:
        tree = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, UsageError):
        return False
    return isinstance(tree, dict) and COMPLETE in tree


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has written a checkpoint there, damaged or not."""
    return any((folder / "checkpoints").glob("*.ckpt"))


def _age(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder / "checkpoints").glob("*.ckpt"))


def record_start(folder: Path, command: str, resumed: str | None, device: str, precision: str) -> None:
    """Command line, device, number format, git revision and package versions of every start, appended to run.json."""
    path = folder / "run.json"
    starts = json.loads(path.read_text()) if path.is_file() else []
    starts.append(
        {
            "time": datetime.now().isoformat(timespec="seconds"),
            "command": command,
            "resumed": resumed,
            "precision": precision,
            "vos_zoo": __version__,
            "git": git_revision(),
            "python": platform.python_version(),
            "device": device,
            "packages": {name: version(name) for name in PACKAGES},
        }
    )
    write_text(path, json.dumps(starts, indent=2) + "\n")


def save_model(model: Pretrained, folder: Path) -> None:
    """Save a model folder atomically."""
    with atomic_folder(folder, replace=True) as draft:
        model.save_pretrained(draft)
