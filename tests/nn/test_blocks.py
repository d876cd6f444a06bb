"""Building blocks against plain references: the closed-form learner, norms, decoder, backbones, label encoder."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vos_zoo.downloads.published import by_hand
from vos_zoo.methods._few_shot.decoder import SegmentationDecoder, UpsampleProject
from vos_zoo.methods._few_shot.learner import (
    FewShotLearner,
    FilterState,
    apply_kernel,
    correlate,
    filter_to_kernel,
    kernel_to_filter,
)
from vos_zoo.methods.lwl.label_encoder import LabelEncoder, rasterise_boxes
from vos_zoo.nn.backbones import CAFFE, IMAGENET, MASK_RCNN_CAFFE, ResNet, build_backbone
from vos_zoo.nn.norms import FrozenBatchNorm2d, instance_l2_norm
from vos_zoo.nn.resize import resize_to
from vos_zoo.types import UsageError

# -- the few-shot learner --------------------------------------------------------------------------------------------


def problem(samples: int = 2, objects: int = 2, channels: int = 5, outputs: int = 3) -> dict[str, Tensor]:
    """Random samples in float64: features, labels, weights, all with gradients."""
    torch.manual_seed(7)
    size = (4, 6)
    shapes = {"features": channels, "labels": outputs, "weights": outputs}
    return {
        name: torch.randn(samples, objects, count, *size, dtype=torch.float64, requires_grad=True)
        for name, count in shapes.items()
    }


def by_double_backward(features: Tensor, labels: Tensor, weights: Tensor, reg: Tensor, iterations: int) -> Tensor:
    """One object's filter ``(D, C, 3, 3)`` by the learner's equations (LWL, sec. 3.2), derivatives by autograd."""
    outputs, channels = labels.shape[1], features.shape[1]
    tau = torch.zeros(outputs, channels, 3, 3, dtype=features.dtype, requires_grad=True)

    def residuals(filters: Tensor) -> Tensor:
        data = weights * (F.conv2d(features, filters, padding=1) - labels)
        return torch.cat([data.flatten(), (reg * filters).flatten()])

    for _ in range(iterations):
        own = residuals(tau)
        (gradient,) = torch.autograd.grad(own.square().sum() / 2, tau, create_graph=True)
        dummy = torch.zeros_like(own, requires_grad=True)
        (transposed,) = torch.autograd.grad(residuals(tau), tau, dummy, create_graph=True)
        (image,) = torch.autograd.grad(transposed, dummy, gradient, create_graph=True)
        step = gradient.square().sum() / image.square().sum().clamp(min=1e-8)
        tau = tau - step * gradient
    return tau


def test_filters_survive_the_trip_to_rows_and_back() -> None:
    filters = torch.randn(2, 3, 5, 3, 3)
    assert torch.equal(kernel_to_filter(filter_to_kernel(filters)), filters)


@given(
    samples=st.integers(1, 40),
    objects=st.integers(1, 3),
    size=st.tuples(st.integers(1, 6), st.integers(1, 7)),
)
@settings(max_examples=25, deadline=None)
def test_applying_taps_equals_a_convolution(samples: int, objects: int, size: tuple[int, int]) -> None:
    features = torch.randn(samples, objects, 4, *size, dtype=torch.float64)
    filters = torch.randn(objects, 3, 4, 3, 3, dtype=torch.float64)
    expected = torch.stack([F.conv2d(features[:, b], filters[b], padding=1) for b in range(objects)], dim=1)
    torch.testing.assert_close(apply_kernel(features, filter_to_kernel(filters)), expected)


def test_correlating_is_the_convolutions_gradient_for_its_filter() -> None:
    features = torch.randn(21, 2, 4, 5, 6, dtype=torch.float64)
    residuals = torch.randn(21, 2, 3, 5, 6, dtype=torch.float64)
    for b in range(2):
        filters = torch.zeros(3, 4, 3, 3, dtype=torch.float64, requires_grad=True)
        (F.conv2d(features[:, b], filters, padding=1) * residuals[:, b]).sum().backward()
        assert filters.grad is not None
        torch.testing.assert_close(kernel_to_filter(correlate(features, residuals))[b], filters.grad)


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_the_closed_form_learner_equals_steepest_descent_by_autograd_and_so_do_its_gradients(iterations: int) -> None:
    data = problem()
    learner = FewShotLearner(0.3).double()
    fit = learner(learner.start(data["features"], 3), **data, iterations=iterations)
    reg = learner.filter_reg.detach().clone().requires_grad_()
    expected = torch.stack(
        [
            by_double_backward(*(data[n][:, b] for n in ("features", "labels", "weights")), reg, iterations)
            for b in (0, 1)
        ]
    )
    torch.testing.assert_close(kernel_to_filter(fit.kernel), expected, rtol=1e-9, atol=1e-11)
    direction = torch.randn_like(expected)
    ours = torch.autograd.grad((kernel_to_filter(fit.kernel) * direction).sum(), [*data.values(), learner.filter_reg])
    theirs = torch.autograd.grad((expected * direction).sum(), [*data.values(), reg])
    for name, own, other in zip([*data, "reg"], ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def test_the_scores_a_fit_carries_are_those_of_its_filter() -> None:
    data = problem()
    learner = FewShotLearner(0.3).double()
    fit = learner(learner.start(data["features"], 3), **data, iterations=4)
    torch.testing.assert_close(fit.scores, apply_kernel(data["features"], fit.kernel))
    again = learner(fit, **data, iterations=2)
    anew = learner(learner.start(data["features"], 3), **data, iterations=6)
    torch.testing.assert_close(again.kernel, anew.kernel)


def test_samples_of_weight_zero_do_not_count() -> None:
    data = {name: value.detach() for name, value in problem().items()}
    learner = FewShotLearner(0.3).double()
    padded = {name: torch.cat([value, 9 * torch.randn_like(value)]) for name, value in data.items()}
    padded["weights"][2:] = 0
    few = learner(learner.start(data["features"], 3), **data, iterations=5)
    many = learner(learner.start(padded["features"], 3), **padded, iterations=5)
    torch.testing.assert_close(many.kernel, few.kernel)


def test_objects_of_a_batch_are_fitted_as_if_alone() -> None:
    data = {name: value.detach() for name, value in problem(objects=3).items()}
    data["features"] = data["features"] * torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)[:, None, None, None]
    learner = FewShotLearner(0.3).double()
    together = learner(learner.start(data["features"], 3), **data, iterations=4).kernel
    for b in range(3):
        own = {name: value[:, b : b + 1] for name, value in data.items()}
        alone = learner(learner.start(own["features"], 3), **own, iterations=4).kernel
        torch.testing.assert_close(together[b : b + 1], alone)


def test_the_objective_never_rises() -> None:
    data = {name: value.detach() for name, value in problem().items()}
    learner = FewShotLearner(0.1).double()
    fit: FilterState = learner.start(data["features"], 3)
    values = []
    for _ in range(12):
        values.append(learner.objective(fit, data["labels"], data["weights"]))
        fit = learner(fit, **data, iterations=1)
    assert all((later <= earlier).all() for earlier, later in pairwise(values))
    assert (values[-1] < values[0]).all()


def test_a_problem_without_data_leaves_the_filter_at_zero() -> None:
    data = {name: torch.zeros_like(value) for name, value in problem().items()}
    learner = FewShotLearner(0.1).double()
    fit = learner(learner.start(data["features"], 3), **data, iterations=3)
    assert torch.isfinite(fit.kernel).all()
    assert not fit.kernel.any()


# -- norms -----------------------------------------------------------------------------------------------------------


def layouts(shape: tuple[int, int, int, int]) -> dict[str, Tensor]:
    """One gradient in the memory orders under which the library's own norms fail (among others)."""
    torch.manual_seed(1)
    plain = torch.randn(shape, dtype=torch.float64)
    last = plain.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    token = plain.flatten(2).permute(2, 0, 1).contiguous().permute(1, 2, 0).unflatten(2, shape[2:])
    assert token.stride()[1] == 1
    assert torch.equal(token, plain) and torch.equal(last, plain)
    return {"contiguous": plain, "channels last": last, "tokens": token}


