"""The encoder's sums of an object's templates on a GPU: products over all slots at once instead of blocks.

The same sums as in `transformer_target`, up to rounding; matrices of weights are ``(S P, P)`` of one object.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vos_zoo.methods._few_shot.sample_memory import SampleMemory
from vos_zoo.methods.joint.transformer import JointTransformer
from vos_zoo.nn.attention import bounded_weights

_SUMS = ("numerators", "denominators")


def add_template(store: SampleMemory, transformer: JointTransformer, row: int, slot: int) -> None:
    """The terms between a new template and all others, in both directions; its own term came with its features."""
    keys, tokens, numerators, denominators = _stored(store, row)
    weights = _weights(transformer, keys, keys[slot])
    weights[slot] = 0
    numerators += weights @ tokens[slot]
    denominators += weights.sum(dim=-1)
    numerators[slot].addmm_(weights.flatten(0, 1).T, tokens.flatten(0, 1))
    denominators[slot] += weights.sum(dim=(0, 1))


def forget_template(store: SampleMemory, transformer: JointTransformer, row: int, slot: int) -> None:
    """Subtract the terms of a template that is about to be replaced."""
    keys, tokens, numerators, denominators = _stored(store, row)
    weights = _weights(transformer, keys, keys[slot])
    numerators -= weights @ tokens[slot]
    denominators -= weights.sum(dim=-1)


def encode_templates(store: SampleMemory, transformer: JointTransformer, row: int, fresh: bool, keep: bool) -> None:
    """Cross-attention keys of all templates of an object.

    Args:
        store: the samples.
        transformer: the branch's parameters.
        row: the object.
        fresh: recompute the sums from all templates.
        keep: the memory holds the sums.
    """
    count = store.counts[row]
    tokens = store.buffers["tokens"][:count, row]
    if fresh:
        numerators, denominators = _all_sums(store, transformer, row)
        if keep:
            store.buffers["numerators"][:count, row] = numerators
            store.buffers["denominators"][:count, row] = denominators
    else:
        numerators, denominators = (store.buffers[name][:count, row] for name in _SUMS)
    store.buffers["encoded"][:count, row] = transformer.template_keys(numerators, denominators, tokens)


def _all_sums(store: SampleMemory, transformer: JointTransformer, row: int) -> tuple[Tensor, Tensor]:
    """Numerators ``(S, P, C)`` and denominators ``(S, P)`` of an object's templates, from nothing."""
    count = store.counts[row]
    keys, tokens = (store.buffers[name][:count, row].flatten(0, 1) for name in ("keys", "tokens"))
    numerators, denominators = [], []
    for own in keys.unflatten(0, (count, -1)):
        weights = bounded_weights(own, keys, transformer.self_attention.scale)
        numerators.append(weights @ tokens)
        denominators.append(weights.sum(dim=1))
    return torch.stack(numerators), torch.stack(denominators)


def _stored(store: SampleMemory, row: int) -> list[Tensor]:
    """Keys, tokens and sums of an object's templates, views ``(S, P, ...)``."""
    return [store.buffers[name][: store.counts[row], row] for name in ("keys", "tokens", *_SUMS)]


def _weights(transformer: JointTransformer, queries: Tensor, keys: Tensor) -> Tensor:
    """Weights of the templates ``(S, P, width)`` on one ``(P, width)``: ``(S, P, P)``."""
    weights = bounded_weights(queries.flatten(0, 1), keys, transformer.self_attention.scale)
    return weights.unflatten(0, queries.shape[:2])
