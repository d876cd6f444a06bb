"""PCVOS without any saving, one object at a time: what the fast path is compared with, in tests and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_zoo.engine.clips import ClipPlanner
from vos_zoo.methods.pcvos.memory import ClipMemory
from vos_zoo.methods.pcvos.refinement import MASKED, Block, Refinement, relative_positions
from vos_zoo.methods.pcvos.target_model import PCVOS, PCVOSFeatures
from vos_zoo.nn.backbones import IMAGENET


class NaivePCVOS(PCVOS):
    """The same network and the same entries; reads, refines, decodes and encodes values as the formulae stand."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self.clips = ClipPlanner()  # type: ignore[assignment]

    def encode(self, frames: Tensor) -> Any:
        """Matching keys alone; the local key is made again for every object."""
        clip = frames.shape[:2]
        f4, f8, f16 = (level.unflatten(0, clip) for level in self.backbone(frames.flatten(0, 1)))
        keys = self.projections.key(f16.flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, clip)
        return PCVOSFeatures(frames, f4, f8, f16, keys=keys)

    def read(self, memory: ClipMemory, features: Any) -> Tensor:
        """One dense affinity per object and frame; the frames of a clip in turn."""
        bank, policy, readouts = memory.bank, memory.policy, []
        for slot in range(bank.objects):
            used = [place for place in bank.frame_slots if bank.used_by(slot)[place]]
            keys = [bank.stored("keys")[place, 0] for place in used]
            values = [bank.stored("values")[place, 0, slot] for place in used]
            frames = []
            for t, query in enumerate(features.keys[0]):
                frames.append(dense_read(query, torch.cat(keys), torch.cat(values), policy.top_k))
                if policy.segment is not None and (t + 1) % policy.segment == 0:
                    keys, values = [*keys, query], [*values, frames[-1]]
            readouts.append(torch.stack(frames))
        joined = torch.stack(readouts, dim=1)[None]
        return joined.transpose(-1, -2).unflatten(-1, features.f16.shape[-2:])

    def decode(self, readout: Tensor, features: Any) -> Tensor:
        objects = []
        for values in readout[0].transpose(0, 1):
            refined = values
            if self.refinement is not None:
                assert self.projections.local is not None
                local = self.projections.local(features.f16[0]).permute(0, 2, 3, 1)
                refined = refine(self.refinement, values.permute(0, 2, 3, 1), local).permute(0, 3, 1, 2)
            thin = self.projections.thin(features.f16[0])
            objects.append(self.decode_object(torch.cat([refined, thin], dim=1), features))
        return torch.stack(objects, dim=1)[None]

    def decode_object(self, x: Tensor, features: Any) -> Tensor:
        """All frames of one object, ``(T, C, h/16, w/16)`` -> ``(T, h, w)``."""
        decoder = self.decoder
        x = decoder.compress(x)
        for stage, level in ((decoder.up_16_8, features.f8), (decoder.up_8_4, features.f4)):
            skip = stage.skip_conv(level[0])
            x = stage.out_conv(skip + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        logits = decoder.pred(F.relu(x))
        return F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)[:, 0]

    def _remember(self, memory: ClipMemory, features: Any, masks: Tensor, new: Sequence[int] = ()) -> ClipMemory:
        for t in range(masks.shape[1]):
            values = []
            for slot in range(masks.shape[2]):
                own = masks[:, t, slot]
                others = [masks[:, t, k] for k in range(masks.shape[2]) if k != slot]
                values.append(self.encode_value(features, t, own, sum(others, torch.zeros_like(own))))
            rows = torch.stack([value.flatten(2).transpose(1, 2) for value in values], dim=1)
            memory = memory.write(features.keys[:, t], rows, new)
        return memory

    def encode_value(self, features: Any, t: int, own: Tensor, others: Tensor) -> Tensor:
        """Value of one object in one frame, ``(1, C, h/16, w/16)``."""
        encoder = self.value_encoder
        seen = [own[:, None], others[:, None]] if encoder.others else [own[:, None]]
        x = encoder.conv1(torch.cat([IMAGENET(features.pixels[:, t]), *seen], dim=1))
        x = F.max_pool2d(F.relu(encoder.bn1(x)), 3, stride=2, padding=1)
        x = encoder.fuser.block1(torch.cat([encoder.trunk(x), features.f16[:, t]], dim=1))
        return encoder.fuser.block2(x + encoder.fuser.attention(x))


