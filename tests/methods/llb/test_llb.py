"""LLB's own parts: the label generator, its initialisation, the fusion gates."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vos_zoo.methods.llb.checkpoint import load_imagenet
from vos_zoo.methods.llb.fusion import AFM
from vos_zoo.methods.llb.label_encoder import DLGM, background_filtered
from vos_zoo.methods.llb.vitae import Performer, ViTAE
from vos_zoo.types import UsageError


def small(seed: int = 0) -> ViTAE:
    torch.manual_seed(seed)
    return ViTAE(width=64, depth=1)


def pictures(count: int = 2, size: tuple[int, int] = (32, 48)) -> Tensor:
    return 60 * torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def imagenet_file(folder: Path, vitae: ViTAE, **changes: Tensor | None) -> Path:
    """A file as timm writes it: raw and averaged weights with the classifier, and the arguments of the run."""
    averaged = {**vitae.state_dict(), "head.weight": torch.zeros(10, 64), "head.bias": torch.zeros(10), **changes}
    averaged = {f"module.{name}": tensor for name, tensor in averaged.items() if tensor is not None}
    raw = {name: torch.full_like(tensor, 7) for name, tensor in averaged.items()}
    content = {"epoch": 1, "arch": "x", "state_dict": raw, "state_dict_ema": averaged, "args": Namespace(lr=1)}
    torch.save(content, folder / "ViTAE-6M.pth.tar")
    return folder / "ViTAE-6M.pth.tar"


def test_the_imagenet_file_initialises_the_label_backbone_with_its_averaged_weights(tmp_path: Path) -> None:
    source, target = small(1), small(2)
    load_imagenet(target, imagenet_file(tmp_path, source))
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers.0.RC.attn.w": None}, r"lacks the entry 'layers\.0\.RC\.attn\.w'"),
        ({"layers.3.extra": torch.zeros(1)}, r"unknown entry 'layers\.3\.extra'"),
        ({"layers.0.RC.attn.w": torch.zeros(3, 3)}, r"'layers\.0\.RC\.attn\.w' of the checkpoint has shape \(3, 3\)"),
    ],
    ids=["missing", "extra", "other shape"],
)
def test_an_imagenet_file_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_imagenet(small(), imagenet_file(tmp_path, small(), **changes))


def test_an_imagenet_file_that_is_not_there_is_named_with_what_to_get(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.tar' does not exist; download ViTAE-6M\.pth\.tar"):
        load_imagenet(small(), tmp_path / "nothing.tar")


def test_the_background_becomes_the_mean_colour_and_soft_masks_stay_soft() -> None:
    pixels, masks = pictures(), torch.zeros(2, 1, 32, 48)
    masks[:, :, 8:16, 8:16], masks[:, :, 16:24, 8:16] = 1.0, 0.25
    filtered = background_filtered(pixels, masks)
    assert filtered[:, :, :8].abs().max() == 0
    assert torch.equal(filtered[:, :, 8:16, 8:16], pixels[:, :, 8:16, 8:16])
    assert torch.equal(filtered[:, :, 16:24, 8:16], pixels[:, :, 16:24, 8:16] / 4)


def test_the_pictures_of_a_batch_are_labelled_independently() -> None:
    generator = DLGM(6, small()).eval()
    with torch.no_grad():
        together = generator.encode(pictures())
        alone = generator.encode(pictures()[1:])
    for both, one in zip(together, alone, strict=True):
        torch.testing.assert_close(both[1:], one, atol=1e-4, rtol=1e-4)


def test_training_mode_changes_nothing_because_norms_are_frozen_and_nothing_is_dropped() -> None:
    generator = DLGM(6, small())
    with torch.no_grad():
        for training, evaluated in zip(
            generator.train().encode(pictures()), generator.eval().encode(pictures()), strict=True
        ):
            assert torch.equal(training, evaluated)


@pytest.mark.parametrize("count", [1, 2])
def test_the_gradient_of_the_label_generator_agrees_with_central_differences(count: int) -> None:
    generator = DLGM(4, small()).double()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    inputs = (pictures(count) / 60).double().requires_grad_()
    weights = [torch.randn(count, 4, 2, 3, dtype=torch.float64) for _ in range(3)]

    def value(x: Tensor) -> Tensor:
        return torch.stack([(w * y).sum() for w, y in zip(weights, generator.encode(x), strict=True)]).sum()

    (gradient,) = torch.autograd.grad(value(inputs), inputs)
    direction, step = torch.randn_like(inputs), 1e-6
    with torch.no_grad():
        slope = (value(inputs + step * direction) - value(inputs - step * direction)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-6)


def test_long_keys_leave_the_values_alone_instead_of_dividing_by_zero() -> None:
    performer = Performer(16, 8)
    with torch.no_grad():
        performer.kqv.weight[:16].mul_(1e4)
        tokens = torch.randn(1, 5, 16)
        values = performer.kqv(performer.norm1(tokens))[..., 16:]
        torch.testing.assert_close(performer.attend(tokens), values + performer.proj.bias)


def test_half_precision_around_the_performer_does_not_reach_its_exponentials() -> None:
    torch.manual_seed(0)
    performer, tokens = Performer(16, 8), torch.randn(1, 50, 16)
    with torch.no_grad():
        exact = performer.attend(tokens)
        with torch.autocast("cpu", torch.bfloat16):
            rough = performer.attend(tokens)
    assert torch.isfinite(rough).all()
    assert (rough - exact).abs().max() <= 0.02 * exact.abs().max()


def test_a_canvas_that_is_no_multiple_of_16_is_refused() -> None:
    with pytest.raises(UsageError, match="32 x 40; this label generator needs multiples of 16"):
        small()(pictures(size=(32, 40)))


def test_gates_without_weights_average_the_branches_and_keep_them_apart() -> None:
    fuse = AFM(4)
    first, second = torch.randn(2, 3, 1, 4, 5, 6), torch.randn(2, 3, 1, 4, 5, 6)
    with torch.no_grad():
        apart = fuse(first, 0 * second) + fuse(0 * first, second)
        torch.testing.assert_close(fuse(first, second), apart)
        torch.nn.init.zeros_(fuse.inductive.B.weight)
        torch.nn.init.zeros_(fuse.transductive.B.weight)
        torch.testing.assert_close(fuse(first, second), (first + second) / 2)


def test_a_gate_is_two_products_per_cell() -> None:
    gate, x = AFM(4).inductive, torch.randn(2, 4, 1, 1)
    by_hand = x[:, :, 0, 0] * gate.B(torch.relu(gate.A(x[:, :, 0, 0]))).sigmoid()
    torch.testing.assert_close(gate(x)[:, :, 0, 0], by_hand)
