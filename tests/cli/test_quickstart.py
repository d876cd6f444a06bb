"""`vos-zoo quickstart`: every shipped model is tracked and scored, a training follows, and nothing is done twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.contract_settings import BY_METHOD
from tests.helpers.runs import SMALL_DATA
from tests.helpers.shipped import ship_into, ship_small
from vos_zoo.cli import main
from vos_zoo.samples import SampleClip
from vos_zoo.tasks import quickstart
from vos_zoo.types import Box
from vos_zoo.video.masks import write_mask
from vos_zoo.video.writer import OverlayVideoWriter


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SampleClip:
    """Three frames of 64x96 in place of the sample clip."""
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 96, 3), dtype=np.uint8)
    mask = np.zeros((64, 96), dtype=np.uint8)
    mask[20:40, 30:60] = 1
    with OverlayVideoWriter(tmp_path / "clip.mp4", fps=10.0) as writer:
        for index, frame in enumerate(frames):
            writer.write(index, frame, np.zeros_like(mask))
    write_mask(tmp_path / "clip.png", mask)
    found = SampleClip(tmp_path / "clip.mp4", tmp_path / "clip.png", Box(30, 20, 30, 20))
    monkeypatch.setattr("vos_zoo.samples.clip", lambda: found)
    return found


def test_every_shipped_model_is_tracked_trained_scored_and_compared_once(
    clip: SampleClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ship_into(tmp_path / "shipped", monkeypatch)
    for method in ("joint", "pcvos"):
        ship_small(method, tmp_path / "model")
    canvas = list(BY_METHOD["joint"].canvas)
    short = [*SMALL_DATA, f"data.crop.size={canvas}", "data.batches_per_epoch=1", "trainer.max_epochs=2"]
    monkeypatch.setattr(quickstart, "SHORT", (*short, "trainer.limit_val_batches=0", "optim.ema=null"))
    videos = ("data.synthetic.test_videos=1", "data.synthetic.frames=3", "data.synthetic.size=[48,64]")
    monkeypatch.setattr(quickstart, "GENERATED", videos)

    folder = tmp_path / "out"
    assert main(["quickstart", "--output", str(folder), "--train", "joint-small"]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    for name in ("joint-small", "pcvos-small"):
        assert (folder / "track" / name / "overlay.mp4").is_file()
        assert len(list((folder / "track" / name).glob("*.png"))) == 3
        assert f"  {name}" in told
    assert Image.open(folder / "sample.png").width > 600
    assert told.count("loss by epoch of a training on one short video: ") == 1
    assert len(told.split("loss by epoch of a training on one short video: ")[1].split("\n")[0].split(", ")) == 2
    board = (folder / "board" / "leaderboard.md").read_text()
    assert all(name in board for name in ("joint-small", "pcvos-small"))
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".mp4", ".ckpt", ".json")}
    assert main(["quickstart", "--output", str(folder), "--train", "joint-small"]) == 0
    again = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".mp4", ".ckpt", ".json")}
    assert again == written


def test_weights_to_train_that_do_not_ship_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quickstart", "--output", str(tmp_path / "out"), "--train", "joint-smal"]) == 2
    assert "no shipped weights 'joint-smal'; did you mean 'joint-small'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
