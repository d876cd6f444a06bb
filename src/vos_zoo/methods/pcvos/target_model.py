"""PCVOS as six verbs: clips are matched with the memory, refined and decoded together (Park et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from vos_zoo.engine.decoded import Decoded
from vos_zoo.engine.evidence import Evidence, cover
from vos_zoo.engine.features import ClipPlan
from vos_zoo.engine.target_model import TargetModel, TrackSettings, Unrolled
from vos_zoo.engine.views import FullFrame
from vos_zoo.losses import check_losses, class_map, mask_losses
from vos_zoo.methods.pcvos.clips import refined_runs
from vos_zoo.methods.pcvos.decoder import Decoder
from vos_zoo.methods.pcvos.encoders import ValueEncoder, mask_filters, projections
from vos_zoo.methods.pcvos.features import PCVOSFeatures
from vos_zoo.methods.pcvos.losses import Bootstrap, bootstrapped_cross_entropy, clip_dice
from vos_zoo.methods.pcvos.memory import ClipMemory, margins
from vos_zoo.methods.pcvos.parts import PCVOSClips, PCVOSMerge, PCVOSSchedule, merged_odds
from vos_zoo.methods.pcvos.refinement import Refinement
from vos_zoo.methods.pcvos.settings import PRESETS, PCVOSTrackSettings
from vos_zoo.nn.backbones import IMAGENET_MEAN, build_backbone
from vos_zoo.nn.precision import full_precision
from vos_zoo.tensors import seen
from vos_zoo.types import Batch, UsageError

_OWN_LOSSES = ("cross_entropy", "dice")
STRIDE = 16
"""Pixels from one position of keys and values to the next."""


class PCVOS(TargetModel[ClipMemory, PCVOSFeatures, Tensor]):
    """Per-clip video object segmentation; with `refinement` off, clips of one frame and no dice it is STCN.

    Args:
        backbone: see `vos_zoo.nn.backbones.build_backbone`; used down to stride 16.
        backbone_weights: None, "imagenet" or a path.
        backbone_norms: what batch norms of a timm backbone do in training: "frozen" keeps their statistics, "batch"
            follows the batch; None: "frozen" where weights are given.
        value_weights: the same for the value encoder, a ResNet-18.
        key_channels: channels of the matching keys (sec. 4.1).
        value_channels: channels of the values.
        local_channels: channels of the local keys (width of the refinement).
        thin_channels: channels of the frame's features at stride 16 for the decoder.
        value_width: channels of the value encoder's stem.
        decoder_width: channels of the decoder at strides 8 and 4.
        others: the value encoder reads the other objects' masks; False: one object (static stage).
        refinement: intra-clip refinement (Table 2).
        window: its windows: frames, rows, columns (Tables 8, 9).
        depth: its blocks.
        train_clip: frames N of a clip in training; 1: per-frame training (Tables 2, 7).
        train_memory: which frames of a clip are stored in training, the "last" or "all" of them.
        losses: weight per loss term: "cross_entropy" per frame, "dice" per clip (absent or 0: Table 2), and those of
            `vos_zoo.losses` on the objects' own masks.
        bootstrap: [start, stop, share]: until step `start` all pixels are averaged, from step `stop` on that share of
            them.
    """

    settings_type: ClassVar[type[TrackSettings]] = PCVOSTrackSettings
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    initial_weights: ClassVar[tuple[str, ...]] = ("backbone_weights", "value_weights")
    one_object_per_canvas = False
    merging = PCVOSMerge()

    def __init__(
        self,
        backbone: str = "resnet50",
        backbone_weights: str | None = None,
        backbone_norms: str | None = None,
        value_weights: str | None = None,
        key_channels: int = 64,
        value_channels: int = 512,
        local_channels: int = 256,
        thin_channels: int = 512,
        value_width: int = 64,
        decoder_width: int = 256,
        others: bool = True,
        refinement: bool = True,
        window: Sequence[int] = (2, 7, 7),
        depth: int = 2,
        train_clip: int = 3,
        train_memory: str = "last",
        losses: Mapping[str, float] | None = None,
        bootstrap: Sequence[float] = (20_000, 70_000, 0.15),
    ) -> None:
        super().__init__()
        if train_memory not in ("last", "all"):
            raise UsageError(f"model.train_memory is {train_memory!r}; choose last or all")
        if train_clip < 1:
            raise UsageError(f"model.train_clip is {train_clip}; it must be at least 1")
        if len(window) != 3 or min(window) < 1:
            raise UsageError(f"model.window is {list(window)}; give frames, rows and columns, each at least 1")
        self.loss_weights = check_losses(dict.fromkeys(_OWN_LOSSES, 1.0) if losses is None else losses, _OWN_LOSSES)
        if not self.loss_weights:
            raise UsageError("model.losses is empty; choose cross_entropy, dice or both")
        self.bootstrap = Bootstrap(int(bootstrap[0]), int(bootstrap[1]), float(bootstrap[2]))
        self.schedule = PCVOSSchedule(clip_length=train_clip, train_memory=train_memory)
        self.backbone = build_backbone(backbone, backbone_weights, stages=3, norms=backbone_norms)
        if backbone_weights is not None:
            self.decided = {"backbone_norms": self.backbone.norms}
        f4, f8, f16 = self.backbone.channels
        self.projections = projections(f16, key_channels, thin_channels, local_channels if refinement else 0)
        self.value_encoder = ValueEncoder(f16, value_channels, value_width, others, value_weights)
        self.refinement = Refinement(local_channels, value_channels, window, depth) if refinement else None
        self.decoder = Decoder(value_channels, thin_channels, f8, f4, decoder_width)
        self.clips = PCVOSClips(self.refinement.reach if self.refinement is not None else None)

    # -- verbs -------------------------------------------------------------------------------------------------------

    def encode(self, frames: Tensor) -> PCVOSFeatures:
        """Pyramid, matching keys and local keys of float RGB ``(B, T, 3, h, w)``, 0..255."""
        clip = frames.shape[:2]
        f4, f8, f16 = self.backbone(frames.flatten(0, 1))
        names = ("key",) if self.refinement is None else ("key", "local")
        key, *local = (part.unflatten(0, clip) for part in self.projections(f16, names))
        f4, f8, f16 = (level.unflatten(0, clip) for level in (f4, f8, f16))
        keys = key.flatten(3).transpose(2, 3).contiguous()
        shaped = local[0].permute(0, 1, 3, 4, 2).contiguous() if local else None
        return PCVOSFeatures(frames, f4, f8, f16, keys=keys, local=shaped)

    def new_memory(self, settings: TrackSettings | None = None) -> ClipMemory:
        """An empty memory; `settings` None: all positions are read, as in training."""
        assert settings is None or isinstance(settings, PCVOSTrackSettings)
        return ClipMemory.empty(settings)

    def initialise(self, memory: ClipMemory, features: PCVOSFeatures, masks: Tensor, new: Sequence[int]) -> ClipMemory:
        """Start objects; the frame is remembered for all objects, masks ``(B, 1, K, h, w)`` (sec. 3.2)."""
        return self._remember(memory, features, masks, new)

    def read(self, memory: ClipMemory, features: PCVOSFeatures) -> Tensor:
        """Readouts of the frames, ``(B, T, K, C, h/16, w/16)`` (sec. 3.2 and 3.4)."""
        positions = None if features.plan is None else features.plan.encoded
        readouts = memory.read(features.keys, positions)
        return readouts.unflatten(3, features.f16.shape[-2:]).permute(0, 2, 1, 5, 3, 4)

    def decode(self, readout: Tensor, features: PCVOSFeatures) -> Tensor:
        """Refine the readouts of a clip (sec. 3.3) and decode them to logits ``(B, T, K, h, w)``."""
        plan = features.plan or ClipPlan.whole(readout.shape[1])
        wanted = [plan.encoded.index(position) for position in plan.decoded]
        if self.refinement is not None:
            assert features.local is not None
            readout = self._refine(readout, features.local, plan)
        elif len(wanted) < readout.shape[1]:
            readout = readout[:, wanted]
        seen = features.pick(wanted)
        thin = self.projections["thin"](seen.f16.flatten(0, 1)).unflatten(0, seen.f16.shape[:2])
        return self.decoder(readout, thin, seen.f8, seen.f4)

    def _refine(self, readout: Tensor, local: Tensor, plan: ClipPlan) -> Tensor:
        """Refined readouts of the decoded frames."""
        assert self.refinement is not None
        values, refined = readout.permute(0, 2, 1, 4, 5, 3), []
        for start, stop in refined_runs(plan.length, plan.decoded, self.refinement.reach):
            run = slice(plan.encoded.index(start), plan.encoded.index(stop - 1) + 1)
            wanted = [position - start for position in plan.decoded if start <= position < stop]
            refined.append(self.refinement(values[:, :, run], local[:, run], wanted))
        return torch.cat(refined, dim=2).permute(0, 2, 1, 5, 3, 4)

    def update(
        self, memory: ClipMemory, features: PCVOSFeatures, masks: Tensor, rows: Sequence[int] | None = None
    ) -> ClipMemory:
        """Remember frames with their merged soft masks ``(B, T, K, h, w)``."""
        return self._remember(memory, features, masks)

    def learn(
        self, memory: ClipMemory, features: PCVOSFeatures, masks: Tensor, rows: Sequence[int] | None = None
    ) -> ClipMemory:
        """Remember a given frame for good, with the masks ``(B, 1, K, h, w)`` of all objects."""
        return self._remember(memory, features, masks, given=True)

    def _remember(
        self,
        memory: ClipMemory,
        features: PCVOSFeatures,
        masks: Tensor,
        new: Sequence[int] = (),
        given: bool = False,
    ) -> ClipMemory:
        for t in range(masks.shape[1]):
            values = self.value_encoder(features.pixels[:, t], masks[:, t], features.f16[:, t])
            rows = full_precision(values.flatten(3).transpose(2, 3))
            covered = cover(masks[:, t], STRIDE)
            memory = memory.write(full_precision(features.keys[:, t]), rows, new, covered, given)
        return memory

    def evidence(
        self, memory: ClipMemory, readout: Tensor, features: PCVOSFeatures, decoded: Decoded
    ) -> Evidence | None:
        """The matching margin of each object against the frame where it was given, ``(1, T, K)``."""
        if "cover" not in memory.bank.owned:
            return None
        plan = features.plan or ClipPlan.whole(readout.shape[1])
        found = cover(decoded.logits.sigmoid(), STRIDE)
        keys = seen(features.keys, [plan.encoded.index(position) for position in plan.decoded], dim=1)
        return Evidence(margins, (keys, found), memory.references())

    # -- objects meet ------------------------------------------------------------------------------------------------

    def make_view(self, settings: TrackSettings) -> FullFrame:
        """The whole frame; padding is zero after normalisation."""
        assert isinstance(settings, PCVOSTrackSettings)
        red, green, blue = (255 * mean for mean in IMAGENET_MEAN)
        return FullFrame(16, settings.short_edge, "bicubic", (red, green, blue))

    # -- training ----------------------------------------------------------------------------------------------------

    def adopt(self, earlier: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of the one-object stage, with a fresh orthogonal channel for the other objects."""
        name = "value_encoder.conv1.weight"
        if name not in earlier or earlier[name].shape[1] + 1 != self.value_encoder.conv1.in_channels:
            return earlier
        fresh = mask_filters(earlier[name].shape[0], 1).to(earlier[name])
        return {**earlier, name: torch.cat([earlier[name], fresh], dim=1)}

    def losses(self, unrolled: Unrolled, batch: Batch) -> dict[str, Tensor]:
        """Bootstrapped cross entropy over all query frames, dice of every clip."""
        odds = merged_odds(unrolled.logits, batch.valid)
        truth = unrolled.truth * batch.valid[:, None, :, None, None]
        terms = {}
        if self.loss_weights.get("cross_entropy"):
            share = self.bootstrap.at(batch.step)
            terms["cross_entropy"] = bootstrapped_cross_entropy(odds, class_map(truth), share)
        if self.loss_weights.get("dice"):
            merged, hard = odds.softmax(dim=-3)[:, :, 1:], (truth > 0.5).float()
            length = self.schedule.clip_length
            clips = zip(merged.split(length, 1), hard.split(length, 1), strict=True)
            terms["dice"] = torch.stack([clip_dice(own, given, batch.valid) for own, given in clips]).sum()
        more = {name: weight for name, weight in self.loss_weights.items() if name not in _OWN_LOSSES}
        own = {name: self.loss_weights[name] * value for name, value in terms.items()}
        return {**own, **mask_losses(unrolled.logits, unrolled.truth, more, batch.valid)}
