"""Frames per second of the synthetic videos on one core (or on the device named), by frame size and number of objects.

Run: ``python benchmarks/synthetic.py [--device cuda] [--frames 48] [--videos 6]``
"""

from __future__ import annotations

import argparse
import time

import torch

from vos_zoo.data.synthetic.videos import SyntheticSequence, SyntheticSettings


def measure(size: tuple[int, int], objects: int, frames: int, videos: int, device: str) -> tuple[float, float]:
    """Frames per second while drawing, and milliseconds to make the scene of a video (mean over `videos`)."""
    settings = SyntheticSettings(size=size, frames=frames, min_objects=objects, max_objects=objects)
    making = drawing = 0.0
    for number in range(-1, videos):  # the first one warms up
        sequence = SyntheticSequence(max(number, 0), settings, device=device)
        begun = time.perf_counter()
        assert sequence.scene.layers
        made = time.perf_counter()
        sequence.tensors()[0].flatten()[0].item()  # waits for the device
        if number >= 0:
            making += made - begun
            drawing += time.perf_counter() - made
    return frames * videos / drawing, 1000 * making / videos


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--videos", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'size':>9}  objects  frames/s  scene ms   ({arguments.device}, one thread, all effects)")
    for size in ((64, 96), (128, 224), (256, 448), (480, 854)):
        for objects in (1, 3, 6):
            speed, scene = measure(size, objects, arguments.frames, arguments.videos, arguments.device)
            print(f"{size[0]:>4}x{size[1]:<4}  {objects:>7}  {speed:>8.0f}  {scene:>8.1f}")


if __name__ == "__main__":
    main()