def frozen_by_formula(x: Tensor, norm: FrozenBatchNorm2d) -> Tensor:
    mean, variance = (value[:, None, None] for value in (norm.running_mean, norm.running_var))  # type: ignore[index]
    return (x - mean) / (variance + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


def l2_by_formula(x: Tensor) -> Tensor:
    return 0.3 * x * (x[0].numel() / (x.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-5)).sqrt()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("entering", ["contiguous", "channels last", "tokens"])
@pytest.mark.parametrize("order", ["contiguous", "channels last", "tokens"])
def test_gradients_of_the_frozen_norm_are_right_in_every_memory_order(batch: int, order: str, entering: str) -> None:
    shape = (batch, 8, 4, 6)
    norm = FrozenBatchNorm2d(8).double().train()
    for buffer in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
        buffer.uniform_(0.5, 2)  # type: ignore[union-attr]
    x = layouts(shape)[entering].detach().requires_grad_()
    plain = x.detach().clone().contiguous().requires_grad_()
    gradient = layouts(shape)[order]
    ours = torch.autograd.grad(norm(x), [x, norm.weight, norm.bias], gradient)
    theirs = torch.autograd.grad(frozen_by_formula(plain, norm), [plain, norm.weight, norm.bias], gradient.contiguous())
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("order", ["contiguous", "channels last", "tokens"])
def test_gradients_of_the_instance_l2_norm_are_right_in_every_memory_order(batch: int, order: str) -> None:
    x = torch.randn(batch, 8, 4, 6, dtype=torch.float64, requires_grad=True)
    gradient = layouts((batch, 8, 4, 6))[order]
    (ours,) = torch.autograd.grad(instance_l2_norm(x, 0.3), x, gradient)
    (theirs,) = torch.autograd.grad(l2_by_formula(x), x, gradient.contiguous())
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_frozen_norm_ignores_training_mode_and_keeps_its_statistics() -> None:
    norm = FrozenBatchNorm2d(4).train()
    norm.running_mean.uniform_()  # type: ignore[union-attr]
    kept = norm.running_mean.clone()  # type: ignore[union-attr]
    x = torch.randn(2, 4, 5, 5)
    recorded = norm(x)
    assert torch.equal(norm.running_mean, kept)  # type: ignore[arg-type]
    with torch.no_grad():
        torch.testing.assert_close(norm(x), recorded)
    torch.testing.assert_close(norm.eval()(x), recorded)


def test_the_instance_l2_norm_gives_every_picture_the_same_energy() -> None:
    x = torch.randn(3, 5, 4, 4) * torch.tensor([0.1, 1.0, 50.0])[:, None, None, None]
    rms = instance_l2_norm(x, 0.25).square().mean(dim=(1, 2, 3)).sqrt()
    torch.testing.assert_close(rms, torch.full((3,), 0.25), rtol=1e-3, atol=0)
    assert torch.isfinite(instance_l2_norm(torch.zeros(1, 2, 3, 3), 0.25)).all()


# -- decoder ---------------------------------------------------------------------------------------------------------


def pyramid(canvases: int, channels: tuple[int, ...] = (4, 6, 8, 10)) -> list[Tensor]:
    sizes = ((16, 24), (8, 12), (4, 6), (2, 3))
    return [torch.randn(canvases, c, *size) for c, size in zip(channels, sizes, strict=True)]


def test_objects_on_one_canvas_are_decoded_as_if_each_had_its_own() -> None:
    torch.manual_seed(0)
    decoder = SegmentationDecoder((4, 6, 8, 10), scores=3, width=8).eval()
    levels, scores = pyramid(1), torch.randn(3, 3, 4, 6)
    shared = decoder(scores, levels, (64, 96), lambda x: x.expand(3, *x.shape[1:]))
    apart = decoder(scores, [level.repeat(3, 1, 1, 1) for level in levels], (64, 96), lambda x: x)
    assert shared.shape == (3, 1, 64, 96)
    torch.testing.assert_close(shared, apart, rtol=1e-5, atol=1e-5)
    assert (shared[0] - shared[1]).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(64, 96), (67, 91), (33, 50)], ids=str)
