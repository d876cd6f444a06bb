"""Every command and every Python block of the README runs, in the order of the page, in a folder with a user's files.

The clips are shorter and the trainings stop at once; `ADDED` says how, and nothing else differs from the page. Commands
that install (`pip install`, `make`) are not run here: `tests/test_packaging.py` installs the wheel.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vos_zoo import samples
from vos_zoo.cli import main
from vos_zoo.data.datasets.export import write_davis_layout
from vos_zoo.data.synthetic.videos import SyntheticDataset, SyntheticSettings
from vos_zoo.video.masks import davis_palette, read_mask, write_mask
from vos_zoo.video.writer import OverlayVideoWriter

README = Path(__file__).resolve().parents[2] / "README.md"
INSTALLS = ("pip install ", "make ")

CPU = ["trainer.accelerator=cpu"]
SHORT = [
    "trainer.max_epochs=1",
    "trainer.limit_val_batches=0",
    "trainer.enable_progress_bar=false",
    "trainer.accelerator=cpu",
    "data.batch_size=1",
    "data.batches_per_epoch=1",
    "data.crop.size=[48,80]",
    "data.synthetic.size=[64,96]",
    "data.synthetic.train_videos=1",
    "data.composed.size=[64,96]",
]
ADDED = {
    "vos-zoo track ": CPU,
    "vos-zoo demo ": ["--port", "0"],
    "vos-zoo fit ": SHORT,
    "vos-zoo test ": CPU,
    "vos-zoo score ": [],
    "vos-zoo leaderboard ": [],
}
"""Beginning of a command -> what is appended to it: a free port, the CPU, one step per stage."""

pytestmark = [
    pytest.mark.skipif(not README.is_file(), reason="the tests run outside the repository: no README"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]


def parts() -> list[tuple[str, str]]:
    """("bash", a command) and ("python", a block), in the order of the page."""
    found = re.findall(r"^```(bash|python)\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [
        (language, part)
        for language, block in found
        for part in (block.splitlines() if language == "bash" else [block])
        if part.strip()
    ]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine can be reached."""
    connect = socket.socket.connect

    def local(own: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise AssertionError(f"the network was asked for {address}")
        connect(own, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", local)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: video.mp4, first.png and the folders STILLS, VIDEOS, DAVIS and CUTIE_MASKS.

    The sample clip is three small frames of itself.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOS_ZOO_OFFLINE", "1")
    monkeypatch.setenv("VOS_ZOO_HOME", str(tmp_path.parent / "home"))
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path.parent / "home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    clip, size = samples.clip(), (160, 90)
    with OverlayVideoWriter("video.mp4", fps=10.0) as writer:
        for index, frame in enumerate(clip.frames()[:3]):
            small = np.asarray(Image.fromarray(frame).resize(size))
            writer.write(index, small, np.zeros(small.shape[:2], np.uint8))
    mask = Image.fromarray(clip.first_mask()).resize(size, Image.Resampling.NEAREST)
    write_mask("first.png", np.asarray(mask))
    short = samples.SampleClip(tmp_path / "video.mp4", tmp_path / "first.png", clip.box)
    monkeypatch.setattr(samples, "clip", lambda: short)

    drawn = SyntheticDataset(2, "train", SyntheticSettings(size=(64, 96), frames=8, min_objects=2, seed=3))
    for place in ("STILLS/images", "STILLS/masks"):
        Path(place).mkdir(parents=True)
    for number, video in enumerate(drawn):
        labels = video.labels(4)
        assert labels is not None
        Image.fromarray(video.frame(4)).save(f"STILLS/images/{number}.jpg")
        picture = Image.fromarray(np.ascontiguousarray(labels))
        picture.putpalette(davis_palette())
        picture.save(f"STILLS/masks/{number}.png")
    write_davis_layout(drawn, "VIDEOS", split="train", year=2017)
    short_videos = SyntheticDataset(1, "val", SyntheticSettings(size=(64, 96), frames=4, min_objects=2, seed=3))
    for year in (2016, 2017):
        write_davis_layout(short_videos, "DAVIS", split="val", year=year)
    shutil.copytree("DAVIS/Annotations/480p", "CUTIE_MASKS")
    return tmp_path


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Titles of the pages that a browser would have shown; a visit ends the server as Ctrl-C does."""
    titles: list[str] = []

    def visit(address: str) -> None:
        with urllib.request.urlopen(address, timeout=60) as page:
            titles.extend(re.findall(r"<title>(.*?)</title>", page.read().decode()))
        os.kill(os.getpid(), signal.SIGINT)

    def opened(address: str) -> bool:
        threading.Thread(target=visit, args=(address,), daemon=True).start()
        return True

    monkeypatch.setattr("webbrowser.open", opened)
    return titles


def killed_between_its_stages() -> None:
    """What the README's second `fit` goes on from."""
    shutil.rmtree("runs/mine/video")


BEFORE: dict[str, Callable[[], None]] = {"--ckpt last": killed_between_its_stages}
"""Part of a command -> what happens before it."""


def run(line: str) -> None:
    """Run one command of the page."""
    assert (added := next((words for start, words in ADDED.items() if line.startswith(start)), None)) is not None, line
    for part, happens in BEFORE.items():
        if part in line:
            happens()
    assert main([*shlex.split(line, comments=True)[1:], *added]) == 0, line


def test_every_command_and_block_of_the_readme_runs(files: Path, visited: list[str]) -> None:
    done = []
    for language, part in parts():
        if part.startswith(INSTALLS):
            continue
        if language == "python":
            names: dict[str, object] = {}
            exec(compile(part, "README.md", "exec"), names)
            assert np.asarray(names["labels"]).shape == (90, 160) and np.any(names["labels"])
        else:
            run(part)
        done.append(part)
    assert len(done) >= 11, "the page has fewer commands than it had, or they are not found"
    assert (files / "rabbit.mp4").is_file() and (files / "out.mp4").is_file()
    assert (files / "masks" / "overlay.mp4").is_file()
    assert {1} <= set(np.unique(read_mask(files / "masks" / "00000.png"))) <= {0, 1}
    assert visited == ["vos-zoo demo"]
    assert (files / "runs" / "mine" / "video" / "model" / "model.safetensors").is_file()
    assert (files / "results" / "mine" / "record.json").is_file()
    board = (files / "board" / "leaderboard.md").read_text(encoding="utf-8")
    assert "mine" in board and "Cutie" in board and (files / "board" / "leaderboard.html").is_file()
    assert "100.0" in board, "the masks that stand for Cutie's are the true ones"
    assert list(files.rglob("offline-run-*")), "nothing was logged for Weights & Biases"
