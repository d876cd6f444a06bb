"""The one streaming engine: frames and prompts go in, probabilities come out, for every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vos_zoo.core.merge import GIVEN_LOGIT, given_logits
from vos_zoo.core.target_model import Features, TargetModel, TrackSettings
from vos_zoo.core.views import Canvases
from vos_zoo.types import Frame, FrameResult, Prompt, UsageError

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class _Group:
    """Objects that go through the network together: their slots, their memory, and a write that still waits."""

    slots: list[int]
    memory: Any
    pending: tuple[Features, Tensor, list[int] | None] | None = None
    canvases: Canvases | None = None
    features: Features | None = None


@dataclass
class _Given:
    """What somebody gave in one frame: slots, given masks 0..1 and their logits ``(n, H, W)``, boxes or None."""

    slots: list[int]
    masks: Tensor
    logits: Tensor
    boxes: list[Sequence[float] | None] = field(default_factory=list)


class Propagator:
    """Segments one video, frame by frame; several propagators may share one model.

    Object ids are the user's and immutable; this class alone maps ids to slots. Objects may be added in any frame,
    corrected (a new mask for a known id starts that object anew) and dropped.

    Args:
        model: a target model in eval mode.
        settings: inference settings from `model.track_settings`.
        device: where to compute; default: where the model's parameters are.
    """

    def __init__(self, model: TargetModel, settings: TrackSettings, device: torch.device | None = None) -> None:
        self.model = model
        self.settings = settings
        self.device = device or next(model.parameters()).device
        self.view = model.make_view(settings)
        self.ids: list[int] = []
        self._started: list[int] = []
        self._groups: list[_Group] = []
        self._buffer: list[Tensor] = []
        self._index = 0
        self._size: tuple[int, int] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory held for the objects."""
        return sum(group.memory.nbytes for group in self._groups)

    @torch.no_grad()
    def push(self, frame: Frame, prompt: Prompt | None = None) -> list[FrameResult]:
        """Take the next frame.

        Args:
            frame: uint8 RGB ``(H, W, 3)``; all frames have one size.
            prompt: masks or boxes given in this frame: uint8 label map ``(H, W)`` (0 = nothing said), or id -> box.

        Returns:
            Results of all frames that are finished, oldest first: none while a clip fills, one or more otherwise.
            Before the first prompt the background alone is returned.

        Raises:
            UsageError: a frame or prompt of the wrong type or size; nothing was consumed.
        """
        given = None if prompt is None else self._understand(self._check(frame), prompt, self._next)
        image = torch.from_numpy(np.ascontiguousarray(self._check(frame))).to(self.device)
        self._size = (frame.shape[0], frame.shape[1])
        self._buffer.append(image.permute(2, 0, 1).float())
        if given is None and self._groups and len(self._buffer) < self.model.clip_length:
            return []
        try:
            complete = self._given(given) if given else None
        except UsageError:  # boxes for a model that takes none
            self._buffer.pop()
            raise
        return self._propagate(complete)

    def check_prompts(self, frame: Frame, prompts: Mapping[int, Prompt]) -> None:
        """Refuse prompts of coming frames that do not fit the video's first frame, before any work is done.

        Raises:
            UsageError: the first prompt that does not fit.
        """
        for index, prompt in prompts.items():
            self._understand(self._check(frame), prompt, index)

    @torch.no_grad()
    def flush(self) -> list[FrameResult]:
        """Results of the frames of an unfinished clip (call at the end of the video)."""
        return self._propagate(None) if self._buffer else []

    @torch.no_grad()
    def drop(self, ids: Sequence[int]) -> list[FrameResult]:
        """Stop following objects; unknown ids are an error. Returns results of an unfinished clip, if any."""
        unknown = [i for i in ids if i not in self.ids]
        if unknown:
            raise UsageError(f"cannot drop object {unknown[0]}: known objects are {self.ids}")
        results = self.flush()
        slots = sorted({self.ids.index(i) for i in ids})
        for group in self._groups:
            self._write(group)
            group.memory = group.memory.drop([group.slots.index(slot) for slot in slots if slot in group.slots])
            group.slots = [slot - sum(s < slot for s in slots) for slot in group.slots if slot not in slots]
        self._groups = [group for group in self._groups if group.slots]
        self.view.drop(slots)
        kept = [slot for slot in range(len(self.ids)) if slot not in slots]
        self.ids, self._started = [self.ids[s] for s in kept], [self._started[s] for s in kept]
        return results

    # -- one call of the network -------------------------------------------------------------------------------------

    def _propagate(self, given: _Given | None) -> list[FrameResult]:
        """Segment the buffered frames; the last one may carry a prompt."""
        frames = torch.stack(self._buffer)
        self._buffer = []
        logits = [self._predict(group, frames) for group in self._groups]
        if given is not None:
            logits = self._with_given(logits, frames, given)
        if not logits:
            return self._emit(frames.new_ones(len(frames), 1, *frames.shape[-2:]), plain=True)
        order = [slot for group in self._groups for slot in group.slots]
        known = len(order)
        order += [slot for slot in (given.slots if given else []) if slot not in order]
        stacked = torch.cat(logits, dim=1)
        stacked = stacked[:, [order.index(slot) for slot in range(len(order))]]
        probabilities = self.model.merge(stacked)
        for group in self._groups:
            self._remember(group, probabilities, given is not None)
        if given is not None:
            self._admit(frames[-1], given)
        self.view.relocate(probabilities[-1])
        return self._emit(probabilities, newcomers=len(order) - known)

    def _predict(self, group: _Group, frames: Tensor) -> Tensor:
        """Logits of one group's objects on the merge plane, ``(T, n, H', W')``."""
        self._write(group)
        canvases = self.view.project(frames, group.slots)
        with self._autocast():
            features = self.model.encode(canvases.pixels).spread(canvases.window)
            logits = self.model.decode(self.model.read(group.memory, features), features)
        group.canvases, group.features = canvases, features
        return self.view.lift(logits.float(), canvases)

    def _remember(self, group: _Group, probabilities: Tensor, prompted: bool) -> None:
        """Schedule what is to be learned from these frames; it runs when the next frame needs it, if ever."""
        assert group.canvases is not None and group.features is not None
        ages = [self._age(slot, len(probabilities)) for slot in group.slots]
        always = prompted and self.model.write_on_prompt
        due = [row for row, age in enumerate(ages) if age >= 1 and (always or self.model.is_due(age, self.settings))]
        if due:
            masks = self.view.lower(probabilities[:, [slot + 1 for slot in group.slots]], group.canvases)
            whole = len(due) == len(group.slots) or masks.shape[0] != len(group.slots)
            features = group.features if whole else group.features.rows(due)
            group.pending = (features, masks if whole else masks[due], None if whole else due)
        group.canvases = group.features = None

    def _age(self, slot: int, frames: int) -> int:
        """Frames between the newest frame of the buffer and the frame in which the object was given."""
        return self._index + frames - 1 - self._started[slot]

    def _write(self, group: _Group) -> None:
        """Carry out the group's waiting write."""
        if group.pending is not None:
            features, masks, rows = group.pending
            group.pending = None
            group.memory = self.model.update(group.memory, features, masks, rows)

    def _emit(self, probabilities: Tensor, plain: bool = False, newcomers: int = 0) -> list[FrameResult]:
        """Results of the buffered frames; `newcomers` objects (the last slots) exist from the last frame on."""
        full = probabilities if plain else self.view.emit(probabilities)
        start, self._index = self._index, self._index + len(full)
        older = len(self.ids) - newcomers
        results = [FrameResult(start + t, tuple(self.ids[:older]), own[: older + 1]) for t, own in enumerate(full)]
        return [*results[:-1], FrameResult(self._index - 1, tuple(self.ids), full[-1])]

    def _autocast(self) -> torch.autocast:
        kind = _AUTOCAST.get(self.settings.precision)
        return torch.autocast(self.device.type, dtype=kind or torch.bfloat16, enabled=kind is not None)

    # -- prompts -----------------------------------------------------------------------------------------------------

    @property
    def _next(self) -> int:
        """Number of the frame that comes next."""
        return self._index + len(self._buffer)

    def _check(self, frame: Frame) -> Frame:
        if not isinstance(frame, np.ndarray):
            raise UsageError(f"frame {self._next} is a {type(frame).__name__}; frames are uint8 RGB arrays (H, W, 3)")
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise UsageError(f"frame {self._next} is {frame.dtype} {frame.shape}; frames are uint8 RGB (H, W, 3)")
        if self._size is not None and frame.shape[:2] != self._size:
            raise UsageError(
                f"frame {self._next} has size {frame.shape[:2]}, the video {self._size}; resize it, or start anew"
            )
        return frame

    def _understand(self, frame: Frame, prompt: Prompt, index: int) -> dict[int, Any] | None:
        """Prompt of frame `index` -> id -> bool mask or box, checked against the size of `frame`."""
        height, width = frame.shape[:2]
        if isinstance(prompt, Mapping):
            return self._boxes(prompt, height, width, index)
        labels = np.asarray(prompt)
        if labels.shape != (height, width):
            raise UsageError(f"the mask given in frame {index} is {labels.shape}, the frame {(height, width)}")
        if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() > 255:
            raise UsageError(f"the mask given in frame {index} is {labels.dtype}; label maps hold ids 0..255")
        return {int(i): labels == i for i in np.unique(labels) if i != 0} or None

    def _boxes(
        self, prompt: Mapping[int, Sequence[float]], height: int, width: int, index: int
    ) -> dict[int, Any] | None:
        for i, box in prompt.items():
            if not 0 < int(i) <= 255:
                raise UsageError(f"object id {i} in frame {index}: ids lie in 1..255")
            if len(box) != 4 or not np.isfinite(box).all() or box[2] <= 0 or box[3] <= 0:
                raise UsageError(f"box {tuple(box)} of object {i}: give x,y,w,h with positive w and h")
            if box[0] >= width or box[1] >= height or box[0] + box[2] <= 0 or box[1] + box[3] <= 0:
                raise UsageError(f"box {tuple(box)} of object {i} lies outside the {width}x{height} frame")
        return {int(i): tuple(float(v) for v in box) for i, box in prompt.items()} or None

    def _given(self, given: dict[int, Any]) -> _Given:
        """Assign slots to ids and turn masks and boxes into masks and logits at the frame's size."""
        boxes: list[Sequence[float] | None] = [None if isinstance(v, np.ndarray) else v for v in given.values()]
        wanted = [box for box in boxes if box is not None]
        drawn: list[Tensor] = []
        if wanted:
            drawn = list(self.model.box_logits(self._buffer[-1], torch.tensor(wanted, device=self.device)))
        masks, logits = [], []
        for value in given.values():
            if isinstance(value, np.ndarray):
                masks.append(torch.from_numpy(value).to(self.device).float())
                logits.append(given_logits(masks[-1]))
            else:
                logits.append(drawn.pop(0))
                masks.append(logits[-1].sigmoid())
        slots = []
        for i in given:
            if i not in self.ids:
                self.ids.append(i)
                self._started.append(0)
            slots.append(self.ids.index(i))
            self._started[slots[-1]] = self._index + len(self._buffer) - 1
        return _Given(slots, torch.stack(masks), torch.stack(logits), boxes)

    def _with_given(self, logits: list[Tensor], frames: Tensor, given: _Given) -> list[Tensor]:
        """Given masks replace predictions of known objects in the last frame, and join as rows for new ones."""
        plane = self.view.to_plane(given.logits, -GIVEN_LOGIT)
        known = [slot for group in self._groups for slot in group.slots]
        new_rows = []
        for slot, own in zip(given.slots, plane, strict=True):
            if slot not in known:
                row = own.new_full((len(frames), *own.shape), -GIVEN_LOGIT)
                row[-1] = own
                new_rows.append(row)
            for group, predicted in zip(self._groups, logits, strict=True):
                if slot in group.slots:
                    predicted[-1, group.slots.index(slot)] = own
        return [*logits, torch.stack(new_rows, dim=1)] if new_rows else logits

    def _admit(self, frame: Tensor, given: _Given) -> None:
        """Initialise the given objects, known ones in their group, new ones in groups with room or in new groups."""
        for group in self._groups:
            self._write(group)
        for group, members in self._rooms(given.slots):
            picked = [given.slots.index(slot) for slot in members]
            canvases, masks = self.view.admit(frame, given.masks[picked], members, [given.boxes[p] for p in picked])
            with self._autocast():
                features = self.model.encode(canvases.pixels).spread(canvases.window)
            rows = [group.slots.index(slot) for slot in members]
            group.memory = self.model.initialise(group.memory, features, masks, rows)

    def _rooms(self, slots: Sequence[int]) -> list[tuple[_Group, list[int]]]:
        """Group of every given slot; groups hold at most `view.group_size` objects."""
        rooms: dict[int, list[int]] = {}
        for slot in slots:
            home = next((g for g, group in enumerate(self._groups) if slot in group.slots), None)
            if home is None:
                limit = self.view.group_size
                if not self._groups or (limit is not None and len(self._groups[-1].slots) >= limit):
                    self._groups.append(_Group([], self.model.new_memory(self.settings)))
                home = len(self._groups) - 1
                self._groups[home].slots.append(slot)
            rooms.setdefault(home, []).append(slot)
        return [(self._groups[home], members) for home, members in rooms.items()]