def naive_copy(network: PCVOS, **hyperparameters: Any) -> NaivePCVOS:
    """The same weights behind the naive form."""
    naive = NaivePCVOS(**hyperparameters)
    naive.load_state_dict(network.state_dict())
    return naive.eval()


def dense_read(query: Tensor, keys: Tensor, values: Tensor, count: int | None) -> Tensor:
    """Softmax over the `count` best of all positions, as a dense matrix: ``(P, C)``, ``(N, C)``, ``(N, C')``."""
    scores = (2 * keys @ query.T - keys.square().sum(dim=1, keepdim=True)) / keys.shape[1] ** 0.5
    if count is not None:
        best, index = scores.topk(min(count, len(scores)), dim=0)
        scores = torch.full_like(scores, -torch.inf).scatter_(0, index, best)
    return scores.softmax(dim=0).T @ values


def refine(refinement: Refinement, values: Tensor, local: Tensor) -> Tensor:
    """The refinement of one object: pad, roll, cut, attend, and all of it back; ``(T, h, w, C)``."""
    for block in refinement.blocks:
        values = refine_block(block, values, local)  # type: ignore[arg-type]
    return refinement.norm(values)


def refine_block(block: Block, values: Tensor, local: Tensor) -> Tensor:
    volume = local.shape[:3]
    window = [min(size, side) for size, side in zip(volume, block.window, strict=True)]
    shift = [side // 2 if block.shifted and size > side else 0 for size, side in zip(volume, block.window, strict=True)]
    padding = [(-size) % side for size, side in zip(volume, window, strict=True)]

    def cut(x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, padding[2], 0, padding[1], 0, padding[0]))
        x = x.roll([-step for step in shift], (0, 1, 2))
        return windows(x, window)

    keys, contents = cut(block.norm1(local)), cut(block.norm1_v(values))
    attention = block.attn
    q, v = attention.qk(keys), attention.v(contents)
    places = q.shape[1]
    index = relative_positions(block.window)[:places, :places]
    logits = q * q.shape[-1] ** -0.5 @ q.transpose(1, 2) + attention.relative_position_bias_table[index, 0]
    if any(shift):
        logits = logits + region_mask([s + p for s, p in zip(volume, padding, strict=True)], window, shift)
    attended = attention.proj(logits.softmax(dim=-1) @ v)
    padded = [s + p for s, p in zip(volume, padding, strict=True)]
    back = whole(attended, window, padded).roll(shift, (0, 1, 2))[: volume[0], : volume[1], : volume[2]]
    values = values + back
    return values + block.mlp(block.norm2(values))


def windows(x: Tensor, window: Sequence[int]) -> Tensor:
    """``(T, h, w, C)`` -> ``(W, n, C)``."""
    t, y, x_ = window
    frames, rows, columns, channels = x.shape
    x = x.view(frames // t, t, rows // y, y, columns // x_, x_, channels)
    return x.permute(0, 2, 4, 1, 3, 5, 6).reshape(-1, t * y * x_, channels)


def whole(x: Tensor, window: Sequence[int], padded: Sequence[int]) -> Tensor:
    """``(W, n, C)`` -> ``(T, h, w, C)``."""
    t, y, x_ = window
    counts = [size // side for size, side in zip(padded, window, strict=True)]
    return x.view(*counts, t, y, x_, -1).permute(0, 3, 1, 4, 2, 5, 6).reshape(*padded, -1)


def region_mask(padded: Sequence[int], window: Sequence[int], shift: Sequence[int]) -> Tensor:
    """``(W, n, n)``: -100 between regions that the roll brought together."""
    labels = torch.zeros(1, *padded, 1)
    count = 0
    for t in slices(padded[0], window[0], shift[0]):
        for y in slices(padded[1], window[1], shift[1]):
            for x in slices(padded[2], window[2], shift[2]):
                labels[:, t, y, x] = count
                count += 1
    cut = windows(labels[0], window)[..., 0]
    return (cut[:, :, None] != cut[:, None]) * MASKED


def slices(size: int, side: int, step: int) -> list[slice]:
    if step == 0:
        return [slice(None)]
    return [slice(0, size - side), slice(size - side, size - step), slice(size - step, size)]
