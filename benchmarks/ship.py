"""Turns a trained model into weights that come with the package: src/vos_zoo/shipped/NAME.

    python benchmarks/ship.py runs/joint-small/model --name joint-small --about "JOINT at reduced width, ..."

writes config.json, model.safetensors, measured.json (no numbers yet) and README.md (its text may be edited afterwards;
an existing one is kept). Then `benchmarks/card.py` measures and scores, and `benchmarks/failures.py` draws.

Entries are stored as float16 where that is exact up to its rounding; what would underflow or overflow stays float32.
With `--share PREFIX` the entries under the prefix lie in one file
for all models that have equal ones. A folder that is there is only replaced with `--replace`; the numbers of the old
weights are dropped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import card
from benchmarks.failures import FRAMES, SCENES, follow
from vos_zoo.config.resources import shipped_folder
from vos_zoo.evaluation.fingerprint import weights_digest
from vos_zoo.hub.weights import CARD_FILE, CONFIG_FILE, NUMBERS_FILE, WEIGHTS_FILE, published_weights
from vos_zoo.model import VOSModel
from vos_zoo.registry import available_methods, load_method
from vos_zoo.types import UsageError, VOSError

LICENCE = "cc-by-nc-4.0"
MAX_BYTES, MAX_TOTAL = 12_000_000, 45_000_000
SHARED_FILE = "backbone.safetensors"
CARD = Path(__file__).with_name("shipped_card.md")


def stored(tensor: Tensor) -> Tensor:
    """An entry as it is stored: float16 if that is as good as rounding, else unchanged.

    Each row (the filter of one output channel, an element of a vector) has to keep 11 bits of its largest value; a row
    that is tiny beside the others, as of channels that training has switched off, may lose what is below 21 bits of the
    largest value of all.
    """
    if not tensor.is_floating_point() or tensor.dim() == 0 or tensor.numel() == 0:
        return tensor.contiguous()
    rows = tensor.reshape(len(tensor), -1)
    half, sizes = tensor.half(), rows.abs().amax(dim=1)
    error = (half.float() - tensor).abs().reshape(rows.shape).amax(dim=1)
    exact = half.isfinite().all() and (error <= (sizes * 2**-11).clamp(min=float(sizes.max()) * 2**-21)).all()
    return (half if exact else tensor).contiguous()


def split_off(state: dict[str, Tensor], prefix: str, path: Path) -> dict[str, Tensor]:
    """The entries outside `prefix`; those inside must be those of the file, which is written where there is none.

    Raises:
        UsageError: no entry has the prefix, or the file has others.
    """
    inside = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not inside:
        raise UsageError(f"--share {prefix}: no entry of the model begins so; the first one is {min(state)!r}")
    if not path.is_file():
        path.write_bytes(save(inside, metadata={"format": "pt"}))
    shared = load_file(path)
    for name, tensor in inside.items():
        if name not in shared or not torch.equal(shared[name], tensor):
            how = "is not in" if name not in shared else "differs from that in"
            raise UsageError(f"--share {prefix}: entry {prefix + name!r} {how} {path.name}; ship without --share")
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}


def ship(source: str | Path, name: str, about: str, share: str | None = None, replace: bool = False) -> dict[str, Any]:
    """Write the folder of a shipped model.

    Args:
        source: what `VOSModel.from_pretrained` takes.
        name: what the weights will be called.
        about: one sentence for `vos-zoo weights` and the card.
        share: start of the entries that lie in one file for several models.
        replace: whether weights of that name may be replaced; their card stays, their numbers are forgotten.

    Returns:
        The content of measured.json.

    Raises:
        UsageError: the name is taken, the weights come from others, or they are too large.
        VOSError: what was written is not what was to be written.
    """
    place = shipped_folder()
    folder = place / name
    _check_name(name, folder, replace)
    model = VOSModel.from_pretrained(source)
    if model.origin and model.origin.get("licence") != LICENCE:
        raise UsageError(f"{str(source)!r} comes from {dict(model.origin)}: weights of others are not shipped")
    model.origin = {"name": name, "licence": LICENCE, "about": about}
    state = {entry: stored(tensor) for entry, tensor in model.state_dict().items()}
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=".ship-") as part:
        new = Path(part) / name
        new.mkdir()
        config = model._configuration()
        if share is not None:
            shared = Path(part) / SHARED_FILE
            if (place / SHARED_FILE).is_file():
                shutil.copyfile(place / SHARED_FILE, shared)
            state = split_off(state, share, shared)
            digest = hashlib.sha256(shared.read_bytes()).hexdigest()
            config["shared"] = {SHARED_FILE: {"prefix": share, "sha256": digest}}
        text = json.dumps(config, indent=2) + "\n"
        (new / CONFIG_FILE).write_text(text)
        save_file(state, new / WEIGHTS_FILE, metadata={"format": "pt", "vos_zoo": text})
        (new / WEIGHTS_FILE).chmod(0o644)
        numbers = _numbers(model, new)
        (new / NUMBERS_FILE).write_text(json.dumps(numbers, indent=2) + "\n")
        _check_size(numbers["bytes"], place, folder, share)
        (new / CARD_FILE).write_text(_card_text(folder, model.method, name, about))
        if (folder / "assets").is_dir():
            shutil.copytree(folder / "assets", new / "assets")
        if share is not None:
            shared.replace(place / SHARED_FILE)
        if folder.is_dir():
            folder.rename(Path(part) / "old")
        new.rename(folder)
    card.write_card(name)
    return numbers


def _check_name(name: str, folder: Path, replace: bool) -> None:
    taken = {*available_methods(), *(local.known.name for local in published_weights())}
    if name in taken or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise UsageError(f"--name {name}: not of small letters, digits and -, or a name that is taken; give another")
    if folder.exists() and not replace:
        raise UsageError(f"{folder} is there; give --replace to put these weights in its place")


def _numbers(model: VOSModel, folder: Path) -> dict[str, Any]:
    """The first measured.json: what is known without measuring; the weights are read back as they are stored."""
    back = VOSModel.from_pretrained(folder)
    for entry, tensor in model.state_dict().items():
        if not torch.allclose(back.state_dict()[entry], tensor, rtol=0, atol=float(tensor.abs().max()) * 2**-10):
            raise VOSError(f"entry {entry!r} is not read back as it was written")
    shared = (folder.parent / SHARED_FILE).stat().st_size if (folder.parent / SHARED_FILE).is_file() else 0
    return {
        "weights": weights_digest(back.state_dict()),
        "bytes": (folder / WEIGHTS_FILE).stat().st_size + shared,
        "parameters": sum(parameter.numel() for parameter in back.network.parameters()),
        "speed": None,
        "scores": [],
    }


def _check_size(size: int, place: Path, folder: Path, share: str | None) -> None:
    models = [path for path in place.glob(f"*/{WEIGHTS_FILE}") if path.parent != folder]
    others = sum(path.stat().st_size for path in [*models, *(place.glob(SHARED_FILE) if share is None else [])])
    if size > MAX_BYTES or others + size > MAX_TOTAL:
        raise UsageError(
            f"the weights have {size / 1e6:.1f} MB, all shipped ones together {(others + size) / 1e6:.1f} MB; "
            f"at most {MAX_BYTES / 1e6:.0f} MB each and {MAX_TOTAL / 1e6:.0f} MB in all are shipped"
        )


def _card_text(folder: Path, method: str, name: str, about: str) -> str:
    """The card that is there, or the first one of these weights."""
    if (folder / CARD_FILE).is_file():
        return (folder / CARD_FILE).read_text(encoding="utf-8")
    info = load_method(method)
    words = {"title": info.title, "paper": info.paper, "year": info.year, "url": info.url}
    return Template(CARD.read_text(encoding="utf-8")).substitute(words, name=name, method=method, about=about)


def agreement(one: VOSModel, other: VOSModel) -> float:
    """Share of the pixels of drawn clips to which two models give the same label."""
    same = [
        (label == other_label).mean()
        for draw in SCENES.values()
        for scene in [[draw(t) for t in range(FRAMES)]]
        for label, other_label in zip(follow(one, scene), follow(other, scene), strict=True)
    ]
    return float(np.mean(same))


def main() -> None:
    """Ship one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model folder, or a checkpoint")
    parser.add_argument("--name", required=True, help="what the weights will be called")
    parser.add_argument("--about", required=True, help="one sentence: what it is, what it was trained on")
    parser.add_argument("--share", metavar="PREFIX", help="start of the entries kept in one file, as network.backbone.")
    parser.add_argument("--replace", action="store_true", help="weights of that name may be replaced")
    options = parser.parse_args()
    try:
        numbers = ship(options.model, options.name, options.about, options.share, options.replace)
    except VOSError as error:
        sys.exit(f"ship.py: {error}")
    same = agreement(VOSModel.from_pretrained(options.model), VOSModel.from_pretrained(options.name))
    print(f"{options.name}: {numbers['parameters']:,} parameters, {numbers['bytes'] / 1e6:.1f} MB")
    print(f"as stored they label {100 * same:.2f} % of the pixels of drawn clips as before; score them on real video")


if __name__ == "__main__":
    main()
