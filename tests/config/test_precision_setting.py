"""One setting for the number format of tracking and training; float32 is IEEE's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.contract_settings import build, moving_squares
from tests.helpers.pretend_cuda import pretending, to_device
from vos_zoo.config.layers import load_config
from vos_zoo.config.precision import TRAINER_PRECISIONS
from vos_zoo.nn.precision import PRECISIONS, allow_tf32, number_format, tf32_allowed
from vos_zoo.types import UsageError


def test_every_format_has_a_name_for_the_trainer() -> None:
    assert tuple(TRAINER_PRECISIONS) == PRECISIONS


@pytest.mark.parametrize(("name", "trainer"), TRAINER_PRECISIONS.items())
def test_precision_is_that_of_tracking_and_training(name: str, trainer: str) -> None:
    config = load_config("lwl", overrides=[f"precision={name}"])
    assert (config.precision, config.track["precision"], config.trainer["precision"]) == (name, name, trainer)


def test_a_later_layer_and_a_single_key_win(tmp_path: Path) -> None:
    recipe = load_config("pcvos", recipe="stcn", data="davis", overrides=["data.root=.", "precision=bf16"])
    assert recipe.trainer["precision"] == "bf16-mixed"  # the recipe says 16-mixed
    single = load_config("lwl", overrides=["precision=bf16", "track.precision=float32"])
    assert (single.track["precision"], single.trainer["precision"]) == ("float32", "bf16-mixed")
    file = tmp_path / "own.yaml"
    file.write_text("precision: fp16\n")
    later = load_config("lwl", files=[file], overrides=["trainer.precision=32-true"])
    assert (later.track["precision"], later.trainer["precision"]) == ("fp16", "32-true")
    assert load_config("lwl").precision is None and "precision" not in load_config("lwl").trainer


def test_another_name_is_refused() -> None:
    with pytest.raises(UsageError, match="precision"):
        load_config("lwl", overrides=["precision=half"])


@pytest.fixture
def own_setting() -> Iterator[None]:
    """The process's setting, put back at the end."""
    products, convolutions = tf32_allowed()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, convolutions


@pytest.mark.usefixtures("own_setting")
@pytest.mark.parametrize(("name", "allowed"), [("float32", False), ("tf32", True), ("bf16", False)])
def test_a_gpu_uses_tf32_where_it_is_asked_for_and_nowhere_else(
    name: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_tf32(not allowed)
    before, seen = tf32_allowed(), set()
    model, video = build("lwl").eval(), moving_squares(2)
    with pretending():
        moved = to_device(model)
        encode = type(moved.network).encode
        monkeypatch.setattr(type(moved.network), "encode", lambda *args: (seen.add(tf32_allowed()), encode(*args))[1])
        for result in moved.track(video.frames, {0: video.only(1)}, precision=name):
            result.label_map()
    assert seen == {(allowed, allowed)} and tf32_allowed() == before


@pytest.mark.usefixtures("own_setting")
def test_a_cpu_run_changes_no_setting_of_a_gpu() -> None:
    allow_tf32(False)
    with number_format(torch.device("cpu"), "tf32"):
        assert tf32_allowed() == (False, False)
        assert not torch.is_autocast_enabled("cpu")
