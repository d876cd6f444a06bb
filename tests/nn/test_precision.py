"""Training steps in reduced precision, compiled, and in their fast form: what stays equal, and how near the rest is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from tests.helpers.contract_settings import BY_METHOD, build, training_batch
from vos_zoo.methods._few_shot.learner import FewShotLearner
from vos_zoo.methods.joint import transformer
from vos_zoo.methods.joint import transformer_target as target
from vos_zoo.model import VOSModel
from vos_zoo.nn.backbones import ResNet, build_backbone
from vos_zoo.nn.blocks import RRB
from vos_zoo.nn.cpu import accelerate_cpu
from vos_zoo.nn.cpu.layers import conv_norm
from vos_zoo.nn.cpu.resize import BandedBicubic
from vos_zoo.nn.norms import FrozenBatchNorm2d
from vos_zoo.types import Batch


def step(model: VOSModel, batch: Batch, kind: torch.dtype | None = None) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one training step."""
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", kind, enabled=kind is not None):
        unrolled = model.network.training_forward(batch)
        terms = model.network.losses(unrolled, batch)
        assert all(term.dtype == torch.float32 for term in terms.values()), "losses are float32"
        loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    return float(loss.detach()), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def alignment(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """Cosine between two gradients of the whole network."""
    flat = [torch.cat([part[name].flatten().double() for name in sorted(two)]) for part in (one, two)]
    return float(F.cosine_similarity(flat[0], flat[1], dim=0))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("method", sorted(set(BY_METHOD) & {"lwl", "joint", "llb"}))
def test_a_step_in_reduced_precision_is_near_float32_and_learner_and_attention_stay_in_it(
    method: str, kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = build(method, optim={"groups": {"": 1e-4}}), training_batch(method)
    loss, gradient = step(model, batch)
    seen: dict[str, set[torch.dtype]] = {"learner": set(), "attention": set()}

    def watch(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert not torch.is_autocast_enabled("cpu"), "the learner runs outside autocast"
        seen["learner"].update(value.dtype for value in inputs if isinstance(value, torch.Tensor))

    for part in model.modules():
        if isinstance(part, FewShotLearner):
            part.register_forward_pre_hook(watch)

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def attend(*inputs: Any) -> Any:
            seen["attention"].update(value.dtype for value in inputs if isinstance(value, torch.Tensor))
            return real(*inputs)

        return attend

    for module, name in [(transformer, "self_attention_sums"), (target, "mutual_sums"), (target, "fused_attention")]:
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    reduced, moved = step(model, batch, kind)
    assert seen["learner"] == {torch.float32}
    assert seen["attention"] == (set() if method == "lwl" else {torch.float32})
    assert reduced == pytest.approx(loss, rel=0.03 if kind is torch.bfloat16 else 0.005)
    assert moved.keys() == gradient.keys()
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in moved.values())
    assert alignment(moved, gradient) > (0.95 if kind is torch.bfloat16 else 0.99)


@pytest.fixture
def fresh_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing compiled yet; a cache for each instruction set, since the library would load another one's code."""
    capability = torch.backends.cpu.get_cpu_capability().replace(" ", "-")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", f"{default_cache_dir()}_{capability}")
    torch.compiler.reset()
    yield
    torch.compiler.reset()


COMPILER = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler"
)


@pytest.mark.parametrize("generates", [pytest.param(True, marks=COMPILER, id="one part to code"), False])
def test_a_compiled_step_has_the_loss_of_a_plain_one(
    fresh_compiler: None, monkeypatch: pytest.MonkeyPatch, generates: bool
) -> None:
    """All parts are captured and differentiated as graphs; that these become code is tried on a small one."""
    plain, compiled = (build("lwl", optim={"groups": {"decoder": 1e-4}}) for _ in range(2))
    batch = training_batch("lwl")
    for model in (plain, compiled):
        model.setup("fit")
    calls = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    if generates:
        monkeypatch.setattr(compiled.network, "children", lambda: iter([compiled.network.label_encoder]))
    else:
        real = nn.Module.compile
        monkeypatch.setattr(nn.Module, "compile", lambda part: real(part, backend="aot_eager"))
    compiled.compile_parts()
    for _ in range(2):
        (loss, gradient), (same, moved) = step(plain, batch), step(compiled, batch)
        assert same == pytest.approx(loss, rel=1e-5)
        for name, value in gradient.items():
            torch.testing.assert_close(moved[name], value, rtol=1e-3, atol=1e-4 * float(value.abs().max()))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > calls, "something was compiled"
    frames = [batch.frames[0, 0].permute(1, 2, 0).byte().numpy()] * 2
    labels = batch.masks[0, 0, 0].byte().numpy()
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    results = [list(model.track(frames, {0: labels})) for model in (plain, compiled)]
    assert torch.equal(results[0][1].probabilities, results[1][1].probabilities)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs, "videos are run uncompiled"


def random_norms(part: nn.Module) -> None:
    """Statistics and factors that are not those of a fresh norm."""
    generator = torch.Generator().manual_seed(3)
    for module in part.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                noise = 0.2 * torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.data.copy_(value + noise)


@pytest.mark.parametrize("bias", [False, True])
def test_a_norm_inside_its_convolution_has_the_values_and_gradients_of_both(bias: bool) -> None:
    conv, norm = nn.Conv2d(3, 5, 3, 2, 1, bias=bias).double(), FrozenBatchNorm2d(5).double()
    random_norms(norm)
    x = torch.rand(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    inputs = [x, *conv.parameters(), *norm.parameters()]
    weight = torch.rand(2, 5, 5, 4, dtype=torch.float64)
    for one, two in zip(
        torch.autograd.grad((conv_norm(conv, norm, x) * weight).sum(), inputs),
        torch.autograd.grad((norm(conv(x)) * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet50_caffe"])
def test_a_backbone_gives_the_same_features_with_and_without_gradients(name: str) -> None:
    torch.manual_seed(0)
    network = build_backbone(name).double().eval()
    assert isinstance(network, ResNet)
    random_norms(network)
    for part in (network.conv1, network.bn1, network.layer1):
        part.requires_grad_(False)
    frames = 255 * torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        expected = network(frames)
    accelerate_cpu(network)
    found = network(frames)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9 * float(two.abs().max()))
    assert [level.requires_grad for level in found] == [False, True, True, True], "frozen stages record nothing"


def test_a_refinement_block_and_a_resize_have_the_gradients_of_their_plain_forms() -> None:
    torch.manual_seed(0)
    block = RRB(6).double()
    random_norms(block)
    x = torch.rand(2, 6, 7, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(2, 6, 14, 18, dtype=torch.float64)

    def plain(x: torch.Tensor) -> torch.Tensor:
        x = block.conv1x1(x)
        x = F.relu(x + block.bblock(x))
        return F.interpolate(x, (14, 18), mode="bicubic", align_corners=False)

    inputs = [x, *block.parameters()]
    expected = torch.autograd.grad((plain(x) * weight).sum(), inputs)
    accelerate_cpu(block)
    for one, two in zip(
        torch.autograd.grad((BandedBicubic()(block(x), (14, 18)) * weight).sum(), inputs),
        expected,
        strict=True,
    ):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [3, 20])
def test_a_resize_by_matrices_is_the_librarys(channels: int) -> None:
    x = torch.rand(2, channels, 5, 8, dtype=torch.float64, requires_grad=True)
    expected = F.interpolate(x, (13, 16), mode="bicubic", align_corners=False)
    torch.testing.assert_close(BandedBicubic()(x, (13, 16)), expected, rtol=1e-12, atol=1e-12)
