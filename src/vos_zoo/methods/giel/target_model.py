"""GIEL as six verbs: all objects of a frame in one pass (sec. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.engine.decoded import Decoded
from vos_zoo.engine.evidence import Evidence, cover, reference_margins
from vos_zoo.engine.merge import GIVEN_LOGIT
from vos_zoo.engine.target_model import TrackSettings, Unrolled
from vos_zoo.engine.views import FullFrame
from vos_zoo.losses import class_map, mask_losses
from vos_zoo.methods.giel.affinity import affinity, read_memory
from vos_zoo.methods.giel.decoder import CoarseHead, probability_logit, product_logit, upsample
from vos_zoo.methods.giel.encoders import STRIDE, crop_margins, margins
from vos_zoo.methods.giel.features import GielFeatures, GielReadout
from vos_zoo.methods.giel.labels import label_channels
from vos_zoo.methods.giel.losses import global_loss, instance_loss
from vos_zoo.methods.giel.memory import GielMemory
from vos_zoo.methods.giel.network import GielNetwork
from vos_zoo.methods.giel.parts import GielSchedule
from vos_zoo.methods.giel.settings import PRESETS, GielTrackSettings
from vos_zoo.methods.giel.views import MirroredFrame
from vos_zoo.nn.precision import full_precision
from vos_zoo.types import Batch


class Giel(GielNetwork):
    """Global and instance embeddings over one shared affinity; for its hyper-parameters see `GielNetwork`."""

    settings_type: ClassVar[type[TrackSettings]] = GielTrackSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    initial_weights: ClassVar[tuple[str, ...]] = ("init",)
    one_object_per_canvas = False
    schedule = GielSchedule()

    # -- the query ---------------------------------------------------------------------------------------------------

    def encode(self, frames: Tensor) -> GielFeatures:
        """Query trunk, keys and values (sec. 3.2, eq. 3)."""
        clip = frames.shape[:2]
        r2, r3, r4 = self.query_encoder(frames.flatten(0, 1))
        key, value = (self.query_head or self.support_head)(r4)
        f4, f8, f16, key, value = (tensor.unflatten(0, clip) for tensor in (r2, r3, r4, key, value))
        return GielFeatures(frames, f4, f8, f16, key=key, value=value)

    def read(self, memory: GielMemory, features: GielFeatures) -> GielReadout:
        """One affinity reads the global embedding and every object's (eq. 4, 5, 9); the global map follows (eq. 6)."""
        assert features.key is not None and features.value is not None and features.key.shape[1] == 1
        key, value = features.key[:, 0], features.value[:, 0]
        valid = None if memory.complete else memory.valid
        group = memory.settings.group_size if memory.settings else None
        if self.mode == "per_object":
            return GielReadout(self._read_per_object(memory, features), valid=valid)
        frames, first = memory.support()
        attention = self._affinity([frame.shared["key"] for frame in frames], key, first)
        owned = torch.cat([frame.owned["value"].flatten(3) for frame in frames], dim=-1)
        read = read_memory(owned.flatten(1, 2).to(value.dtype), attention)
        objects = read.view(*owned.shape[:3], *key.shape[-2:])
        if self.global_decoder is None:
            return GielReadout(objects, valid=valid, group=group)
        shared = self.global_decoder.share(value, features.f8[:, 0], features.f4[:, 0])
        values = torch.cat([frame.shared["value"].flatten(2) for frame in frames], dim=-1).to(value.dtype)
        saliency = self.global_decoder(read_memory(values, attention).view_as(value), shared)
        return GielReadout(objects, full_precision(crop_margins(saliency, features.size)), shared, valid, group)

    def _affinity(self, keys: Sequence[Tensor], query: Tensor, first: int) -> Tensor:
        """The affinity of the support frames' keys, each ``(B, k, h, w)``, with the weights of the frames (fig. 3)."""
        support = torch.stack(list(keys), dim=1).to(query.dtype)
        weights = self.temporal_attention(support, query, first) if self.temporal_attention else None
        return affinity(support, query, weights, self.scaled, self.attention_apply)

    def _read_per_object(self, memory: GielMemory, features: GielFeatures) -> Tensor:
        """Without instance embedding: the global branch once per object, with its own keys and values.

        Returns:
            Logits of each object's own map, ``(B, K, 1, h, w)``.
        """
        assert features.key is not None and features.value is not None and self.global_decoder is not None
        key, value = features.key[:, 0], features.value[:, 0]
        shared = self.global_decoder.share(value, features.f8[:, 0], features.f4[:, 0])
        maps = []
        for slot, start in enumerate(memory.starts):
            frames, first = memory.support(since=start)
            attention = self._affinity([frame.owned["key"][:, slot] for frame in frames], key, first)
            values = torch.cat([frame.owned["value"][:, slot].flatten(2) for frame in frames], dim=-1)
            read = read_memory(values.to(value.dtype), attention).view_as(value)
            maps.append(crop_margins(self.global_decoder(read, shared), features.size))
        return torch.stack(maps, dim=1)

    def decode(self, readout: GielReadout, features: GielFeatures) -> Decoded:
        """Logits of the objects' probabilities, ``(B, 1, K, h, w)`` (eq. 10 to 12): object map times global map.

        The extra "saliency" ``(B, 1, h, w)`` holds the logits of the global map, where there is one.
        """
        saliency = readout.saliency if self.product else None
        if self.mode == "per_object":
            logits = full_precision(readout.objects[:, :, 0])
        elif self.mode == "label_propagation":
            maps = crop_margins(upsample(full_precision(readout.objects[:, :, 0])), features.size)
            logits = _fuse(maps, saliency)
        else:
            maps = self._object_maps(readout, features)
            logits = self._fuse_maps(maps, saliency, readout.valid)
        if self.background == "global":
            assert readout.saliency is not None
            limit = probability_logit(logits.new_ones(()))
            logits = logits.clamp(-limit, limit) + readout.saliency.clamp(-limit, limit)
        if readout.valid is not None:
            logits = logits.masked_fill(~readout.valid[..., None, None], -GIVEN_LOGIT)
        extras = {} if readout.saliency is None else {"saliency": readout.saliency}
        return Decoded(logits[:, None], extras=extras)

    def _object_maps(self, readout: GielReadout, features: GielFeatures) -> Tensor:
        """Maps I of the objects that exist, ``(B, K, h, w)``: logits, or probabilities if `coarse_act` comes first.

        Empty slots are skipped and are zero.
        """
        assert features.value is not None
        head = self.instance_decoder or self.global_decoder
        assert head is not None
        shared = readout.shared if head is self.global_decoder else None
        if shared is None:
            shared = head.share(features.value[:, 0], features.f8[:, 0], features.f4[:, 0])
        slots = readout.objects.shape[:2]
        valid = readout.valid
        present = torch.ones(slots, dtype=torch.bool, device=readout.objects.device) if valid is None else valid
        rows = present.nonzero()[:, 0] if slots[0] > 1 else None
        reads = readout.objects.flatten(0, 1) if valid is None else readout.objects[valid]
        step = readout.group or max(len(reads), 1)
        parts = []
        for start in range(0, max(len(reads), 1), step):  # once without objects, too: parameters get a gradient of zero
            part = slice(start, start + step)
            maps = full_precision(head(reads[part], shared, None if rows is None else rows[part]))
            if isinstance(head, CoarseHead):
                maps = upsample(maps.sigmoid() if self.coarse_act == "sigmoid_first" else maps)
            parts.append(crop_margins(maps, features.size)[:, 0])
        return _scatter(torch.cat(parts), valid, slots)

    def _fuse_maps(self, maps: Tensor, saliency: Tensor | None, valid: Tensor | None = None) -> Tensor:
        """Objects' maps and the global logits ``(B, 1, h, w)`` -> logits of the product, ``(B, K, h, w)``."""
        if self.coarse_act == "sigmoid":
            return maps if saliency is None else product_logit(maps, saliency)
        if self.coarse_act == "softmax":
            absent = None if valid is None else ~valid[..., None, None]
            maps = (maps if absent is None else maps.masked_fill(absent, -torch.inf)).softmax(dim=1)
        return _fuse(maps, saliency)

    def evidence(
        self, memory: GielMemory, readout: GielReadout, features: GielFeatures, decoded: Decoded
    ) -> Evidence | None:
        """The matching margin of each object against the frame where it was given, ``(B, 1, K)``."""
        if self.mode == "per_object":
            return None
        assert features.key is not None
        found = _cover(decoded.logits[:, 0].sigmoid())[:, None]
        return Evidence(_margins, (found, features.key), memory.references())

    # -- memory ------------------------------------------------------------------------------------------------------

    def new_memory(self, settings: TrackSettings | None = None) -> GielMemory:
        """An empty memory."""
        assert settings is None or isinstance(settings, GielTrackSettings)
        return GielMemory(settings)

    def initialise(self, memory: GielMemory, features: GielFeatures, masks: Tensor, new: Sequence[int]) -> GielMemory:
        """Start objects and write their frame; an object with an empty mask remains an empty slot."""
        objects = masks[:, 0]
        memory = memory.start(new, objects.flatten(2).amax(dim=-1) > 0)
        return self._write(memory, features, objects, new)

    def update(
        self, memory: GielMemory, features: GielFeatures, masks: Tensor, rows: Sequence[int] | None = None
    ) -> GielMemory:
        """Write predicted frames with their merged objects and their global maps."""
        for t in range(masks.shape[1]):
            memory = self._write(memory, features.frames(t, t + 1), masks[:, t])
        return memory

    def learn(
        self, memory: GielMemory, features: GielFeatures, masks: Tensor, rows: Sequence[int] | None = None
    ) -> GielMemory:
        """Write a given frame for good, with the union of the objects as their mask."""
        return self._write(memory.learning(), replace(features.frames(0, 1), saliency=None), masks[:, 0])

    def _write(
        self, memory: GielMemory, features: GielFeatures, masks: Tensor, new: Sequence[int] | None = None
    ) -> GielMemory:
        """Encode one support frame, once for all objects (eq. 3, 7, 8).

        Args:
            memory: with all objects started.
            features: of the frame, ``T = 1``; with its global map if it was predicted.
            masks: objects, ``(B, K, h, w)``, 0..1.
            new: the objects given in this frame; None: it was predicted.
        """
        pixels, valid = features.pixels[:, 0], None if memory.complete else memory.valid
        if self.label_hard:
            masks = F.one_hot(_distribution(masks).argmax(dim=1), masks.shape[1] + 1).movedim(-1, 1)[:, 1:].to(masks)
        if self.mode == "per_object":
            rows = None if valid is None else valid.nonzero()[:, 0]
            seen = pixels.repeat_interleave(masks.shape[1], 0) if rows is None else pixels[rows]
            key, value = self._encode_support(seen, _present(masks, valid)[:, None])
            owned = {"key": _scatter(key, valid, masks.shape[:2]), "value": _scatter(value, valid, masks.shape[:2])}
            return memory.write({}, owned)
        key, value = self._encode_support(pixels, self._objects_mask(features, masks, new))
        if self.label_encoder is None:
            codes = F.avg_pool2d(F.pad(masks, margins(*features.size)), STRIDE)[:, :, None]
            return memory.write({"key": key, "value": value}, {"value": codes, "cover": _cover(masks)})
        labels = _present(label_channels(_distribution(masks)), valid)
        codes = _scatter(self.label_encoder(labels), valid, masks.shape[:2])
        owned = {"value": value[:, None] * codes, "cover": _cover(masks)}
        return memory.write({"key": key, "value": value}, owned)

    def _encode_support(self, pixels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of frames ``(N, 3, h, w)`` with the mask ``(N, 1, h, w)`` of all objects."""
        if self.mask_hard:
            mask = (mask > 0.5).to(mask.dtype)
        return self.support_head(self.support_encoder(pixels, mask)[2])

    def _objects_mask(self, features: GielFeatures, masks: Tensor, new: Sequence[int] | None) -> Tensor:
        """The mask channel of the support trunk, ``(B, 1, h, w)``.

        It is the global map of a predicted frame, the union of the given objects, or the maximum of both if objects
        are added; without a global map always the union of all objects.
        """
        union = masks.sum(dim=1, keepdim=True).clamp(0, 1)
        everyone = new is not None and len(set(new)) == masks.shape[1]
        if features.saliency is None or not self.mask_from_global or everyone:
            return union
        saliency = features.saliency[:, 0].to(masks.dtype)
        return saliency if new is None else torch.maximum(saliency, masks[:, list(new)].amax(dim=1, keepdim=True))

    # -- running and training ----------------------------------------------------------------------------------------

    def make_view(self, settings: TrackSettings) -> FullFrame:
        """The whole frame, and its mirror image if `flip`; the trunks pad it themselves."""
        assert isinstance(settings, GielTrackSettings)
        return (MirroredFrame if settings.flip else FullFrame)(multiple=1, short_edge=settings.short_edge)

    def training_forward(self, batch: Batch) -> Unrolled:
        """The unroll over a clip, of the objects that are in its first frame; others are background (sec. 3.3).

        The extra "valid" ``(B, K)`` says which slots of the batch hold an object.
        """
        valid = batch.valid & (batch.masks[:, 0].flatten(2).amax(dim=-1) > 0)
        masks = batch.masks * valid[:, None, :, None, None]
        references = batch.reference_frames if self.train_mode == "recurrent" else batch.masks.shape[1] - 1
        unrolled = super().training_forward(replace(batch, masks=masks, valid=valid, reference_frames=references))
        return replace(unrolled, extras={**unrolled.extras, "valid": valid})

    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        """Eq. 13: "global", the global map against the union, and "instances", the merged objects."""
        valid = unrolled.extras["valid"]
        labels = class_map(unrolled.truth)
        odds = self.merging.log_odds(unrolled.logits, valid[:, None])
        terms = {"instances": self.lambda_instance * instance_loss(odds, labels)}
        if "saliency" in unrolled.extras:
            terms["global"] = global_loss(unrolled.extras["saliency"], labels)
        elif self.mode == "per_object" and self.supervises_global:
            own, truth = (maps.transpose(1, 2)[valid] for maps in (unrolled.logits, unrolled.truth))
            terms["global"] = global_loss(own, (truth > 0.5).long())
        return {**terms, **mask_losses(unrolled.logits, unrolled.truth, self.more_losses, valid)}


def _cover(masks: Tensor) -> Tensor:
    """Share of each position of the padded picture that masks ``(B, K, h, w)`` cover, ``(B, K, P)``."""
    return cover(masks, STRIDE, margins(masks.shape[-2], masks.shape[-1]))


def _margins(found: Tensor, keys: Tensor, slots: Sequence[Sequence[int]], *given: Tensor) -> Tensor:
    """Matching margins ``(B, F, K)``; NaN for objects whose given frame is gone.

    Args:
        found: share of each position that the objects' new masks cover, ``(B, F, K, P)``.
        keys: of the new frames, ``(B, F, C, h, w)``.
        slots: the objects that were given in each of some frames.
        given: of these frames in turn, keys ``(B, C, h, w)`` and shares ``(B, K, P)``.
    """
    references = ((_positions(key), shares) for key, shares in zip(given[::2], given[1::2], strict=True))
    return reference_margins(_positions(keys), found, slots, references, _similarities)


def _positions(keys: Tensor) -> Tensor:
    """Keys ``(..., C, h, w)`` as those of positions, ``(..., P, C)``."""
    return keys.flatten(-2).transpose(-2, -1)


def _similarities(keys: Tensor, queries: Tensor) -> Tensor:
    """Similarities ``(F, Q, P)`` of queries ``(F, Q, C)`` with keys ``(P, C)``, scaled."""
    return full_precision(queries) @ full_precision(keys).transpose(0, 1) / keys.shape[1] ** 0.5


def _distribution(masks: Tensor) -> Tensor:
    """Objects ``(B, K, h, w)`` with the remaining probability as background first, ``(B, 1 + K, h, w)``."""
    return torch.cat([(1 - masks.sum(dim=1, keepdim=True)).clamp(0, 1), masks], dim=1)


def _present(tensor: Tensor, valid: Tensor | None) -> Tensor:
    """The rows of the slots that hold an object, ``(B, K, ...)`` -> ``(N, ...)``."""
    return tensor.flatten(0, 1) if valid is None else tensor[valid]


def _scatter(rows: Tensor, valid: Tensor | None, slots: Sequence[int]) -> Tensor:
    """Back to all slots, ``(N, ...)`` -> ``(B, K, ...)``; empty ones are zero."""
    if valid is None:
        return rows.unflatten(0, tuple(slots))
    return rows.new_zeros(*slots, *rows.shape[1:]).index_put((valid,), rows)


def _fuse(maps: Tensor, saliency: Tensor | None) -> Tensor:
    """Logit of probabilities ``(B, K, h, w)``, times the global map of the logits ``(B, 1, h, w)``."""
    return probability_logit(maps if saliency is None else maps * saliency.sigmoid())
