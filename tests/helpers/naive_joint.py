"""JOINT's transformer without any saving: what the fast path is compared with, in tests and in the benchmark."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vos_zoo.methods.joint.transformer_target import TransformerMemory, TransformerTarget
from vos_zoo.nn.norms import token_instance_norm


class NaiveTarget(TransformerTarget):
    """Encodes the whole memory anew for every frame, with materialised attention matrices."""

    def read(self, memory: TransformerMemory, features: Any) -> Tensor:
        transformer, store = self.transformer, memory.samples
        grid, readouts = features.f16.shape[-2:], []
        frames = features.gather(features.tokens)[:, 0]
        for row, count in enumerate(store.counts):
            tokens = store.buffers["tokens"][:count, row]
            values = store.buffers["values"][:count, row, :-1].transpose(0, 1).flatten(1)
            encoded = torch.stack([self.attend(template, tokens) for template in tokens]).flatten(0, 1)
            query = transformer.cross_attention(self.attend(frames[row], frames[row][None]))
            similarities = query @ transformer.cross_attention(encoded).T
            weights = (similarities / (1 / transformer.cross_attention.scale)).softmax(dim=1)
            readouts.append((weights @ values.T).T.unflatten(-1, grid))
        return torch.stack(readouts)[:, None, None]

    def attend(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Self-attention of ``(P, C)`` over ``(S, P, C)``, residual and norm; keys are projected every time."""
        unit = self.transformer.self_attention
        similarities = unit(queries) @ unit(tokens).flatten(0, 1).T
        weights = (similarities / (1 / unit.scale)).softmax(dim=1)
        return token_instance_norm(weights @ tokens.flatten(0, 1) + queries)
