"""The one streaming engine: frames and prompts go in, probabilities come out, for every method."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from vos_zoo.engine.box_start import BoxModel, BoxStart
from vos_zoo.engine.compiled import compiled_verbs
from vos_zoo.engine.confidence import Calibration
from vos_zoo.engine.confidence_meter import ConfidenceMeter
from vos_zoo.engine.decoded import as_decoded
from vos_zoo.engine.evidence import as_evidence
from vos_zoo.engine.features import ClipPlan, Features
from vos_zoo.engine.frame_results import Found, WaitingFrame, frame_results
from vos_zoo.engine.groups import Clock, Due, Group, Judgement, Predicted, assign_groups, in_order, judged
from vos_zoo.engine.merge import GIVEN_LOGIT, MergeRule
from vos_zoo.engine.prompted import Given, draw_given
from vos_zoo.engine.smoothing import Smoother
from vos_zoo.engine.target_model import AnyTargetModel, TrackSettings
from vos_zoo.engine.views import Canvases
from vos_zoo.nn.precision import at_least_float32, full_precision, number_format
from vos_zoo.prompts import ObjectPrompt, PromptParser, check_frame
from vos_zoo.tensors import ordinary_tensors, picked, stacked, upload
from vos_zoo.types import Frame, FrameResult, Prompt, UsageError


class Propagator:
    """Segments one video, frame by frame; several propagators may share one model.

    Object ids are the user's and immutable; this class alone maps ids to slots. Objects may be added in any frame,
    corrected (a new mask for a known id restarts that object, or teaches it) and dropped.

    Args:
        model: a target model in eval mode.
        settings: inference settings from `model.track_settings`.
        device: where to compute; default: where the model's parameters are.
        mask_threshold: turns given masks into one object, id 1, where they reach this level, 1..255; None reads ids.
        find_box_model: returns the model that predicts masks from boxes if `model` takes none, see `BoxStart`.
        calibration: of the confidence; None: the general one.
    """

    def __init__(
        self,
        model: AnyTargetModel,
        settings: TrackSettings,
        device: torch.device | None = None,
        mask_threshold: int | None = None,
        find_box_model: Callable[[], BoxModel | None] = lambda: None,
        calibration: Calibration | None = None,
    ) -> None:
        self.model = model
        self.boxes = BoxStart(model, find_box_model)
        self.settings = settings
        self.device = device or next(model.parameters()).device
        self.dtype = at_least_float32(next(model.parameters()).dtype)
        self.view = model.make_view(settings)
        self.meter = ConfidenceMeter(calibration)
        self.smoother = Smoother(settings)
        self._verbs = compiled_verbs(model) if settings.compile else model
        self.ids: list[int] = []
        self._clock = Clock()
        self._groups: list[Group] = []
        self._buffer: list[WaitingFrame] = []
        self._next = 0
        self._parser = PromptParser(mask_threshold)
        self._size: tuple[int, int] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory held for the objects."""
        return sum(group.memory.nbytes for group in self._groups)

    @ordinary_tensors()
    def push(
        self, frame: Frame, prompt: Prompt | None = None, wanted: bool = True, restart: bool = True
    ) -> list[FrameResult]:
        """Process the next frame.

        Args:
            frame: uint8 RGB ``(H, W, 3)``; all frames have one size.
            prompt: what is given in this frame: label map ``(H, W)`` of integers (0 = not given, 1..254 ids; 255 is
                object 1 where no mask given so far has an id, else void), or id -> box (x, y, w, h) or `Points` in it.
            wanted: whether a result of this frame is returned. The other frames' results are the same either way; a
                method that can do without decoding this one saves the time.
            restart: whether known objects start anew from what is given; False: they go on and learn it.

        Returns:
            Results of all wanted frames that are finished, oldest first: none while a clip fills, one or more
            otherwise. Before the first prompt the background alone is returned.

        Raises:
            UsageError: a frame or prompt of the wrong type or size, or a prompt without an object where there is none
                to track; nothing was consumed.
        """
        check_frame(frame, self._size, self._next)
        objects = self._parse(prompt, frame)
        return self._step(frame, objects, wanted, frozenset(objects or ()) if restart else frozenset())

    @ordinary_tensors()
    def push_objects(
        self, frame: Frame, objects: Mapping[int, ObjectPrompt], restart: Container[int] = ()
    ) -> list[FrameResult]:
        """As `push`, with what is given of each object by id: masks, boxes and points may be mixed.

        Args:
            frame: uint8 RGB ``(H, W, 3)``.
            objects: id -> bool mask ``(H, W)`` with at least one pixel, box or points, checked already.
            restart: known objects that start anew; the others go on and learn what is given.
        """
        check_frame(frame, self._size, self._next)
        hints = {identity: hint for identity, hint in objects.items() if not isinstance(hint, np.ndarray)}
        drawn = self.boxes.objects(frame, hints, self.device) if hints else {}
        return self._step(frame, {**objects, **drawn} or None, True, restart)

    def _step(
        self, frame: Frame, given: Mapping[int, ObjectPrompt] | None, wanted: bool, restart: Container[int]
    ) -> list[FrameResult]:
        """Process a checked frame and what is given in it."""
        image = upload(torch.from_numpy(np.ascontiguousarray(frame)), self.device)
        self._size = (frame.shape[0], frame.shape[1])
        self._buffer.append(WaitingFrame(image.permute(2, 0, 1).to(self.dtype), self._next, wanted))
        self._next += 1
        if given is None and self._groups and len(self._buffer) < self.model.schedule.frames_per_call(self.settings):
            return []
        return self._propagate(self._given(given) if given else None, restart)

    def skip(self) -> None:
        """Skip a frame: the frame number advances (memory is written by frame numbers), nothing is computed."""
        self._next += 1

    @ordinary_tensors()
    def flush(self) -> list[FrameResult]:
        """Results of the frames of an unfinished clip (call at the end of the video)."""
        return self._propagate(None) if self._buffer else []

    @ordinary_tensors()
    def drop(self, ids: Sequence[int]) -> list[FrameResult]:
        """Stop tracking objects; unknown ids are an error. Returns results of an unfinished clip, if any."""
        if not isinstance(ids, Iterable):
            raise UsageError(f"cannot drop {ids!r}: give a list of object ids, such as [{ids!r}]")
        unknown = [i for i in ids if i not in self.ids]
        if unknown:
            raise UsageError(f"cannot drop object {unknown[0]!r}: known objects are {self.ids}")
        results = self.flush()
        slots = sorted({self.ids.index(i) for i in ids})
        for group in self._groups:
            self._write(group)
            group.drop(slots)
        self._groups = [group for group in self._groups if group.slots]
        self.view.drop(slots)
        self._clock.drop(slots)
        self.meter.drop([self.ids[slot] for slot in slots])
        self.smoother.drop([self.ids[slot] for slot in slots])
        self.ids = [identity for slot, identity in enumerate(self.ids) if slot not in slots]
        return results

    # -- one call of the network -------------------------------------------------------------------------------------

    def _propagate(self, given: Given | None, restart: Container[int] = ()) -> list[FrameResult]:
        """Segment the buffered frames; something may be given in the last one."""
        clip, self._buffer = self._buffer, []
        overlaid = self.model.merging.given_masks == "overlaid"
        if given is not None and not overlaid:
            self._register(given, restart)
        due = [self._due(group, clip, given) for group in self._groups]
        if given is not None and overlaid:
            self._register(given, restart)
        plan = self._plan(clip, due, given is not None)
        if not plan.decoded:
            return []
        frames = stacked([clip[t].image for t in plan.encoded])
        order = [slot for group in self._groups for slot in group.slots]
        predicted = [self._predict(group, frames, plan) for group in self._groups]
        if given is None and not predicted:
            return self._emit(frames.new_ones(len(frames), 1, *frames.shape[-2:]), Judgement(), clip, plan, plain=True)
        meet = self._overlay if overlaid else self._merge
        probabilities = meet([part.logits for part in predicted], clip, plan, due, given)
        self.view.relocate(probabilities[-1])
        alive = probabilities.shape[1] - 1
        own = judged(predicted, order, alive, len(probabilities), [] if given is None else given.slots)
        return self._emit(probabilities, own, clip, plan, False, alive - len(order), given)

    def _merge(
        self, logits: list[Tensor], clip: list[WaitingFrame], plan: ClipPlan, due: list[list[Due]], given: Given | None
    ) -> Tensor:
        """Predictions and given masks merged as logits, ``(T, N+1, H', W')``; what is due is written as merged."""
        order = [slot for group in self._groups for slot in group.slots]
        if given is not None:
            plane = self.view.to_plane(given.logits, -GIVEN_LOGIT)
            logits = given.into(logits, plane, self._groups, len(plan.decoded))
            order += [slot for slot in given.slots if slot not in order]
        probabilities = self.model.merging.merge(in_order(logits, order))
        for group, own in zip(self._groups, due, strict=True):
            self._remember(group, probabilities, plan, own)
        if given is not None:
            for group in self._groups:
                self._write(group)
            for group, members in self._assign_groups(given):
                fresh = [slot for slot in members if slot not in given.known]
                known = [slot for slot in members if slot in given.known]
                if fresh:
                    self._initialise(group, *self._admit(clip[-1].image, given, fresh), fresh, given)
                if known and self.model.one_object_per_canvas:
                    placed = self._admit(clip[-1].image, given, known)
                    self._learn(group, placed, [group.slots.index(slot) for slot in known])
                elif known:
                    self._learn(group, self._everyone(group, clip[-1].image, probabilities), None)
        return probabilities

    def _overlay(
        self, logits: list[Tensor], clip: list[WaitingFrame], plan: ClipPlan, due: list[list[Due]], given: Given | None
    ) -> Tensor:
        """Predictions merged, and written where due; then the given masks over the newest frame."""
        seen = {}
        if logits:
            order = [slot for group in self._groups for slot in group.slots]
            probabilities = self.model.merging.merge(in_order(logits, order))
            for number, group in enumerate(self._groups):
                if given is not None and group.features is not None:
                    seen[number] = group.features.pick([len(plan.encoded) - 1])
                self._remember(group, probabilities, plan, due[number])
        if given is None:
            return probabilities
        masks = self.view.to_plane(given.masks)
        if not logits:
            probabilities = masks.new_ones(1, 1, *masks.shape[-2:])
        probabilities = nn.functional.pad(probabilities, (0, 0, 0, 0, 0, len(self.ids) + 1 - probabilities.shape[1]))
        plain = MergeRule().overlay(probabilities[-1], masks, given.slots)
        given.plain = self.view.emit(plain[None])[0] if logits else None
        probabilities[-1] = self.model.merging.overlay(probabilities[-1], masks, given.slots)
        for group in self._groups:
            self._write(group)
        for group, members in self._assign_groups(given):
            canvases, everyone = self._everyone(group, clip[-1].image, probabilities)
            features = seen.get(self._groups.index(group))
            fresh = [slot for slot in members if slot not in given.known]
            if fresh:
                self._initialise(group, canvases, everyone, fresh, given, features)
            else:
                self._learn(group, (canvases, everyone), None, features)
        if self.model.schedule.write_on_prompt:
            self._clock.written = [clip[-1].time] * len(self.ids)
        return probabilities

    def _plan(self, clip: list[WaitingFrame], due: list[list[Due]], prompted: bool) -> ClipPlan:
        """Which of the buffered frames are encoded and decoded."""
        if not self._groups:
            return ClipPlan.whole(len(clip))
        needed = {t for t, frame in enumerate(clip) if frame.wanted}
        needed |= {position for own in due for write in own for position in write.positions}
        if prompted:
            needed.add(len(clip) - 1)
        return self.model.clips.plan(len(clip), sorted(needed), self.settings)

    def _predict(self, group: Group, frames: Tensor, plan: ClipPlan) -> Predicted:
        """One group's objects on the merge plane."""
        self._write(group)
        canvases = self.view.project(frames, group.slots)
        with self._format():
            features = replace(self._verbs.encode(canvases.pixels).spread(canvases.window), plan=plan)
            readout = self._verbs.read(group.memory, features)
            decoded = as_decoded(self._verbs.decode(readout, features))
            evidence = self.model.evidence(group.memory, readout, features, decoded)
            group.memory = self.model.carry(group.memory, readout, decoded)
            features = self.model.clips.retain(features, readout, decoded)
        group.canvases, group.features = canvases, features
        logits = self.view.lift(full_precision(decoded.logits), canvases)
        lift = partial(self.view.lift_scores, canvases=canvases.without_pixels())
        scores = None if decoded.scores is None else lift(full_precision(decoded.scores))
        return Predicted(logits, scores, as_evidence(evidence), lift)

    def _due(self, group: Group, clip: list[WaitingFrame], given: Given | None) -> list[Due]:
        """The parts of a clip that are to be written."""
        together, times = not self.model.one_object_per_canvas, [frame.time for frame in clip]
        rest = (given is not None, self.model.schedule, self.settings, () if given is None else given.known)
        return self._clock.due(group.slots, times, together, *rest)

    def _remember(self, group: Group, probabilities: Tensor, plan: ClipPlan, due: list[Due]) -> None:
        """Schedule the writes of these frames; they run when the next frame needs them, if ever."""
        assert group.canvases is not None and group.features is not None
        if due:
            objects = picked(probabilities, [slot + 1 for slot in group.slots], dim=1)
            merged = self.view.lower(objects, group.canvases)
        for write in due:
            features, masks = group.features.pick([plan.encoded.index(at) for at in write.positions]), merged
            if len(write.positions) < len(plan.decoded):
                masks = picked(masks, [plan.decoded.index(at) for at in write.positions], dim=1)
            if write.rows is not None:
                features, masks = features.rows(write.rows), picked(masks, write.rows)
            group.pending.append((features, masks, write.rows))
        group.canvases = group.features = None

    def _write(self, group: Group) -> None:
        """Run the group's pending writes."""
        pending, group.pending = group.pending, []
        for features, masks, rows in pending:
            with self._format():
                group.memory = self.model.update(group.memory, features, masks, rows)

    def _emit(
        self,
        probabilities: Tensor,
        own: Judgement,
        clip: list[WaitingFrame],
        plan: ClipPlan,
        plain: bool = False,
        newcomers: int = 0,
        given: Given | None = None,
    ) -> list[FrameResult]:
        """Results of the wanted frames; `newcomers` objects exist from the last one on."""
        rows = [row for row, position in enumerate(plan.decoded) if clip[position].wanted]
        wanted = probabilities if len(rows) == len(probabilities) else picked(probabilities, rows)
        full = (wanted if plain or not rows else self.view.emit(wanted)).float()
        found = Found(full, rows, own, newcomers)
        return frame_results(found, clip, plan, self.ids, given, self.meter, self.smoother)

    def _format(self) -> AbstractContextManager[None]:
        """The number format of all verbs."""
        return number_format(self.device, self.settings.precision)

    def _parse(self, prompt: Prompt | None, frame: Frame) -> dict[int, ObjectPrompt] | None:
        """Objects of a prompt of the next frame; None if it names none."""
        if prompt is None:
            return None
        size = (frame.shape[0], frame.shape[1])
        parsed = self._parser.parse_one(prompt, self._next, size, needed=not self.ids)
        return None if parsed is None else self.boxes.objects(frame, parsed, self.device)

    def _given(self, objects: Mapping[int, ObjectPrompt]) -> Given:
        """What was given in the newest frame; slots are assigned by `_register`."""
        with self._format():
            return draw_given(self.model, self._buffer[-1].image, objects)

    def _register(self, given: Given, restart: Container[int]) -> None:
        """Slots of the given ids; the clocks of objects that start here start now."""
        for identity in given.ids:
            known = identity in self.ids and identity not in restart
            if identity not in self.ids:
                self.ids.append(identity)
            slot = self.ids.index(identity)
            given.slots.append(slot)
            if known:
                given.known.append(slot)
                self._clock.written[slot] = self._next - 1
            else:
                self._clock.start(slot, self._next - 1)

    def _admit(self, image: Tensor, given: Given, slots: Sequence[int]) -> tuple[Canvases, Tensor]:
        """Canvases on which the given objects `slots` start, and their masks ``(B, 1, K, h, w)`` there."""
        rows = [given.slots.index(slot) for slot in slots]
        return self.view.admit(image, given.masks[rows], slots, [given.boxes[row] for row in rows])

    def _everyone(self, group: Group, image: Tensor, probabilities: Tensor) -> tuple[Canvases, Tensor]:
        """Canvases of all objects of a group in the newest frame, and the frame's result ``(B, 1, K, h, w)``."""
        canvases = self.view.project(image[None], group.slots)
        objects = picked(probabilities[-1:], [slot + 1 for slot in group.slots], dim=1)
        return canvases, self.view.lower(objects, canvases)

    def _learn(
        self, group: Group, placed: tuple[Canvases, Tensor], rows: list[int] | None, features: Features | None = None
    ) -> None:
        """Known objects learn a given frame, canvases and masks on them; rows None: masks of all objects."""
        canvases, masks = placed
        with self._format():
            if features is None:
                features = self.model.encode(canvases.pixels).spread(canvases.window)
            group.memory = self.model.learn(group.memory, features, masks, rows)

    def _initialise(
        self,
        group: Group,
        canvases: Canvases,
        masks: Tensor,
        members: Sequence[int],
        given: Given,
        features: Features | None = None,
    ) -> None:
        """Start the slots `members` of a group; the canvases are encoded if their features are not available."""
        hints = [given.hints[given.slots.index(slot)] for slot in members]
        placed = tuple(None if hint is None else self.view.on_canvas(hint) for hint in hints)
        with self._format():
            if features is None:
                features = self.model.encode(canvases.pixels)
            features = replace(features.spread(canvases.window), hints=placed if any(placed) else None)
            rows = [group.slots.index(slot) for slot in members]
            group.memory = self.model.initialise(group.memory, features, masks, rows)

    def _assign_groups(self, given: Given) -> list[tuple[Group, list[int]]]:
        """Group of every given slot, with the slots in it."""
        fresh = partial(self.model.new_memory, self.settings)
        return assign_groups(self._groups, given.slots, self.view.group_size, fresh)
