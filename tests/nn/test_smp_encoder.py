"""Encoders of segmentation-models-pytorch as backbones."""

from __future__ import annotations

import pytest
import torch

from vos_zoo import create_model
from vos_zoo.nn.backbones import build_backbone
from vos_zoo.types import UsageError


@pytest.mark.parametrize("stages", [3, 4])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "timm-efficientnet-b0"])
def test_features_have_the_strides_and_channels_that_are_said(name: str, stages: int) -> None:
    encoder = build_backbone(f"smp:{name}", stages=stages).eval()
    frames = torch.rand(1, 3, 64, 96) * 255
    features = encoder(frames)
    assert [tuple(f.shape[-2:]) for f in features] == [(64 // s, 96 // s) for s in (4, 8, 16, 32)[:stages]]
    assert tuple(f.shape[1] for f in features) == encoder.channels
    torch.stack([f.mean() for f in features]).sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_features_are_those_of_the_library_with_frames_normalised_as_its_weights_want_them() -> None:
    torch.manual_seed(0)
    encoder = build_backbone("smp:resnet18").eval()
    frames = torch.rand(1, 3, 64, 64) * 255
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = encoder.network.encoder((frames / 255 - mean) / std)[2:]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(encoder(frames), expected, strict=True))


def test_a_file_of_weights_freezes_the_norms_and_gives_equal_features(tmp_path) -> None:
    torch.manual_seed(0)
    source = build_backbone("smp:mobilenet_v2").eval()
    torch.save(source.network.encoder.state_dict(), tmp_path / "w.pth")
    loaded = build_backbone("smp:mobilenet_v2", str(tmp_path / "w.pth")).train()
    assert (source.norms, loaded.norms) == ("batch", "frozen")
    frames = torch.rand(1, 3, 64, 64) * 255
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(loaded(frames), source(frames), strict=True))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet81", None, "resnet18"),
        ("resnet18", "nothing", "give one of: imagenet"),
        ("tu-resnet18", None, "no encoder"),
    ],
)
def test_what_cannot_be_built_is_one_clear_message(name: str, weights: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_backbone(f"smp:{name}", weights)


@pytest.mark.parametrize("method", ["pcvos", "giel"])
def test_methods_of_the_full_frame_take_them(method: str) -> None:
    small = {"key_channels": 8, "value_channels": 16} if method == "pcvos" else {"key_dim": 8, "value_dim": 16}
    model = create_model(method, backbone="smp:mobilenet_v2", **small)
    assert model.network.encode(torch.rand(1, 1, 3, 64, 64) * 255).f16.shape[-2:] == (4, 4)
