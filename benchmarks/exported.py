"""Exported steps against torch on the sample clip: the labels that differ.

Exports shipped weights for one object at the size of the clip, tracks the whole clip with the script that the export
writes, in a process of its own (onnxruntime without torch), and with the same settings by torch.

    python benchmarks/exported.py --weights pcvos-small lwl-small
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import REPOSITORY, one_thread, record
from vos_zoo import samples
from vos_zoo.downloads.fetching import file_digest
from vos_zoo.engine.propagator import Propagator
from vos_zoo.engine.schedule import WriteSchedule
from vos_zoo.export.steps import fixed_settings, whole_frame
from vos_zoo.export.track_onnx import read_video
from vos_zoo.hub.weights import find_weights
from vos_zoo.model import VOSModel
from vos_zoo.tasks.export import run_export
from vos_zoo.types import Frame, LabelMap
from vos_zoo.video.masks import read_mask

RESULTS = REPOSITORY / "benchmarks" / "results" / "onnx.json"


class Never(WriteSchedule):
    """No frame is written."""

    def frames_to_write(self, *_: object) -> list[int]:
        return []


def torch_labels(model: VOSModel, frames: Sequence[Frame], mask: LabelMap) -> list[LabelMap]:
    """torch's engine with the view and settings of the exported steps; nothing is written after the first frame.

    Args:
        model: in eval mode; its schedule is replaced.
        frames: uint8 RGB ``(H, W, 3)``.
        mask: label map of the first one, uint8 ``(H, W)``.
    """
    given = {name: value for name, value in model.hparams["track"].items() if name != "preset"}
    settings = fixed_settings(model.network, given)
    model.network.schedule = Never()
    engine = Propagator(model.network, settings)
    engine.view = whole_frame(model.network, settings)
    results = [result for t, frame in enumerate(frames) for result in engine.push(frame, mask if t == 0 else None)]
    return [result.label_map() for result in results]


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Export, track twice and compare."""
    import onnxruntime
    import torch

    clip = samples.clip()
    mask = clip.first_mask()
    run_export(weights=name, output=str(folder), objects=1, size=(mask.shape[0], mask.shape[1]))
    script = [sys.executable, folder / "track_onnx.py", clip.video, clip.mask, "--output", folder / "masks"]
    subprocess.run([str(word) for word in script], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    frames = [np.ascontiguousarray(frame) for frame in read_video(str(clip.video))]
    model = VOSModel.from_pretrained(name, plain_cpu=True).eval()
    expected = torch_labels(model, frames, mask)
    shares = [
        float(np.mean(read_mask(folder / "masks" / f"{t:05d}.png") != labels)) for t, labels in enumerate(expected)
    ]
    local = find_weights(name)
    assert local is not None and local.file is not None
    return {
        "sha256": file_digest(local.file),
        "frames": len(frames),
        "size": list(mask.shape),
        "differing_pixels": float(np.mean(shares)),
        "differing_pixels_worst_frame": max(shares),
        "object_pixels_last_frame": int(np.count_nonzero(expected[-1])),
        "onnxruntime": onnxruntime.__version__,
        "torch": str(torch.__version__),
    }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="+", required=True, help="names of shipped weights")
    options = parser.parse_args()
    one_thread()
    for name in options.weights:
        with tempfile.TemporaryDirectory() as folder:
            record(RESULTS, name, measure(name, Path(folder)))


if __name__ == "__main__":
    main()
