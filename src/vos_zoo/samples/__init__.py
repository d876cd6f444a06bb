"""A short real clip to try things on: a rabbit among grey rocks, with its mask in the first frame.

From Big Buck Bunny, (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0; see the README beside the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vos_zoo.types import Box, Frame, LabelMap

NAME = "sample"
"""The clip's name as a source of `vos-zoo track`."""


@dataclass(frozen=True)
class SampleClip:
    """A video file with the mask of its first frame.

    Attributes:
        video: the file, 50 frames of 640x360.
        mask: palette PNG of the first frame; the rabbit is object 1.
        box: the rabbit in the first frame, x y w h in pixels.
    """

    video: Path
    mask: Path
    box: Box

    def frames(self) -> list[Frame]:
        """All frames, uint8 RGB ``(360, 640, 3)``."""
        from vos_zoo.video.reader import open_video

        return list(open_video(self.video))

    def first_mask(self) -> LabelMap:
        """Label map of the first frame, uint8 ``(360, 640)``."""
        from vos_zoo.video.masks import read_mask

        return read_mask(self.mask)


def clip() -> SampleClip:
    """The clip that comes with vos-zoo.

    Examples:
        >>> sample = clip()
        >>> frame = next(iter(sample.frames()))
        >>> frame.shape, sample.first_mask().max()
        ((360, 640, 3), np.uint8(1))
    """
    folder = Path(__file__).parent
    return SampleClip(folder / "bunny.mp4", folder / "bunny.png", Box(81, 75, 252, 224))
