"""The transduction branch as a target: templates are encoded when they are stored, not when frames are read.

The encoder's inputs of a frame (its tokens and keys) depend on that frame alone and are stored with it. Of the
encoder only the cross-attention keys are kept; with `incremental` also its sums, one numerator per channel and one
denominator per token: a new template's terms are added and a replaced one's subtracted (docs/methods/joint.md,
"Incremental encoder"). Objects whose search windows coincided share the attention between such templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vos_zoo.methods._few_shot.sample_memory import SampleMemory
from vos_zoo.methods._few_shot.target import FewShotFeatures, LearnerTrackSettings, Target, sample_policy
from vos_zoo.methods.joint.batched_sums import add_template, encode_templates, forget_template
from vos_zoo.methods.joint.settings import JointTrackSettings
from vos_zoo.methods.joint.transformer import JointTransformer
from vos_zoo.nn.attention import bounded_attention, bounded_weights, fused_attention, mutual_sums
from vos_zoo.nn.precision import in_full_precision
from vos_zoo.tensors import constant

REBUILD_EVERY = 64
"""Writes after which the encoder's sums are recomputed, so that rounding errors do not accumulate."""
_PERCEIVED = ("tokens", "keys", "numerators", "denominators")
_CANVASES = 4096
"""Upper bound of the canvases per call: a canvas's id is made of the call and its position in the call."""


@dataclass(frozen=True)
class JointFeatures(FewShotFeatures):
    """The pyramid and the features of both branches.

    Attributes:
        tokens: adjusted features of the transformer, ``(U, T, P, C)``, P = h w / 256; None without this branch.
        keys: their self-attention keys, ``(U, T, P, width)``.
        numerators, denominators: self-attention of each frame over itself, ``(U, T, P, C)`` and ``(U, T, P)``.
    """

    tokens: Tensor = None  # type: ignore[assignment]
    keys: Tensor = None  # type: ignore[assignment]
    numerators: Tensor = None  # type: ignore[assignment]
    denominators: Tensor = None  # type: ignore[assignment]


