"""The mask formats of other people's tools, each read into and written from `TrackMasks`."""

from __future__ import annotations

from vos_zoo.video.formats.coco import from_youtube_vis, read_youtube_vis, to_youtube_vis
from vos_zoo.video.formats.track_masks import TrackMasks

__all__ = ["TrackMasks", "from_youtube_vis", "read_youtube_vis", "to_youtube_vis"]