def test_the_decoder_answers_at_the_size_asked_for(size: tuple[int, int]) -> None:
    decoder = SegmentationDecoder((4, 6, 8, 10), scores=3, width=8).eval()
    assert decoder(torch.randn(1, 3, 4, 6), pyramid(1), size, lambda x: x).shape == (1, 1, *size)


@pytest.mark.parametrize("size", [(32, 48), (37, 45)], ids=str)
def test_the_last_upsampling_equals_resizing_first_and_convolving_then(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    project = UpsampleProject(6).double()
    x = torch.randn(2, 6, 8, 12, dtype=torch.float64, requires_grad=True)
    middle = F.relu(project.conv1(F.interpolate(x, (16, 24), mode="bicubic", align_corners=False)))
    resized = F.interpolate(middle, size, mode="bicubic", align_corners=False)
    expected = F.conv2d(resized, project.conv2.weight, project.conv2.bias, padding=1)
    ours = project(x, size)
    torch.testing.assert_close(ours, expected)
    direction, inputs = torch.randn_like(expected), [x, *project.parameters()]
    for own, other in zip(
        torch.autograd.grad(ours, inputs, direction, retain_graph=True),
        torch.autograd.grad(expected, inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(own, other)


def test_resizing_to_the_same_size_returns_the_tensor_itself() -> None:
    x = torch.randn(1, 2, 3, 4)
    assert resize_to(x, x.shape) is x


# -- backbones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "timm:resnet10t"])
def test_backbones_give_features_at_four_strides(name: str) -> None:
    backbone = build_backbone(name).eval()
    levels = backbone(torch.rand(1, 3, 64, 96) * 255)
    assert [tuple(level.shape[-2:]) for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert tuple(level.shape[1] for level in levels) == backbone.channels


def test_the_caffe_wiring_moves_the_stride_to_the_first_convolution() -> None:
    caffe, plain = ResNet(50, caffe=True), ResNet(50)
    assert caffe.state_dict().keys() == plain.state_dict().keys()
    for wiring, strides in ((caffe, (2, 1)), (plain, (1, 2))):
        block: Any = wiring.layer3[0]  # type: ignore[index]
        assert (block.conv1.stride[0], block.conv2.stride[0]) == strides


def test_all_norms_of_our_resnets_are_frozen() -> None:
    norms = [module for module in ResNet(18).modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 20
    assert all(isinstance(norm, FrozenBatchNorm2d) for norm in norms)


def test_normalisations_differ_in_channel_order_and_range() -> None:
    red = torch.zeros(1, 3, 1, 1)
    red[:, 0] = 255
    torch.testing.assert_close(CAFFE(red).flatten(), torch.tensor([-102.9801, -115.9465, 255 - 122.7717]))
    expected = torch.tensor([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(IMAGENET(red).flatten(), expected)


def test_mask_rcnn_weights_of_the_caffe_wiring_are_the_file_that_joints_authors_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOS_ZOO_HOME", str(tmp_path))
    state = build_backbone("resnet50_caffe").state_dict()
    by_hand(MASK_RCNN_CAFFE).parent.mkdir()
    torch.save(state, by_hand(MASK_RCNN_CAFFE))
    found = build_backbone("resnet50_caffe", "mask_rcnn", stages=3).state_dict()
    assert found and all(torch.equal(tensor, state[name]) for name, tensor in found.items())


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet51", None, "unknown backbone 'resnet51'"),
        ("timm:resnet10tt", None, "no encoder 'resnet10tt'"),
        ("timm:resnet10t", "mask_rcnn", "do not fit"),
        ("resnet50_caffe", "imagenet", "do not fit"),
        ("resnet18", "mask_rcnn", "do not fit"),
        ("resnet18", "no/such/file.pth", "neither a file nor"),
    ],
)
def test_unfitting_backbones_are_refused_with_the_cure(name: str, weights: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build_backbone(name, weights)
    assert "\n" not in str(caught.value)


def test_backbone_weights_from_a_file_are_loaded_strictly(tmp_path: Path) -> None:
    state = ResNet(18).state_dict()
    torch.save(state, tmp_path / "whole.pth")
    loaded = build_backbone("resnet18", str(tmp_path / "whole.pth")).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    state.pop("layer2.0.conv1.weight")
    torch.save(state, tmp_path / "holed.pth")
    with pytest.raises(UsageError, match=r"layer2\.0\.conv1\.weight"):
        build_backbone("resnet18", str(tmp_path / "holed.pth"))


# -- label encoder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("weights", [True, False])
def test_labels_and_weights_have_one_cell_per_16_pixels(labels: bool, weights: bool) -> None:
    encoder = LabelEncoder((2, 3, 4), 5 if labels else 1, labels, weights)
    label, weight = encoder(torch.rand(2, 1, 64, 96))
    assert label.shape == weight.shape == (2, 5 if labels else 1, 4, 6)
    assert label.min() >= 0
    torch.testing.assert_close(weight, torch.ones_like(weight))  # the predictor starts at one


def test_a_label_without_generator_is_the_share_of_the_mask_in_each_cell() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :8, :16] = 1
    label, _ = LabelEncoder((2, 3, 4), 1, False, False)(mask)
    torch.testing.assert_close(label[0, 0], torch.tensor([[0.5, 0.0], [0.0, 0.0]]))


def test_boxes_are_drawn_in_whole_pixels() -> None:
    masks = rasterise_boxes(torch.tensor([[1.9, 2.2, 3.9, 2.0], [6.0, 4.0, 99.0, 99.0]]), (6, 8))
    assert masks[0].nonzero().tolist() == [[y, x] for y in (2, 3) for x in (1, 2, 3)]
    assert masks[1].sum() == 2 * 2


def test_large_blocks_are_kept_unless_the_environment_decides() -> None:
    script = "from vos_zoo.nn.cpu.allocator import keep_large_blocks as keep; print(keep(), keep())"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    kept = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert kept.stdout.split() in (["True", "True"], ["False", "False"])
    decided = {**environment, "MALLOC_MMAP_THRESHOLD_": "100000000"}
    left = subprocess.run([sys.executable, "-c", script], env=decided, capture_output=True, text=True, check=True)
    assert left.stdout.split() == ["False", "False"]
