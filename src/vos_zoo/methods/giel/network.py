"""GIEL's modules, and the variants that its settings build (sec. 3, Table 1)."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence

from vos_zoo.engine.target_model import TargetModel
from vos_zoo.losses import check_losses
from vos_zoo.methods.giel.affinity import APPLY, TemporalAttention
from vos_zoo.methods.giel.decoder import CoarseHead, Decoder
from vos_zoo.methods.giel.encoders import KeyValueHead, Trunk, start_alike
from vos_zoo.methods.giel.features import GielFeatures, GielReadout
from vos_zoo.methods.giel.labels import LabelEncoder
from vos_zoo.methods.giel.memory import GielMemory
from vos_zoo.methods.giel.parts import GielClips, GielMerge
from vos_zoo.types import UsageError


class GielNetwork(TargetModel[GielMemory, GielFeatures, GielReadout], ABC):
    """The modules of GIEL; `target_model.Giel` runs them.

    Args:
        backbone: "resnet50" as published, or any of `vos_zoo.nn.backbones.build_backbone`.
        init: initial weights of both trunks: None or "none", "maskrcnn_coco" (published), "imagenet", or a path.
        key_dim: channels of the keys; None: C/8 (eq. 3).
        value_dim: channels of the values; None: C/2 (eq. 3).
        refine_decoder: a decoder per object (eq. 12); False: the fast version (eq. 10, 11).
        global_embedding: the global map multiplies the objects' maps and is supervised (eq. 5, 6; Table 1).
        instance_embedding: objects have embeddings (eq. 7 to 9; Table 1).
        no_instance_mode: without them, "per_object" runs the global branch once per object, with its own mask;
            "label_propagation" propagates the objects' labels by the affinity.
        fusion: "product" of object map and global map (eq. 11), or "instance_only".
        share_kv: support and query have the same key and value heads.
        kv_kernel: their kernel, 1 (sec. 3.3) or 3.
        key_gain: the keys of support and query start as one orthogonal projection of the trunks' features times this;
            None: torch's initialisation of each.
        share_decoder: the objects' decoder is the global decoder.
        decoder_dim: channels of the decoders.
        affinity_scale: "sqrt_dk", similarities are divided by the root of the keys' channels, or "none".
        temporal_attention: support frames have weights (fig. 3; Table 1).
        attention_apply, attention_norm, attention_dim, attention_hidden, attention_act: see `affinity` and
            `TemporalAttention`.
        label_kernels, label_strides, label_mid, label_out_act: see `LabelEncoder`.
        coarse_hidden: hidden channels of the fast version's head; 0: one layer.
        coarse_act: its map is a "sigmoid" of the upsampled logit, "sigmoid_first" (upsampled afterwards), or a
            "softmax" over the objects.
        aggregate_background: background probability in the aggregation, the "product" of the objects' complements, or
            "global", the complement of the global map.
        support_mask: objects' mask of a predicted frame, the "global" map or the "union" of the merged objects.
        support_mask_hard: threshold it.
        support_label_hard: labels of a predicted frame are one-hot instead of soft.
        mask_channel_init: see `Trunk`.
        bn_affine_trainable: the trunks' batch norms have trainable affine parts.
        bn_statistics: "frozen" running statistics in the trunks, or "batch", to train small trunks from scratch.
        train_mode: "recurrent", every predicted frame of a clip is supervised and joins the support; "one_shot", the
            last frame alone, from the ground-truth masks of all others.
        detach_support: no gradient flows through predicted masks.
        lambda_instance: weight of the objects' loss (eq. 13).
        losses: weights of further losses of the objects' masks, by name, in addition to eq. 13; see `vos_zoo.losses`.
    """

    merging: GielMerge

    def __init__(
        self,
        backbone: str = "resnet50",
        init: str | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        refine_decoder: bool = True,
        global_embedding: bool = True,
        instance_embedding: bool = True,
        no_instance_mode: str = "per_object",
        fusion: str = "product",
        share_kv: bool = False,
        kv_kernel: int = 1,
        key_gain: float | None = None,
        share_decoder: bool = False,
        decoder_dim: int = 256,
        affinity_scale: str = "sqrt_dk",
        temporal_attention: bool = True,
        attention_apply: str = "log_prior",
        attention_norm: str = "softmax",
        attention_dim: int = 128,
        attention_hidden: Sequence[int] = (128, 64),
        attention_act: str = "gelu",
        label_kernels: Sequence[int] = (7, 5),
        label_strides: Sequence[int] = (4, 4),
        label_mid: int = 64,
        label_out_act: str = "none",
        coarse_hidden: int = 256,
        coarse_act: str = "sigmoid",
        aggregate_background: str = "product",
        support_mask: str = "global",
        support_mask_hard: bool = False,
        support_label_hard: bool = False,
        mask_channel_init: str = "default",
        bn_affine_trainable: bool = True,
        bn_statistics: str = "frozen",
        train_mode: str = "recurrent",
        detach_support: bool = False,
        lambda_instance: float = 1.0,
        losses: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        _check_choices(
            no_instance_mode=(no_instance_mode, ("per_object", "label_propagation")),
            fusion=(fusion, ("product", "instance_only")),
            affinity_scale=(affinity_scale, ("sqrt_dk", "none")),
            attention_apply=(attention_apply, APPLY),
            coarse_act=(coarse_act, ("sigmoid", "sigmoid_first", "softmax")),
            aggregate_background=(aggregate_background, ("product", "global")),
            support_mask=(support_mask, ("global", "union")),
            bn_statistics=(bn_statistics, ("frozen", "batch")),
            train_mode=(train_mode, ("recurrent", "one_shot")),
        )
        self.mode = "embedding" if instance_embedding else no_instance_mode
        self.has_global = global_embedding and self.mode != "per_object"
        self.supervises_global = global_embedding
        if aggregate_background == "global" and not self.has_global:
            raise UsageError("model.aggregate_background is 'global', but there is no global map; use product")
        if coarse_act != "sigmoid" and (refine_decoder or not instance_embedding):
            raise UsageError(
                f"model.coarse_act={coarse_act} belongs to the fast version; set model.refine_decoder=false"
            )
        self.product = fusion == "product" and self.has_global
        self.coarse_act = coarse_act
        self.background = aggregate_background
        self.mask_from_global = support_mask == "global" and self.has_global
        self.mask_hard, self.label_hard = support_mask_hard, support_label_hard
        self.scaled, self.attention_apply = affinity_scale == "sqrt_dk", attention_apply
        self.train_mode, self.lambda_instance = train_mode, lambda_instance
        self.merging = GielMerge(background=aggregate_background, detach=detach_support)
        self.clips = GielClips(detach_support)
        self.more_losses = check_losses(losses or {})

        frozen = bn_statistics == "frozen"
        self.query_encoder = Trunk(backbone, init, None, frozen, bn_affine_trainable)
        self.support_encoder = Trunk(backbone, init, mask_channel_init, frozen, bn_affine_trainable)
        c4, c8, c16 = self.query_encoder.channels
        key, value = key_dim or c16 // 8, value_dim or c16 // 2
        reads_values = self.has_global or self.mode != "label_propagation"
        heads = [KeyValueHead(c16, key, value * reads_values, kv_kernel) for _ in range(1 if share_kv else 2)]
        self.support_head, self.query_head = heads[0], (None if share_kv else heads[1])
        if key_gain is not None:
            if key_gain <= 0:
                raise UsageError(f"model.key_gain is {key_gain}; give a number above 0, or null")
            start_alike(heads, key_gain)
        self.temporal_attention = (
            TemporalAttention(key, attention_dim, attention_hidden, attention_act, attention_norm)
            if temporal_attention
            else None
        )
        needs_decoder = self.has_global or self.mode == "per_object"
        self.global_decoder = Decoder(value, (c4, c8), decoder_dim) if needs_decoder else None
        self.label_encoder: LabelEncoder | None = None
        self.instance_decoder: Decoder | CoarseHead | None = None
        if self.mode == "embedding":
            self.label_encoder = LabelEncoder(value, label_kernels, label_strides, label_mid, label_out_act)
            if not refine_decoder:
                self.instance_decoder = CoarseHead(value, coarse_hidden)
            elif not (share_decoder and self.has_global):
                self.instance_decoder = Decoder(value, (c4, c8), decoder_dim)


def _check_choices(**choices: tuple[str, Sequence[str]]) -> None:
    """Check that each value is one of its choices."""
    for name, (value, known) in choices.items():
        if value not in known:
            raise UsageError(f"model.{name} is {value!r}; choose {', '.join(known)}")
