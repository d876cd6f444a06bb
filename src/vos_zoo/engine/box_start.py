"""Prompts as the model takes them; for a model that takes no boxes, another model predicts masks from boxes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vos_zoo.engine.target_model import AnyTargetModel, no_box_encoder, no_point_encoder
from vos_zoo.nn.precision import in_full_precision
from vos_zoo.prompts import ObjectPrompt, objects_in
from vos_zoo.tensors import ordinary_tensors
from vos_zoo.types import Frame, LabelMap, Points, Prompt

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BoxModel:
    """A model that predicts masks from boxes for other models.

    Attributes:
        name: what its weights are called.
        licence: what they may be used for.
        network: takes boxes; in eval mode.
    """

    name: str
    licence: str
    network: AnyTargetModel

    @ordinary_tensors()
    def draw(self, frame: Frame, boxes: Mapping[int, Sequence[float]], device: torch.device) -> LabelMap:
        """A label map, uint8 ``(H, W)``, of the objects in boxes; an object of which nothing is found fills its box.

        Computed in float32, whatever the format of the video.

        Args:
            frame: uint8 RGB ``(H, W, 3)``.
            boxes: object id -> x y w h in pixels; each overlaps the frame.
            device: where to compute.
        """
        network = self.network.to(device)
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(device).permute(2, 0, 1).float()
        with in_full_precision(pixels):
            logits = network.box_logits(pixels, torch.tensor([list(box) for box in boxes.values()], device=device))
        winners = network.merging.merge(logits[None])[0].argmax(dim=0).cpu().numpy()
        labels = np.asarray((0, *boxes), dtype=np.uint8)[winners]
        for identity in [identity for identity in boxes if not (labels == identity).any()]:
            _log.warning("%s finds nothing in the box of object %d: its whole box is taken", self.name, identity)
            _fill(labels, boxes[identity], identity)
        return labels


class BoxStart:
    """The boxes and points given in one video.

    Args:
        model: the model that follows the objects.
        find: returns the model that predicts masks if `model` takes no boxes, or None if there is none; called when
            the first box is given.

    Attributes:
        drawn_by: the model that predicts the masks, once one was needed.
    """

    def __init__(self, model: AnyTargetModel, find: Callable[[], BoxModel | None]) -> None:
        self.drawn_by: BoxModel | None = None
        self._takes_points = model.takes_points
        self._find = None if model.takes_boxes else find

    def prepare(self, prompt: Prompt) -> None:
        """Load the model that predicts masks from boxes, if it is needed; log its name once.

        Args:
            prompt: a parsed prompt of any frame.

        Raises:
            UsageError: there is none, or points are given to a model that takes none.
        """
        if not isinstance(prompt, Mapping):
            return
        points = [hint for hint in prompt.values() if isinstance(hint, Points)]
        if points and not self._takes_points:
            raise no_point_encoder()
        if self._find is None or self.drawn_by is not None or len(points) == len(prompt):
            return
        self.drawn_by = self._find()
        if self.drawn_by is None:
            raise no_box_encoder()
        name, licence = self.drawn_by.name, self.drawn_by.licence
        _log.warning("these weights take no boxes: %s (licence %s) draws the first mask in each box", name, licence)

    def objects(self, frame: Frame, prompt: Prompt, device: torch.device) -> dict[int, ObjectPrompt]:
        """Objects of a parsed prompt of a frame, uint8 RGB ``(H, W, 3)``; boxes are left if the model takes them.

        Raises:
            UsageError: nothing draws masks from boxes, or the model takes no points.
        """
        self.prepare(prompt)
        if self.drawn_by is None or not isinstance(prompt, Mapping):
            return objects_in(prompt)
        boxes = {identity: hint for identity, hint in prompt.items() if not isinstance(hint, Points)}
        drawn = objects_in(self.drawn_by.draw(frame, boxes, device)) if boxes else {}
        return {**drawn, **{identity: hint for identity, hint in objects_in(prompt).items() if identity not in boxes}}


def _fill(labels: LabelMap, box: Sequence[float], identity: int) -> None:
    """Label the background pixels in an object's box of a label map ``(H, W)``, or all of the box if none is left."""
    x, y, w, h = box
    inside = labels[max(math.floor(y), 0) : math.ceil(y + h), max(math.floor(x), 0) : math.ceil(x + w)]
    free = inside == 0
    inside[free if free.any() else np.ones_like(free)] = identity
