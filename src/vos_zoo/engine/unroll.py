"""The training unroll: the same verbs as the streaming engine, over one mini-sequence, with gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from vos_zoo.engine.target_model import TargetModel, Unrolled
from vos_zoo.types import Batch


def unroll(model: TargetModel, batch: Batch) -> Unrolled:
    """Memorise the reference frames, then segment the query frames in order.

    See `TargetModel.training_forward`.

    Args:
        model: the target model; its memory carries the gradients.
        batch: frames ``(B, T, 3, h, w)`` and masks ``(B, T, K, h, w)``.

    Returns:
        Logits ``(B, Q, K, h, w)`` of the Q = T - reference_frames queries.
    """
    references, total = batch.reference_frames, batch.frames.shape[1]
    features = model.encode_sequences(batch.frames, references)
    slots = list(range(batch.masks.shape[0 if model.one_object_per_canvas else 2]))
    step = model.frames_per_call(None) if model.refines_in_training else total - references
    starts = range(references, total, step)
    stretches = features.split([1] * references + [min(step, total - start) for start in starts])
    memory = model.initialise(model.new_memory(), stretches[0], batch.masks[:, :1], slots)
    for t in range(1, references):
        memory = model.update(memory, stretches[t], batch.masks[:, t : t + 1])
    logits: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {}
    written = references - 1
    for start, clip in zip(starts, stretches[references:], strict=True):
        stop = min(start + step, total)
        readout = model.read(memory, clip)
        logits.append(model.decode(readout, clip))
        for name, value in model.readout_extras(readout).items():
            kept.setdefault(name, []).append(value)
        if not model.refines_in_training or stop == total:
            continue
        frames = range(start, stop)
        due = model.frames_to_write([t - references + 1 for t in frames], [t - written for t in frames], False, None)
        if due:
            written = frames[due[-1]]
            masks = model.merge_training(logits[-1], batch.valid)[:, due]
            memory = model.update(memory, model.retain(clip, readout).pick(due), masks)
    joined = torch.cat(logits, dim=1)
    extras = {name: torch.cat(values, dim=1) for name, values in kept.items()}
    extras.update(model.unroll_extras(memory, features, joined, batch))
    return Unrolled(joined, batch.masks[:, references:], extras)
