"""`vos-zoo export`: the steps of a frame as ONNX files, checked with onnxruntime, and a tracker that runs on them."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vos_zoo import samples
from vos_zoo.console import say
from vos_zoo.export import track_onnx
from vos_zoo.export.files import FACTS_FILE, export_steps, write_facts
from vos_zoo.export.steps import Setup, check_exportable, fixed_settings, whole_frame
from vos_zoo.files.outputs import refuse_overwriting
from vos_zoo.model import VOSModel
from vos_zoo.types import UsageError

NEEDED = ("onnx", "onnxruntime", "onnxscript")


def run_export(*, weights: str, output: str, objects: int = 1, size: tuple[int, int] = (360, 640)) -> int:
    """Export weights for a number of objects and a size of the frames.

    Args:
        weights: as for `VOSModel.from_pretrained`.
        output: the folder that is written.
        objects: number of objects.
        size: height and width of the frames.

    Raises:
        UsageError: the extra is not installed, or a step cannot be exported so that its outputs equal torch's.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"exporting needs {' and '.join(missing)}: pip install 'vos-zoo[export]'")
    folder = Path(output)
    if folder.exists() and any(folder.iterdir()) and not (folder / FACTS_FILE).is_file():
        raise UsageError(f"output {output}: holds files that are no export; choose an empty folder")
    refuse_overwriting([folder], [weights])
    model = VOSModel.from_pretrained(weights, plain_cpu=True).eval()
    try:
        check_exportable(model.network)
        facts = _export(model, folder, objects, size)
    except UsageError as error:
        raise UsageError(f"{weights} ({model.method}): {error}") from error
    more = {"method": model.method, "source": weights, "licence": model.origin.get("licence", "")}
    write_facts(folder, {**more, **facts})
    shutil.copyfile(track_onnx.__file__, folder / "track_onnx.py")
    say(f"{folder}: python {folder / 'track_onnx.py'} VIDEO MASK --output masks")
    return 0


def _export(model: VOSModel, folder: Path, objects: int, size: tuple[int, int]) -> dict[str, Any]:
    """Write the files; returns what the tracker needs to know."""
    network = model.network
    given = {name: value for name, value in model.hparams["track"].items() if name != "preset"}
    settings = fixed_settings(network, given)
    view = whole_frame(network, settings)
    frames, labels = sample_frames(size, objects)
    pixels = [view.project(torch.from_numpy(frame).permute(2, 0, 1).float()[None], [0]).pixels[0] for frame in frames]
    masks = torch.from_numpy(np.stack([labels == number + 1 for number in range(objects)]).astype(np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    exported = export_steps(Setup(network, settings, view, objects), pixels, view.to_plane(masks), folder)
    for name, difference in exported.differences.items():
        say(f"{exported.files[name].name}: differs from torch by {difference:.1e} at most")
    more = [large - own for large, own in zip(pixels[0].shape[-2:], size, strict=True)]
    pad = [side for extra in reversed(more) for side in (extra // 2, extra - extra // 2)]  # left, right, top, bottom
    place = {"height": size[0], "width": size[1], "pad": pad, "pad_value": list(view.pad_value)}
    return {"objects": objects, **place}


def sample_frames(size: tuple[int, int], objects: int) -> tuple[list[Any], Any]:
    """Frames of the sample clip at a size, uint8 RGB ``(H, W, 3)``, and a label map with as many objects.

    The objects are upright parts of the clip's one.
    """
    from PIL import Image

    clip = samples.clip()
    pictures = [Image.fromarray(frame).resize(size[::-1]) for frame in clip.frames()[:2]]
    mask = Image.fromarray(clip.first_mask()).resize(size[::-1], Image.Resampling.NEAREST)
    labels = np.asarray(mask).copy()
    columns = np.flatnonzero(labels.any(axis=0))
    for number, part in enumerate(np.array_split(columns, objects)):
        labels[:, part] = np.where(labels[:, part] > 0, number + 1, 0)
    return [np.array(picture) for picture in pictures], labels
