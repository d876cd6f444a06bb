"""What was given in one frame: masks, boxes and points as masks and logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vos_zoo.engine.groups import Group
from vos_zoo.engine.merge import GIVEN_LOGIT, given_logits
from vos_zoo.engine.target_model import AnyTargetModel
from vos_zoo.nn.precision import full_precision
from vos_zoo.prompts import ObjectPrompt
from vos_zoo.types import Box, Points


@dataclass
class Given:
    """Objects that are given in one frame.

    Attributes:
        ids: of the objects.
        masks: 0..1, ``(n, H, W)``.
        logits: of the masks, ``(n, H, W)``.
        hints: the box or points of each object; None: its mask was given.
        slots: of the objects, once they are assigned.
        known: those of the slots whose objects go on, and learn what is given.
        plain: where the masks are overlaid, the frame's prediction with the masks over it as they are, by which the
            other objects' confidence is measured: ``(N+1, H, W)``. A method's own rule may sharpen the prediction.
    """

    ids: list[int]
    masks: Tensor
    logits: Tensor
    hints: list[Box | Points | None]
    slots: list[int] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    plain: Tensor | None = None

    @property
    def boxes(self) -> list[Box | None]:
        """The box of each object that has one."""
        return [hint if isinstance(hint, Box) else None for hint in self.hints]

    @property
    def from_masks(self) -> list[int]:
        """Ids of the objects whose masks were given."""
        return [identity for identity, hint in zip(self.ids, self.hints, strict=True) if hint is None]

    def into(self, logits: list[Tensor], plane: Tensor, groups: Sequence[Group], frames: int) -> list[Tensor]:
        """Given masks replace predictions of known objects in the last frame, and join as rows for new ones.

        Args:
            logits: of each group, ``(T, n, H', W')``; written in place.
            plane: the given logits on the merge plane, ``(n, H', W')``.
            groups: whose predictions these are.
            frames: T.
        """
        known = [slot for group in groups for slot in group.slots]
        new_rows = []
        for slot, own in zip(self.slots, plane, strict=True):
            if slot not in known:
                row = own.new_full((frames, *own.shape), -GIVEN_LOGIT)
                row[-1] = own
                new_rows.append(row)
            for group, predicted in zip(groups, logits, strict=True):
                if slot in group.slots:
                    predicted[-1, group.slots.index(slot)] = own
        return [*logits, torch.stack(new_rows, dim=1)] if new_rows else logits


def draw_given(model: AnyTargetModel, image: Tensor, objects: Mapping[int, ObjectPrompt]) -> Given:
    """Masks and logits of the objects given in a frame; the model draws them from boxes and points.

    Args:
        model: takes the boxes and points that are given.
        image: float RGB ``(3, H, W)``, 0..255.
        objects: id -> bool mask ``(H, W)``, box or points.
    """
    drawn: dict[int, Tensor] = {}
    boxes = {identity: hint for identity, hint in objects.items() if isinstance(hint, Box)}
    points = {identity: hint for identity, hint in objects.items() if isinstance(hint, Points)}
    if boxes:
        found = model.box_logits(image, torch.tensor(list(boxes.values()), device=image.device))
        drawn.update(zip(boxes, full_precision(found), strict=True))
    if points:
        found = model.point_logits(image, list(points.values()))
        drawn.update(zip(points, full_precision(found), strict=True))
    masks, logits = [], []
    for identity, given in objects.items():
        if isinstance(given, np.ndarray):
            masks.append(torch.from_numpy(given).to(image))
            logits.append(given_logits(masks[-1]))
        else:
            logits.append(drawn[identity])
            masks.append(logits[-1].sigmoid())
    hints = [None if isinstance(given, np.ndarray) else given for given in objects.values()]
    return Given(list(objects), torch.stack(masks), torch.stack(logits), hints)
