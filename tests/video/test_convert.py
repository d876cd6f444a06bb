"""Frames of PyAV are converted alike every time."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.video.convert import converted

av = pytest.importorskip("av")


def test_alpha_is_converted_to_the_pixel_every_time() -> None:
    rng = np.random.default_rng(0)
    picture = np.concatenate(
        [rng.integers(0, 255, (46, 54, 3), dtype=np.uint8), 255 * rng.integers(0, 2, (46, 54, 1), dtype=np.uint8)],
        axis=2,
    )
    for _ in range(50):
        frame = converted(av.VideoFrame.from_ndarray(picture, format="rgba"), format="yuva444p10le")
        alpha = np.frombuffer(frame.planes[3], np.uint16).reshape(46, -1)[:, :54]
        np.testing.assert_array_equal(alpha >= 512, picture[..., 3] > 127)


def test_a_version_that_always_uses_one_thread_is_asked_without_the_argument() -> None:
    class Old:
        def reformat(self, format: str) -> str:
            return format

    assert converted(Old(), format="rgb24") == "rgb24"
