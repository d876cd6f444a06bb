"""Resident memory of a session over many generated frames, with a prompt every 1000.

    python benchmarks/session_memory.py --model pcvos --frames 10000

Prints the resident memory every 500 frames, and its range after a warm-up of 2000 frames.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import one_thread
from vos_zoo.create import create_model
from vos_zoo.types import Frame, LabelMap

HEIGHT, WIDTH = 64, 96
SMALL = {
    "lwl": {"feature_channels": 32, "label_widths": [4, 8, 8], "label_channels": 6, "decoder_width": 8},
    "pcvos": {
        "key_channels": 16,
        "value_channels": 32,
        "local_channels": 16,
        "thin_channels": 16,
        "value_width": 8,
        "decoder_width": 16,
    },
}
TRACK = {"lwl": {"size": [64, 96], "capacity": 8}, "pcvos": {"clip_length": 5, "capacity": 8}}


def scene(t: int) -> tuple[Frame, LabelMap]:
    """A disc that goes round over a pattern, and its mask."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frame = np.stack([90 + 40 * np.sin(columns / 7), 90 + 40 * np.cos(rows / 5), 60 + columns], axis=-1)
    y, x = 32 + 14 * np.sin(t / 40), 48 + 26 * np.cos(t / 40)
    inside = (rows - y) ** 2 + (columns - x) ** 2 <= 81
    frame[inside] = (220, 60, 40)
    return frame.astype(np.uint8), inside.astype(np.uint8)


def resident() -> float:
    """Resident memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def main() -> None:
    """Run the session and print its memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(SMALL), default="pcvos")
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--prompt-every", type=int, default=1000)
    parser.add_argument("--folder", help="for the results; default: a temporary one")
    options = parser.parse_args()
    one_thread()
    method = options.model
    model = create_model(method, track=TRACK[method], backbone="timm:resnet10t", **SMALL[method]).eval()
    with tempfile.TemporaryDirectory() as temporary:
        session = model.session(
            lambda t: scene(t)[0],
            options.folder or Path(temporary) / "session",
            length=options.frames,
            cache_bytes=4 << 20,
            checkpoint_every=1000,
        )
        for frame in range(0, options.frames, options.prompt_every):
            session.give(frame, scene(frame)[1])
        seen = []

        def watch(result: object) -> None:
            number = result.index  # type: ignore[attr-defined]
            if number % 500 == 499:
                seen.append(resident())
                print(f"frame {number + 1:6d}: {seen[-1]:7.1f} MiB resident", flush=True)

        session.run(direction=1, on_result=watch)
        steady = seen[3:] or seen
        spread = 100 * (max(steady) - min(steady)) / min(steady)
        print(f"after 2000 frames: {min(steady):.1f} to {max(steady):.1f} MiB, {spread:.2f} %")


if __name__ == "__main__":
    main()
