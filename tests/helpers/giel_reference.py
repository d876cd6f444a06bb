"""GIEL's forward pass as einsums over named axes, in float64: written from the equations, it shares no code with ours.

Axes: `t` support frame, `d` object, `c` value channel, `k` key channel, `h w` support position, `y x` query position.
Only parameters, by their names, come from the network.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """Cross-correlation ``(N, C, h, w)`` by unfolding, padded by half the kernel."""
    side = weight.shape[-1]
    patches = torch.nn.functional.unfold(x, side, padding=side // 2, stride=stride)
    height, width = (x.shape[-2] - 1) // stride + 1, (x.shape[-1] - 1) // stride + 1
    out = torch.einsum("oi,nip->nop", weight.flatten(1), patches)
    if bias is not None:
        out = out + bias[:, None]
    return out.unflatten(-1, (height, width))


def normalise(x: Tensor, state: State, name: str) -> Tensor:
    """Batch norm with running statistics."""
    mean, var, weight, bias = (
        state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Bilinear resize with half-pixel centres, as two matrices."""

    def matrix(size: int) -> Tensor:
        rows = torch.zeros(size * factor, size, dtype=torch.float64)
        for i in range(size * factor):
            centre = min(max((i + 0.5) / factor - 0.5, 0.0), size - 1.0)
            low = min(int(centre), size - 1)
            high = min(low + 1, size - 1)
            rows[i, low] += 1 - (centre - low)
            rows[i, high] += centre - low
        return rows

    return torch.einsum("ah,bw,nchw->ncab", matrix(x.shape[-2]), matrix(x.shape[-1]), x)


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def trunk(x: Tensor, state: State, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """ResNet-18 through its third stage, of normalised and padded pictures."""
    body = f"{name}.body"
    x = relu(normalise(convolve(x, state[f"{body}.conv1.weight"], stride=2), state, f"{body}.bn1"))
    x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
    levels = []
    for stage in (1, 2, 3):
        for block in (0, 1):
            here = f"{body}.layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            inner = relu(normalise(convolve(x, state[f"{here}.conv1.weight"], stride=stride), state, f"{here}.bn1"))
            inner = normalise(convolve(inner, state[f"{here}.conv2.weight"]), state, f"{here}.bn2")
            if stride == 2:
                x = convolve(x, state[f"{here}.downsample.0.weight"], stride=2)
                x = normalise(x, state, f"{here}.downsample.1")
            x = relu(x + inner)
        levels.append(x)
    return levels[0], levels[1], levels[2]


def decoder(embedding: Tensor, r3: Tensor, r2: Tensor, state: State, name: str) -> Tensor:
    """Decoder(E, r3, r2) with the skip paths repeated for every row of E."""

    def conv(x: Tensor, layer: str) -> Tensor:
        return convolve(x, state[f"{name}.{layer}.weight"], state[f"{name}.{layer}.bias"])

    def res(x: Tensor, layer: str) -> Tensor:
        return x + conv(relu(conv(relu(x), f"{layer}.conv1")), f"{layer}.conv2")

    rows = len(embedding)
    a = res(conv(embedding, "conv_in"), "res_in")
    b = res(res(conv(r3.repeat(rows, 1, 1, 1), "skip8.0"), "skip8.1") + enlarge(a, 2), "merge8")
    y = res(res(conv(r2.repeat(rows, 1, 1, 1), "skip4.0"), "skip4.1") + enlarge(b, 2), "merge4")
    return enlarge(conv(relu(y), "pred"), 4)


def pad(x: Tensor, value: float = 0.0) -> Tensor:
    """To multiples of 16, half on each side, the odd pixel right and below."""
    missing = [-x.shape[-2] % 16, -x.shape[-1] % 16]
    out = x.new_full((*x.shape[:-2], x.shape[-2] + missing[0], x.shape[-1] + missing[1]), value)
    top, left = missing[0] // 2, missing[1] // 2
    out[..., top : top + x.shape[-2], left : left + x.shape[-1]] = x
    return out


def unpad(x: Tensor, size: tuple[int, int]) -> Tensor:
    top, left = (-size[0] % 16) // 2, (-size[1] % 16) // 2
    return x[..., top : top + size[0], left : left + size[1]]


def forward(
    state: State,
    support: Tensor,
    masks: Tensor,
    labels: Tensor,
    query: Tensor,
    introduced: list[int] | None = None,
    fast: bool = False,
) -> dict[str, Any]:
    """One query frame against its support.

    Args:
        state: the network's entries, float64.
        support: pictures ``(t, 3, H, W)``, 0..255; the first one is the annotated one.
        masks: what the support trunk sees beside them, ``(t, H, W)``.
        labels: distributions ``(t, 1 + d, H, W)``.
        query: picture ``(3, H, W)``.
        introduced: the support frame in which each object starts.
        fast: the fast version.
    """
    size = (query.shape[-2], query.shape[-1])
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)[:, None, None]
    seen = pad(torch.cat([(support / 255 - mean) / std, masks[:, None]], dim=1))
    _, _, r = trunk(seen, state, "support_encoder")
    key_s = torch.einsum("kc,tchw->tkhw", state["support_head.key.weight"][..., 0, 0], r)
    key_s = key_s + state["support_head.key.bias"][:, None, None]
    value_s = torch.einsum("vc,tchw->tvhw", state["support_head.value.weight"][..., 0, 0], r)
    value_s = value_s + state["support_head.value.bias"][:, None, None]
    r2, r3, r4 = trunk(pad((query / 255 - mean) / std)[None], state, "query_encoder")
    key_q = torch.einsum("kc,cyx->kyx", state["query_head.key.weight"][..., 0, 0], r4[0])
    key_q = key_q + state["query_head.key.bias"][:, None, None]
    value_q = torch.einsum("vc,cyx->vyx", state["query_head.value.weight"][..., 0, 0], r4[0])
    value_q = value_q + state["query_head.value.bias"][:, None, None]

    def dense(x: Tensor, layer: str) -> Tensor:
        name = f"temporal_attention.{layer}"
        out = torch.einsum("oi,...i->...o", state[f"{name}.weight"][..., 0, 0], x)
        return out + state[f"{name}.bias"] if f"{name}.bias" in state else out

    def gelu(x: Tensor) -> Tensor:
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

    frames = len(support)
    first = relu(dense(key_s[0].permute(1, 2, 0), "first")).mean(dim=(0, 1))
    chosen = relu(dense(key_s.permute(0, 2, 3, 1), "selected")).mean(dim=(1, 2))
    asked = relu(dense(key_q.permute(1, 2, 0), "query")).mean(dim=(0, 1))
    joined = torch.stack([torch.cat([first, chosen[t], asked]) for t in range(frames)])
    score = dense(gelu(dense(gelu(dense(joined, "fc1")), "fc2")), "fc3")[:, 0]
    weight = torch.exp(score) / torch.exp(score).sum()
    similarity = torch.einsum("tkhw,kyx->thwyx", key_s, key_q) / math.sqrt(key_s.shape[1])
    similarity = similarity + torch.log(weight)[:, None, None, None, None]
    a = torch.exp(similarity) / torch.exp(similarity).sum(dim=(0, 1, 2))
    read_global = torch.einsum("tchw,thwyx->cyx", value_s, a)
    global_logit = decoder(torch.cat([value_q, read_global])[None], r3, r2, state, "global_decoder")[0]

    objects = labels.shape[1] - 1
    codes = []
    for d in range(1, objects + 1):
        others = labels[:, 1:].sum(dim=1) - labels[:, d]
        three = torch.stack([pad(labels[:, d]), pad(others), pad(labels[:, 0], 1.0)], dim=1)
        hidden = convolve(three, state["label_encoder.conv1.weight"], stride=4)
        hidden = relu(normalise(hidden, state, "label_encoder.norm1"))
        code = convolve(hidden, state["label_encoder.conv2.weight"], stride=4)
        code = normalise(code, state, "label_encoder.norm2")
        start = introduced[d - 1] if introduced else 0
        codes.append(torch.cat([torch.zeros_like(code[:start]), code[start:]]))
    code_all = torch.stack(codes, dim=1)
    values = torch.einsum("tchw,tdchw->dtchw", value_s, code_all)
    read = torch.einsum("dtchw,thwyx->dcyx", values, a)
    embedding = torch.cat([value_q[None].expand(objects, -1, -1, -1), read], dim=1)
    if fast:
        w1, w2 = (state[f"instance_decoder.{layer}.weight"][..., 0, 0] for layer in ("conv_in", "pred"))
        c1, c2 = (state[f"instance_decoder.{layer}.bias"] for layer in ("conv_in", "pred"))
        hidden = relu(torch.einsum("oi,diyx->doyx", w1, embedding) + c1[:, None, None])
        local = enlarge(torch.einsum("oi,diyx->doyx", w2, hidden) + c2[:, None, None], 16)
    else:
        local = decoder(embedding, r3, r2, state, "instance_decoder")
    local, global_logit = unpad(local, size)[:, 0], unpad(global_logit, size)[0]
    p = torch.sigmoid(local) * torch.sigmoid(global_logit)
    z = torch.cat([(1 - p).prod(dim=0, keepdim=True), p]).clamp(1e-7, 1 - 1e-7)
    odds = torch.log(z) - torch.log(1 - z)
    return {
        "r2": r2, "r3": r3, "r4": r4,
        "key_s": key_s, "value_s": value_s, "key_q": key_q, "value_q": value_q,
        "weight": weight, "a": a, "read_global": read_global, "global_logit": global_logit,
        "codes": code_all, "values": values, "read": read, "local": local, "p": p, "odds": odds,
        "merged": torch.exp(odds) / torch.exp(odds).sum(dim=0),
    }  # fmt: skip
