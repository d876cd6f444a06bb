"""Operations recorded as a whole for training on a CPU are what the library's operations one by one are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vos_zoo import losses
from vos_zoo.losses import lovasz_loss
from vos_zoo.nn.attention import attention_sums, mutual_sums
from vos_zoo.nn.backbones import ResNet
from vos_zoo.nn.cpu import residual
from vos_zoo.nn.cpu.layout import branch
from vos_zoo.nn.cpu.residual import residual_block
from vos_zoo.nn.frames import as_images

CHANNELS_LAST = torch.channels_last


def gradients(result: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)
    return torch.autograd.grad((result * weights).sum(), inputs)


@pytest.fixture
def network() -> ResNet:
    """A ResNet-50 in Mask R-CNN's wiring, whose norms are not trivial."""
    torch.manual_seed(0)
    found = ResNet(50, caffe=True).double()
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.uniform_(0.5, 1)
    return found


@pytest.mark.parametrize("place", [("layer2", 0), ("layer2", 1)], ids=["stride and projection", "identity"])
@pytest.mark.parametrize("trained", [True, False], ids=["input has a gradient", "first trained block"])
def test_a_bottleneck_is_its_convolutions_norms_and_sum(
    network: ResNet, place: tuple[str, int], trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = getattr(network, place[0])[place[1]]
    x = torch.randn(2, block.conv1.in_channels, 9, 12, dtype=torch.float64, requires_grad=trained)
    inputs = [*([x] if trained else []), *block.parameters()]
    expected = block(x)
    assert not residual.plain_only(x.float()), "the operation is used for float32 on a CPU"
    monkeypatch.setattr(residual, "plain_only", lambda _: False)
    result = residual_block(block, x)
    assert result.grad_fn is not None and "Bottleneck" in result.grad_fn.name()
    torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)
    for ours, plain in zip(gradients(result, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


def test_blocks_with_their_stride_on_the_3x3_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    block = ResNet(50).double().layer2[0]  # type: ignore[index]
    monkeypatch.setattr(residual, "plain_only", lambda _: False)
    x = torch.randn(1, 256, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(residual_block(block, x), block(x), rtol=1e-10, atol=1e-10)


def unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1).requires_grad_()


def test_sums_of_attention_in_both_directions_make_the_softmax_over_everything() -> None:
    torch.manual_seed(0)
    one, other = unit(2, 5, 4), unit(2, 7, 4)
    first, second = (torch.randn(2, n, 3, dtype=torch.float64, requires_grad=True) for n in (5, 7))
    scale, inputs = 30.0, [one, other, first, second]

    def in_shares() -> Tensor:
        own = [attention_sums(x, x, v, scale) for x, v in ((one, first), (other, second))]
        shared = mutual_sums(one, other, (first, second), scale)
        parts = [(a[0] + b[0]) / (a[1] + b[1])[..., None] for a, b in zip(own, shared, strict=True)]
        return torch.cat(parts, dim=1)

    def at_once() -> Tensor:
        keys, values = torch.cat([one, other], dim=1), torch.cat([first, second], dim=1)
        return (scale * keys @ keys.mT).softmax(dim=-1) @ values

    torch.testing.assert_close(in_shares(), at_once(), rtol=1e-10, atol=1e-10)
    for ours, plain in zip(gradients(in_shares(), inputs), gradients(at_once(), inputs), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch", [1, 2])
def test_frames_become_images_in_their_own_layout(batch: int) -> None:
    pictures = torch.randn(4 * batch, 3, 5, 6).contiguous(memory_format=CHANNELS_LAST)
    for stretch in pictures.unflatten(0, (batch, 4)).split([1, 2, 1], dim=1):
        own = as_images(stretch)
        assert torch.equal(own, stretch.flatten(0, 1))
        assert F.conv2d(own, torch.randn(2, 3, 1, 1)).is_contiguous(memory_format=CHANNELS_LAST)


def test_a_branch_gives_its_gradient_back_channels_last() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=CHANNELS_LAST).requires_grad_()
    seen: list[bool] = []
    x.register_hook(lambda gradient: seen.append(gradient.is_contiguous(memory_format=CHANNELS_LAST)))
    branch(x).backward(torch.ones(2, 3, 4, 5))
    assert seen == [True]
    assert branch(x.detach()) is not None


def test_errors_sorted_by_numpy_make_the_loss_of_those_sorted_by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(1, 2, 1, 9, 7, requires_grad=True), (torch.rand(1, 2, 1, 9, 7) > 0.6).float()
    ours = torch.autograd.grad(lovasz_loss(logits, truth), logits)[0]
    monkeypatch.setattr(losses, "_descending", lambda values: values.argsort(descending=True))
    assert torch.equal(ours, torch.autograd.grad(lovasz_loss(logits, truth), logits)[0])