@dataclass(frozen=True)
class TransformerMemory:
    """Templates of `B` objects, encoded.

    Attributes:
        samples: buffers "tokens" ``(S, B, P, C)``, "keys" ``(S, B, P, width)``, "values" ``(S, B, D + 1, P)`` (label
            encodings and a row of ones), "encoded" (cross-attention keys) ``(S, B, P, width)``, "canvas" (id of the
            canvas, int64) ``(S, B)``; incremental also "numerators" ``(S, B, P, C)`` and "denominators" ``(S, B, P)``.
        incremental: whether the encoder's sums are kept.
        calls: number of writing calls, part of the canvases' ids.
        writes: templates written after the first one, per object.
    """

    samples: SampleMemory
    incremental: bool
    calls: int = 0
    writes: tuple[int, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.samples.nbytes

    def drop(self, slots: Sequence[int]) -> TransformerMemory:
        """The memory without the objects in `slots`."""
        writes = tuple(count for row, count in enumerate(self.writes) if row not in set(slots))
        return replace(self, samples=self.samples.drop(slots), writes=writes)

    def for_reading(self) -> TransformerMemory:
        """The templates' keys and values."""
        buffers = {name: self.samples.buffers[name] for name in ("encoded", "values")}
        return TransformerMemory(SampleMemory(self.samples.policy, buffers, counts=self.samples.counts), False)

    def to(self, device: torch.device | str) -> TransformerMemory:
        """The same memory on `device`."""
        return replace(self, samples=self.samples.to(device))


@dataclass(frozen=True)
class _Pair:
    """Objects for which two templates are the same two canvases, and a representative of them."""

    first: int
    objects: list[int]


class TransformerTarget(Target[TransformerMemory, JointFeatures]):
    """Carries the memory frames' mask encodings to the current frame by attention (JOINT, sec. 3.3).

    Samples need "tokens" and "numerators" ``(B, P, C)``, "keys" ``(B, P, width)``, "denominators" ``(B, P)``, "canvas"
    ``(B,)`` and "values" ``(B, D, h, w)``.

    Args:
        transformer: the branch's parameters.
    """

    def __init__(self, transformer: JointTransformer) -> None:
        self.transformer = transformer

    def project_features(self, f16: Tensor) -> dict[str, Tensor]:
        """Adjusted features as "tokens", their "keys", and each frame's attention over itself."""
        tokens, keys = self.transformer.tokens(f16)
        numerators, denominators = self.transformer.own_sums(tokens, keys)
        return {"tokens": tokens, "keys": keys, "numerators": numerators, "denominators": denominators}

    def sample(self, features: JointFeatures) -> dict[str, Tensor]:
        """The objects' features, and the canvas that each object was cropped from."""
        window = features.window
        if window is None:
            window = torch.arange(len(features.tokens), device=features.tokens.device)
        seen = {name: features.gather(getattr(features, name))[:, 0] for name in _PERCEIVED}
        return {**seen, "canvas": window}

    def new_memory(self, settings: LearnerTrackSettings | None) -> TransformerMemory:
        """Empty memory: a ring buffer for `settings`, growing for training."""
        incremental = isinstance(settings, JointTrackSettings) and settings.incremental
        return TransformerMemory(SampleMemory(sample_policy(settings)), incremental)

    def initialise(
        self, memory: TransformerMemory, sample: Mapping[str, Tensor], new: Sequence[int]
    ) -> TransformerMemory:
        """The first template of the objects `new`."""
        samples = memory.samples.start(self._entries(memory, sample), new)
        writes = [*memory.writes, *[0] * (len(samples) - len(memory.writes))]
        for row in new:
            writes[row] = 0
        memory = TransformerMemory(samples, memory.incremental, memory.calls + 1, tuple(writes))
        return self._encode(memory, list(new), [0] * len(new))

    def update(
        self, memory: TransformerMemory, sample: Mapping[str, Tensor], rows: Sequence[int] | None, given: bool = False
    ) -> TransformerMemory:
        """Store one template of each of the objects `rows`, and encode their memories."""
        rows = list(range(len(memory.samples)) if rows is None else rows)
        slots = memory.samples.next_slots(rows, given)
        if memory.incremental:
            if _batched(memory.samples):
                for row, slot in zip(rows, slots, strict=True):
                    if slot < memory.samples.counts[row]:
                        forget_template(memory.samples, self.transformer, row, slot)
            else:
                self._forget(memory.samples, rows, slots)
        samples = memory.samples.write(self._entries(memory, sample), rows, given)
        writes = tuple(count + (row in rows) for row, count in enumerate(memory.writes))
        return self._encode(TransformerMemory(samples, memory.incremental, memory.calls + 1, writes), rows, slots)

    def read(self, memory: TransformerMemory, features: JointFeatures) -> Tensor:
        """Mask encodings of the query frames, ``(B, T, 1, D, h/16, w/16)``."""
        transformer, store = self.transformer, memory.samples
        grid = features.f16.shape[-2:]
        with in_full_precision(features.tokens):
            normed = transformer.normed(features.tokens, features.numerators, features.denominators)
            queries = features.gather(transformer.cross_attention(normed))
            if store.grows or _batched(store):
                read = self._read_fused(store, queries)
            else:
                read = torch.stack([self._read_object(store, row, own) for row, own in enumerate(queries)])
        return read.unflatten(-1, grid)[:, :, None]

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read_fused(self, store: SampleMemory, queries: Tensor) -> Tensor:
        """All objects at once, ``(B, T, P, width)`` -> ``(B, T, D, P)``; slots without a template are hidden."""
        objects, frames, pixels = queries.shape[:3]
        counts, hidden = store.counts, None
        if min(counts) < store.filled:
            empty = tuple(slot >= count for count in counts for slot in range(store.filled))
            slots = constant(empty, queries.device, torch.bool).view(objects, -1, 1)
            hidden = slots.expand(-1, -1, pixels).flatten(1)[:, None]
        keys = store.samples("encoded").transpose(0, 1).flatten(1, 2)
        values = store.samples("values")[:, :, :-1].permute(1, 0, 3, 2).flatten(1, 2)
        read = fused_attention(queries.flatten(1, 2), keys, values, self.transformer.cross_attention.scale, hidden)
        return read.view(objects, frames, pixels, -1).transpose(2, 3)

    def _read_object(self, store: SampleMemory, row: int, queries: Tensor) -> Tensor:
        """One object, ``(T, P, width)`` -> ``(T, D, P)``."""
        keys, values, count = store.buffers["encoded"], store.buffers["values"], store.counts[row]
        scale = self.transformer.cross_attention.scale
        blocks = [(keys[slot, row], values[slot, row]) for slot in range(count)]
        return torch.stack([bounded_attention(own, blocks, scale) for own in queries])

    # -- writing -----------------------------------------------------------------------------------------------------

    def _entries(self, memory: TransformerMemory, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The entries of a sample in the ring buffer."""
        values = sample["values"].flatten(2)
        summed = memory.incremental or memory.samples.grows
        entries = {name: sample[name] for name in (_PERCEIVED if summed else _PERCEIVED[:2])}
        entries["values"] = torch.cat([values, torch.ones_like(values[:, :1])], dim=1)
        if not memory.samples.grows:
            entries["canvas"] = sample["canvas"] + memory.calls * _CANVASES
            entries["encoded"] = torch.zeros_like(sample["keys"])
        return entries

    def _encode(self, memory: TransformerMemory, rows: list[int], slots: list[int]) -> TransformerMemory:
        """Cross-attention keys of all templates of the objects `rows`, whose newest ones are in `slots`."""
        store = memory.samples
        if store.grows:
            return replace(memory, samples=replace(store, buffers=self._encode_recorded(store.buffers)))
        fresh = [row for row in rows if not memory.incremental or memory.writes[row] % REBUILD_EVERY == 0]
        if _batched(store):
            for row, slot in zip(rows, slots, strict=True):
                if row not in fresh:
                    add_template(store, self.transformer, row, slot)
                encode_templates(store, self.transformer, row, row in fresh, memory.incremental)
            return memory
        if fresh:
            self._rebuild(store, fresh, keep=memory.incremental)
        added = [(row, slot) for row, slot in zip(rows, slots, strict=True) if row not in fresh]
        self._add(store, added)
        if memory.incremental:
            for slot in range(store.filled):
                self._project(store, rows, slot, store.buffers["numerators"][slot], store.buffers["denominators"][slot])
        return memory

    def _encode_recorded(self, buffers: dict[str, Tensor]) -> dict[str, Tensor]:
        """The buffers ``(S, B, ...)`` after the last slot was written, with gradients."""
        tokens, keys, numerators, denominators = (buffers[name] for name in _PERCEIVED)
        if len(tokens) > 1:
            shape = tokens[:-1].transpose(0, 1).shape[:3]
            old_keys, old_tokens = (x[:-1].transpose(0, 1).flatten(1, 2) for x in (keys, tokens))
            scale = self.transformer.self_attention.scale
            old, new = mutual_sums(old_keys, keys[-1], (old_tokens, tokens[-1]), scale)
            shares = [part.unflatten(1, shape[1:]).transpose(0, 1) for part in old]
            numerators = numerators + torch.cat([shares[0], new[0][None]])
            denominators = denominators + torch.cat([shares[1], new[1][None]])
        encoded = self.transformer.cross_attention(self.transformer.normed(tokens, numerators, denominators))
        return {**buffers, "numerators": numerators, "denominators": denominators, "encoded": encoded}

    def _project(
        self, store: SampleMemory, rows: list[int], slot: int, numerators: Tensor, denominators: Tensor
    ) -> None:
        """Encoder sums ``(B, P, C)``, ``(B, P)`` of one slot -> its cross-attention keys."""
        for row in rows:
            if slot < store.counts[row]:
                store.buffers["encoded"][slot, row] = self.transformer.template_keys(
                    numerators[row], denominators[row], store.buffers["tokens"][slot, row]
                )

    def _rebuild(self, store: SampleMemory, rows: list[int], keep: bool) -> None:
        """The encoder over the whole memory: slot by slot, so that only one slot's sums are in memory at a time."""
        tokens = store.buffers["tokens"]
        names, scratch = _names(store), _scratch(store)
        for slot in range(store.filled):
            if keep:
                numerators, denominators = (store.buffers[name][slot] for name in ("numerators", "denominators"))
                numerators[rows], denominators[rows] = 0, 0
            else:
                numerators, denominators = torch.zeros_like(tokens[slot]), torch.zeros_like(tokens[slot][..., 0])
            for other in range(store.filled):
                for pair in _pairs(store, names, rows, slot, other):
                    weights = self._weights(store, pair.first, slot, other, scratch)
                    _accumulate(numerators, denominators, weights, tokens[other, pair.first], pair.objects)
            if not keep:
                self._project(store, rows, slot, numerators, denominators)

    def _add(self, store: SampleMemory, written: list[tuple[int, int]]) -> None:
        """Encoder sums after new templates, (object, slot): a block of weights serves both directions.

        A template's own term is computed with its features.
        """
        if not written:
            return
        tokens, numerators, denominators = (store.buffers[n] for n in ("tokens", "numerators", "denominators"))
        names, scratch = _names(store), _scratch(store)
        for slot, members in _by_slot(written):
            for other in range(store.filled):
                for pair in _pairs(store, names, members, other, slot) if other != slot else ():
                    weights = self._weights(store, pair.first, other, slot, scratch)
                    new, old = tokens[slot, pair.first], tokens[other, pair.first]
                    _accumulate(numerators[other], denominators[other], weights, new, pair.objects)
                    _accumulate(numerators[slot], denominators[slot], weights.T, old, pair.objects)

    def _forget(self, store: SampleMemory, rows: list[int], slots: list[int]) -> None:
        """Subtract the terms of templates that are about to be replaced."""
        tokens, numerators, denominators = (store.buffers[n] for n in ("tokens", "numerators", "denominators"))
        names, scratch = _names(store), _scratch(store)
        for slot, members in _by_slot(list(zip(rows, slots, strict=True))):
            replaced = [row for row in members if slot < store.counts[row]]
            for other in range(store.filled):
                for pair in _pairs(store, names, replaced, other, slot) if other != slot else ():
                    weights = self._weights(store, pair.first, other, slot, scratch).neg_()
                    _accumulate(numerators[other], denominators[other], weights, tokens[slot, pair.first], pair.objects)

    def _weights(self, store: SampleMemory, row: int, query: int, key: int, out: Tensor) -> Tensor:
        """Weights of one object's template `query` on its template `key`, ``(P, P)``."""
        keys = store.buffers["keys"]
        return bounded_weights(keys[query, row], keys[key, row], self.transformer.self_attention.scale, out)


def _batched(store: SampleMemory) -> bool:
    """Whether few large products are faster than many small ones: not on a CPU, whose caches they exceed."""
    return store.buffers["values"].device.type != "cpu"


def _scratch(store: SampleMemory) -> Tensor:
    """Buffer for one block of weights."""
    keys = store.buffers["keys"]
    return keys.new_empty(keys.shape[2], keys.shape[2])


def _names(store: SampleMemory) -> list[list[int]]:
    """Canvas id in every slot of every object."""
    names: list[list[int]] = store.buffers["canvas"].tolist()
    return names


def _by_slot(written: list[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    """Objects grouped by the slot they write."""
    for slot in sorted({slot for _, slot in written}):
        yield slot, [row for row, own in written if own == slot]


def _pairs(store: SampleMemory, names: list[list[int]], rows: Sequence[int], query: int, key: int) -> Iterator[_Pair]:
    """The distinct pairs of canvases in two slots over the objects that have templates in both."""
    found: dict[tuple[int, int], list[int]] = {}
    for row in rows:
        if max(query, key) < store.counts[row]:
            found.setdefault((names[query][row], names[key][row]), []).append(row)
    for objects in found.values():
        yield _Pair(objects[0], objects)


def _accumulate(numerators: Tensor, denominators: Tensor, weights: Tensor, tokens: Tensor, objects: list[int]) -> None:
    """Add ``weights @ tokens`` and the sums of the weights to the objects' sums ``(B, P, C)`` and ``(B, P)``."""
    if len(objects) == 1:
        numerators[objects[0]].addmm_(weights, tokens)
        denominators[objects[0]].add_(weights.sum(dim=1))
        return
    share, sums = weights @ tokens, weights.sum(dim=1)
    for row in objects:
        numerators[row].add_(share)
        denominators[row].add_(sums)
