"""The mask formats of other people's tools, each read into and written from `TrackMasks`."""

from __future__ import annotations

from vos_zoo.video.formats.adapters import to_fiftyone, to_supervision
from vos_zoo.video.formats.alpha_video import read_alpha_video, write_alpha_video
from vos_zoo.video.formats.coco import from_youtube_vis, read_youtube_vis, to_youtube_vis
from vos_zoo.video.formats.cvat import from_cvat, to_cvat
from vos_zoo.video.formats.label_studio import from_label_studio, to_label_studio
from vos_zoo.video.formats.rgba import from_rgba, to_rgba
from vos_zoo.video.formats.sa_v import from_sa_v, to_sa_v
from vos_zoo.video.formats.track_masks import TrackMasks
from vos_zoo.video.formats.yolo import from_yolo, to_yolo

__all__ = [
    "TrackMasks",
    "from_cvat",
    "from_label_studio",
    "from_rgba",
    "from_sa_v",
    "from_yolo",
    "from_youtube_vis",
    "read_alpha_video",
    "read_youtube_vis",
    "to_cvat",
    "to_fiftyone",
    "to_label_studio",
    "to_rgba",
    "to_sa_v",
    "to_supervision",
    "to_yolo",
    "to_youtube_vis",
    "write_alpha_video",
]
