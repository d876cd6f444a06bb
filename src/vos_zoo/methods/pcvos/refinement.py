"""Intra-clip refinement: shifted windows over time, rows and columns (PCVOS, sec. 3.3).

The attention weights depend on the frames alone, so they are computed once per clip, for all objects;
and as every row of weights sums to one, value and output projection are one matrix
(docs/methods/pcvos.md, "Refinement" and "Computed differently, with the same result").
Rolls, padding and windows are one gather each way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo.methods.pcvos.clips import Reach, in_one_window
from vos_zoo.nn.passes import in_passes, per_pass, run_in_passes
from vos_zoo.nn.precision import full_precision, in_full_precision
from vos_zoo.tensors import cached_tensors, seen

MASKED = -100.0
"""Added to the logits of pairs from different regions of a rolled volume; not minus infinity."""
CPU_TOKENS, CPU_OBJECTS = 2048, 1
"""Tokens per pass of the feed-forward layers on the CPU, so that the hidden layer fits the cache, and objects."""

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Windows:
    """The assignment of a clip's tokens to windows.

    Attributes:
        tokens: int64 ``(W, n)``, the token at each position of each window; 0 for padding.
        padding: bool ``(W, n)``, positions without a token.
        positions: int64 ``(T h w,)``, the position of each token in the flattened windows.
        regions: int64 ``(W, n)``, positions of different regions get -100 added to their logit; None: one region.
    """

    tokens: Tensor
    padding: Tensor
    positions: Tensor
    regions: Tensor | None


@cached_tensors(maxsize=16)
def cut_windows(volume: Size, window: Size, shift: Size, device: torch.device) -> Windows:
    """Cut a volume ``(T, h, w)`` into windows.

    Args:
        volume: tokens along each axis; padded at the end to multiples of the window.
        window: size of the windows.
        shift: the volume is rolled by this towards its start before it is cut.
        device: of the result.
    """
    count = volume[0] * volume[1] * volume[2]
    padded = [-(-size // side) * side for size, side in zip(volume, window, strict=True)]
    numbers = torch.full(padded, -1)
    numbers[: volume[0], : volume[1], : volume[2]] = torch.arange(count).view(volume)
    tokens = _cut(numbers.roll([-step for step in shift], (0, 1, 2)), window)
    positions = torch.empty(count, dtype=torch.int64)
    found = tokens.flatten() >= 0
    positions[tokens.flatten()[found]] = found.nonzero()[:, 0]
    regions = None
    if any(shift):
        labels = torch.zeros(padded, dtype=torch.int64)
        for axis, (length, side, step) in enumerate(zip(padded, window, shift, strict=True)):
            along = torch.zeros(length, dtype=torch.int64)
            if step:
                along[length - side :], along[length - step :] = 1, 2
            labels = 3 * labels + along.view([-1 if a == axis else 1 for a in range(3)])
        regions = _cut(labels, window).to(device)
    return Windows(tokens.clamp(min=0).to(device), (tokens < 0).to(device), positions.to(device), regions)


def _cut(volume: Tensor, window: Size) -> Tensor:
    """``(T, h, w)`` -> ``(W, n)``: windows and the positions in them in the order time, row, column."""
    t, y, x = window
    cut = volume.unflatten(2, (-1, x)).unflatten(1, (-1, y)).unflatten(0, (-1, t))
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, t * y * x)


def relative_positions(window: Size) -> Tensor:
    """Row of the bias table for each pair of positions in a window, int64 ``(n, n)``; offsets are query minus key."""
    axes = torch.meshgrid(*(torch.arange(side) for side in window), indexing="ij")
    positions = torch.stack([axis.flatten() for axis in axes])
    offsets = positions[:, :, None] - positions[:, None] + torch.tensor(window)[:, None, None] - 1
    return (offsets[0] * (2 * window[1] - 1) + offsets[1]) * (2 * window[2] - 1) + offsets[2]


class WindowAttention(nn.Module):
    """Attention inside windows, one head: queries and keys are one projection of the local key.

    Args:
        keys: channels of the local key.
        values: channels of the values.
        window: full size of the windows (time, rows, columns).
    """

    index: Tensor

    def __init__(self, keys: int, values: int, window: Size) -> None:
        super().__init__()
        table = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(torch.empty(table, 1), std=0.02))
        self.register_buffer("index", relative_positions(window), persistent=False)
        self.qk = nn.Linear(keys, keys)
        self.v = nn.Linear(values, values)
        self.proj = nn.Linear(values, values)

    def weights(self, keys: Tensor, windows: Windows) -> Tensor:
        """Attention weights, ``(B, W, n, n)``; zero where the key is padding, which takes part but has no value.

        A shrunk window uses the first rows and columns of the full window's index, also where these are other offsets
        (rows or columns shrunk: frames below 128 pixels).

        Args:
            keys: normed local keys ``(B, T h w, C)``.
            windows: their assignment to windows.
        """
        with in_full_precision(keys):
            q = F.linear(full_precision(keys), self.qk.weight)
            q = q[:, windows.tokens.flatten()].masked_fill(windows.padding.view(-1, 1), 0) + self.qk.bias
            q = q.unflatten(1, windows.tokens.shape)
            tokens = windows.tokens.shape[1]
            bias = self.relative_position_bias_table[self.index[:tokens, :tokens].flatten(), 0].view(tokens, tokens)
            if windows.regions is not None:
                apart = windows.regions[:, :, None] != windows.regions[:, None]
                bias = bias + apart * MASKED
            weights = ((q * q.shape[-1] ** -0.5) @ q.transpose(-1, -2) + bias).softmax(dim=-1)
            # Masked pairs have denormal weights, which processors compute many times slower.
            vanishing = weights < torch.finfo(weights.dtype).tiny
            return weights.masked_fill(vanishing | windows.padding[:, None], 0)

    def apply_weights(self, weights: Tensor, values: Tensor, windows: Windows) -> Tensor:
        """Attended and projected values.

        Args:
            weights: from `weights`.
            values: normed values ``(B, K, T h w, C)``.
            windows: as for the weights.

        Returns:
            ``(B, K, W, n, C)``, in windows.
        """
        with in_full_precision(values):
            matrix = self.proj.weight @ self.v.weight
            bias = torch.addmv(self.proj.bias, self.proj.weight, self.v.bias)
        projected = F.linear(values, matrix)
        cut = projected.index_select(2, windows.tokens.flatten()).unflatten(2, windows.tokens.shape)
        return (weights[:, None].to(cut.dtype) @ cut).add_(bias.to(cut.dtype))


class Block(nn.Module):
    """Window attention and a feed-forward layer on the values; the local key is not changed.

    Args:
        keys: channels of the local key.
        values: channels of the values.
        window: full size of the windows.
        shifted: whether the volume is rolled by half a window.
    """

    def __init__(self, keys: int, values: int, window: Size, shifted: bool) -> None:
        super().__init__()
        self.window, self.shifted = window, shifted
        self.norm1 = nn.LayerNorm(keys)
        self.norm1_v = nn.LayerNorm(values)
        self.attn = WindowAttention(keys, values, window)
        self.norm2 = nn.LayerNorm(values)
        layers = {"fc1": nn.Linear(values, 4 * values), "act": nn.GELU(), "fc2": nn.Linear(4 * values, values)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def windows(self, volume: Size, device: torch.device) -> Windows:
        """Windows for a volume ``(T, h, w)``; along an axis that fits into one window there is no shift."""
        window = tuple(min(size, side) for size, side in zip(volume, self.window, strict=True))
        shift = tuple(
            side // 2 if self.shifted and size > side else 0 for size, side in zip(volume, self.window, strict=True)
        )
        return cut_windows(volume, window, shift, device)  # type: ignore[arg-type]

    def attend(self, weights: Tensor, values: Tensor, windows: Windows) -> Tensor:
        """Values after the attention, ``(B, K, T h w, C)``."""
        attended = self.attn.apply_weights(weights, self.norm1_v(values), windows)
        return attended.flatten(2, 3).index_select(2, windows.positions).to(values.dtype).add_(values)

    def feed_forward(self, values: Tensor) -> Tensor:
        """Values after the feed-forward layer, ``(..., C)``."""
        tokens = values.flatten(0, -2)
        fed = run_in_passes(lambda x: x + self.mlp(self.norm2(x)), tokens, per_pass(tokens, CPU_TOKENS))
        return fed.view_as(values)


def on_frames(layer: Callable[[Tensor], Tensor], values: Tensor, frames: set[int], count: int) -> Tensor:
    """Apply a layer to some frames of ``(B, K, T h w, C)``, T = `count`; the others are unchanged."""
    if len(frames) == count:
        return layer(values)
    by_frame, chosen = values.unflatten(2, (count, -1)), torch.tensor(sorted(frames), device=values.device)
    return by_frame.index_copy(2, chosen, layer(by_frame.index_select(2, chosen))).flatten(2, 3)


class Refinement(nn.Module):
    """The intra-clip refinement: values of a clip, refined from neighbours in space and time.

    Args:
        keys: channels of the local key.
        values: channels of the values.
        window: size of the windows (time, rows, columns).
        depth: blocks; every second one is shifted.

    Attributes:
        reach: its extent in time.
    """

    def __init__(self, keys: int, values: int, window: Sequence[int] = (2, 7, 7), depth: int = 2) -> None:
        super().__init__()
        size: Size = (window[0], window[1], window[2])
        self.reach = Reach(size[0], tuple(size[0] // 2 if i % 2 else 0 for i in range(depth)))
        self.blocks = nn.ModuleList(Block(keys, values, size, bool(i % 2)) for i in range(depth))
        self.norm = nn.LayerNorm(values)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, values: Tensor, local: Tensor, wanted: Sequence[int] | None = None) -> Tensor:
        """Refine a clip.

        Args:
            values: readouts ``(B, K, T, h, w, C)``.
            local: local keys ``(B, T, h, w, C')``.
            wanted: requested frames; feed-forward layers skip frames that these do not depend on. None: all.

        Returns:
            Refined values of the requested frames, ``(B, K, T', h, w, C)``.
        """
        volume: Size = (local.shape[1], local.shape[2], local.shape[3])
        keys = local.flatten(1, 3)
        blocks: list[Block] = list(self.blocks)  # type: ignore[arg-type]
        plans = [block.windows(volume, local.device) for block in blocks]
        weights = [block.attn.weights(block.norm1(keys), windows) for block, windows in zip(blocks, plans, strict=True)]
        fed = [set(range(volume[0]) if wanted is None else wanted)]
        for shift in reversed(self.reach.shifts[1:]):
            fed.insert(0, in_one_window(fed[0], volume[0], self.reach.window, shift))
        flat = values.flatten(2, 4)
        refined = []
        for own in in_passes(flat, per_pass(flat, CPU_OBJECTS), dim=1):
            for block, attention, windows, frames in zip(blocks, weights, plans, fed, strict=True):
                own = block.attend(attention, own, windows)
                own = on_frames(block.feed_forward, own, frames, volume[0])
            if wanted is not None:
                own = seen(own.unflatten(2, (volume[0], -1)), wanted, dim=2).flatten(2, 3)
            refined.append(self.norm(own))
        return torch.cat(refined, dim=1).unflatten(2, (-1, *volume[1:]))
