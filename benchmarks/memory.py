"""Resident memory while a long generated video is tracked: it must be flat after warm-up.

    python benchmarks/memory.py --model lwl --frames 3000

Small canvases and a small encoder keep it short on a CPU; what could grow (memory of the objects, buffers of the
engine, caches) does not depend on them.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import one_thread
from vos_zoo.config.layers import load_config
from vos_zoo.create import create_model
from vos_zoo.data.synthetic.videos import SyntheticDataset, SyntheticSettings
from vos_zoo.types import Frame


def resident_megabytes() -> float:
    """Resident set of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("VmRSS is missing: this benchmark needs Linux")


def frames_of(sequence: object, count: int) -> Iterator[Frame]:
    """Frames drawn a few at a time."""
    for start in range(0, count, 8):
        frames, _ = sequence.tensors(start, min(start + 8, count))  # type: ignore[attr-defined]
        yield from frames.numpy()


def main() -> None:
    """Track, and report resident memory and the objects' memory every few hundred frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lwl")
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--objects", type=int, default=2)
    options = parser.parse_args()
    one_thread()
    config = load_config(options.model, recipe="quickstart")
    model = create_model(options.model, track={**config.track, "capacity": 32}, **config.model).eval()
    settings = SyntheticSettings(
        size=(128, 224),
        frames=options.frames,
        min_objects=options.objects,
        max_objects=options.objects,
        late_objects=0.0,
    )
    sequence = SyntheticDataset(videos=1, split="test", settings=settings)[0]
    engine = model.propagator(preset="stream")
    prompts, marks = sequence.prompts(), {}
    for t, frame in enumerate(tqdm(frames_of(sequence, options.frames), total=options.frames)):
        engine.push(frame, prompts.get(t))
        if t + 1 in (300, options.frames) or (t + 1) % 300 == 0:
            gc.collect()
            marks[t + 1] = resident_megabytes()
            tqdm.write(f"frame {t + 1}: resident {marks[t + 1]:.1f} MB, objects' memory {engine.nbytes / 2**20:.2f} MB")
    growth = marks[options.frames] / marks[300] - 1
    print(f"frame {options.frames} against frame 300: {100 * growth:+.2f} %")


if __name__ == "__main__":
    main()
