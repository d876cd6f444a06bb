"""Tracks objects through a video with ONNX files that `vos-zoo export` wrote; needs no torch.

    python track_onnx.py VIDEO MASK --output masks     (with numpy, onnxruntime, pillow and opencv)

VIDEO has the size for which the files were made; MASK is a PNG of its first frame whose values are object ids.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]


class OnnxTracker:
    """The steps of a frame, and the memory of the first one.

    Args:
        folder: where `vos-zoo export` wrote its files.
    """

    def __init__(self, folder: str | Path) -> None:
        import onnxruntime

        self.facts = json.loads((Path(folder) / "export.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; it warns of what it removes
        self._sessions = {
            path.stem: onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for path in sorted(Path(folder).glob("*.onnx"))
        }

    def track(self, frames: Iterable[Frame], mask: Frame) -> Iterator[Frame]:
        """Label maps of all frames, uint8 ``(H, W)``.

        Args:
            frames: uint8 RGB ``(H, W, 3)``.
            mask: label map of the first frame, uint8 ``(H, W)``, with as many ids as objects were exported.

        Raises:
            ValueError: the frames or the mask have another size, or the mask another number of objects.
        """
        ids = np.unique(mask[mask > 0])
        if len(ids) != self.facts["objects"]:
            raise ValueError(f"the mask holds {len(ids)} objects, the files were made for {self.facts['objects']}")
        memory: dict[str, Any] = {}
        for index, frame in enumerate(frames):
            pixels = self._pad(frame)
            if index == 0:
                masks = np.stack([self._pad_mask(mask == each) for each in ids])
                memory = self._run("start", {"pixels": pixels, "masks": masks})
                yield mask
                continue
            seen = self._run("encode", {"pixels": pixels})
            yield self._labels(self._run("read", {**seen, **memory})["probabilities"], ids)

    def _run(self, step: str, given: dict[str, Any]) -> dict[str, Any]:
        """The outputs of a step by name; it takes the inputs it needs."""
        session = self._sessions[step]
        inputs = {each.name: given[each.name] for each in session.get_inputs()}
        names = [each.name for each in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def _pad(self, frame: Frame) -> NDArray[np.float32]:
        """A frame on the canvas, float32 RGB ``(1, 3, h, w)``."""
        size = [self.facts["height"], self.facts["width"]]
        if list(frame.shape[:2]) != size:
            raise ValueError(f"the frame is {frame.shape[0]} x {frame.shape[1]}, the files were made for {size}")
        left, right, top, bottom = self.facts["pad"]
        canvas = np.empty((1, 3, size[0] + top + bottom, size[1] + left + right), dtype=np.float32)
        canvas[:] = np.asarray(self.facts["pad_value"], dtype=np.float32)[None, :, None, None]
        canvas[0, :, top : top + size[0], left : left + size[1]] = frame.transpose(2, 0, 1)
        return canvas

    def _pad_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        left, right, top, bottom = self.facts["pad"]
        return np.pad(mask.astype(np.float32), ((top, bottom), (left, right)))

    def _labels(self, probabilities: NDArray[np.float32], ids: NDArray[np.uint8]) -> Frame:
        """The ids of the most probable objects without the padding, uint8 ``(H, W)``."""
        left, _, top, _ = self.facts["pad"]
        rows, columns = slice(top, top + self.facts["height"]), slice(left, left + self.facts["width"])
        chosen = probabilities[:, rows, columns].argmax(axis=0)
        return np.concatenate([np.zeros(1, np.uint8), ids])[chosen]


def read_video(path: str) -> Iterator[Frame]:
    """Frames of a video file, uint8 RGB ``(H, W, 3)``."""
    import cv2

    video = cv2.VideoCapture(path)
    while True:
        found, frame = video.read()
        if not found:
            return
        yield frame[..., ::-1]


def main() -> None:
    """Track one video."""
    from PIL import Image

    parser = argparse.ArgumentParser(description="Tracks objects through a video with exported ONNX files.")
    parser.add_argument("video")
    parser.add_argument("mask", help="palette or grey PNG of the first frame; its values are object ids")
    parser.add_argument("--model", default=str(Path(__file__).parent), help="the folder of the files")
    parser.add_argument("--output", required=True, help="a folder for one PNG per frame")
    options = parser.parse_args()
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    mask = np.asarray(Image.open(options.mask))
    for index, labels in enumerate(OnnxTracker(options.model).track(read_video(options.video), mask)):
        Image.fromarray(labels).save(output / f"{index:05d}.png")


if __name__ == "__main__":
    main()
