"""No command writes over what it reads, or over files of the user that it did not write."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vos_zoo
from vos_zoo.cli import main
from vos_zoo.config.layers import load_config
from vos_zoo.data.datasets.davis import DavisDataset
from vos_zoo.data.datasets.export import write_davis_layout
from vos_zoo.data.datasets.folder import FolderDataset
from vos_zoo.data.synthetic.videos import SyntheticDataset, SyntheticSettings
from vos_zoo.evaluation import copy_first_mask, evaluate
from vos_zoo.files.outputs import refuse_overwriting
from vos_zoo.registry import available_methods
from vos_zoo.training.run_folder import find_run
from vos_zoo.types import UsageError
from vos_zoo.video.masks import write_mask

METHOD = available_methods()[0]
SIZE = (32, 48)


def labels(identity: int = 1) -> np.ndarray:
    found = np.zeros(SIZE, dtype=np.uint8)
    found[8:20, 10:30] = identity
    return found


def frames(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        Image.fromarray(np.full((*SIZE, 3), 9 * index, dtype=np.uint8)).save(folder / name)


def masks(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        write_mask(folder / name, labels())


def state(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# -- track -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Frames, given masks and a video in the working folder; the sources of those `track` commands that were begun."""
    begun: list[str] = []
    fake = SimpleNamespace(run_track=lambda **keywords: begun.append(keywords["source"]))
    monkeypatch.setitem(sys.modules, "vos_zoo.tasks", fake)
    monkeypatch.setattr(vos_zoo, "tasks", fake, raising=False)
    monkeypatch.chdir(tmp_path)
    frames(tmp_path / "frames", ["00000.png", "00001.jpg", "00002.png"])
    masks(tmp_path / "masks", ["00000.png", "00002.png"])
    for name in ("clip.mp4", "first.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "inner").mkdir()
    (tmp_path / "link").symlink_to("frames")
    (tmp_path / "link.mp4").symlink_to("clip.mp4")
    os.link(tmp_path / "clip.mp4", tmp_path / "hard.mp4")
    return begun


def track(source: str, mask: str, output: str, *words: str) -> int:
    return main(["track", source, "--model", METHOD, "--mask", mask, "--output", output, *words])


@pytest.mark.parametrize(
    ("source", "mask", "output"),
    [
        ("frames", "first.png", "frames"),
        ("frames", "first.png", "frames/"),
        ("frames", "first.png", "./inner/../frames"),
        ("frames", "first.png", "nowhere/../frames"),
        ("frames", "first.png", "link"),
        ("link", "first.png", "frames"),
        ("link/", "first.png", "link/../link"),
        ("frames", "masks", "masks"),
        ("frames", "masks/00000.png", "masks"),
        ("clip.mp4", "masks/00002.png", "masks"),
        ("clip.mp4", "first.png", "clip.mp4"),
        ("clip.mp4", "first.png", "./clip.mp4"),
        ("clip.mp4", "first.png", "link.mp4"),
        ("link.mp4", "first.png", "clip.mp4"),
        ("clip.mp4", "first.png", "hard.mp4"),
        ("clip.mp4", "masks", "masks"),
    ],
)
def test_track_refuses_an_output_that_is_an_input_before_it_begins(
    scene: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, mask: str, output: str
) -> None:
    before = state(tmp_path)
    for spelling in (output, os.path.abspath(output) if "nowhere" not in output else output):
        assert track(source, mask, spelling) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"vos-zoo: output {Path(spelling)}") or "which would be overwritten" in error
        assert "is the input" in error and error.count("\n") == 1
    assert scene == [] and state(tmp_path) == before


@pytest.mark.parametrize(
    ("source", "mask", "output"),
    [
        ("frames", "first.png", "out"),
        ("frames", "first.png", "frames/masks"),
        ("frames", "first.png", "."),
        ("clip.mp4", "first.png", "."),
        ("clip.mp4", "first.png", "other.mp4"),
        ("clip.mp4", "first.png", "frames/overlay.mp4"),
        ("clip.mp4", "first.png", "frames"),
        ("camera", "first.png", "frames"),
    ],
)
def test_outputs_beside_the_inputs_are_fine(scene: list[str], source: str, mask: str, output: str) -> None:
    assert track(source, mask, output) == 0
    assert scene == [source]


def test_an_overlay_in_the_folder_of_masks_does_not_replace_the_video(scene: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    os.replace(tmp_path / "clip.mp4", tmp_path / "out" / "overlay.mp4")
    assert track("out/overlay.mp4", "first.png", "out", "--overlay") == 2
    assert track("out/overlay.mp4", "first.png", "out") == 0


def test_a_frame_that_lies_in_the_output_by_a_link_is_not_replaced(scene: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    os.link(tmp_path / "frames" / "00002.png", tmp_path / "out" / "00002.png")
    assert track("frames", "first.png", "out") == 2


def test_a_file_system_that_ignores_case_is_asked_and_not_the_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "frames").mkdir()
    stat = os.stat

    def ignoring_case(path: Any, **options: Any) -> os.stat_result:
        name = os.fspath(path)
        return stat(name.replace("Frames", "frames") if isinstance(name, str) else name, **options)

    refuse_overwriting([tmp_path / "Frames"], [tmp_path / "frames"])
    monkeypatch.setattr(os, "stat", ignoring_case)
    with pytest.raises(UsageError, match="is the input folder"):
        refuse_overwriting([tmp_path / "Frames"], [tmp_path / "frames"])


def test_what_is_not_there_is_neither_input_nor_output(tmp_path: Path) -> None:
    refuse_overwriting([tmp_path / "a"], [tmp_path / "a"])
    refuse_overwriting([], [tmp_path])


# -- test, validate --------------------------------------------------------------------------------------------------


def test_results_never_replace_the_given_masks_of_a_data_set(tmp_path: Path) -> None:
    """The masks of this layout lie where results go, too: masks/VIDEO/FRAME.png."""
    names = [f"{index:05d}" for index in range(4)]
    frames(tmp_path / "d" / "frames" / "v", [f"{name}.jpg" for name in names])
    masks(tmp_path / "d" / "masks" / "v", [f"{name}.png" for name in names])
    videos = FolderDataset(tmp_path / "d")
    (tmp_path / "link").symlink_to("d")
    before = state(tmp_path)
    for output in (tmp_path / "d", tmp_path / "link", tmp_path / "d" / "masks" / ".." / "frames" / "v"):
        with pytest.raises(UsageError, match="is the input folder"):
            evaluate(copy_first_mask, videos, output=output, progress=False)
    with pytest.raises(UsageError, match="is the input folder"):
        evaluate(copy_first_mask, list(videos), output=tmp_path / "d", progress=False)
    assert state(tmp_path) == before
    assert evaluate(copy_first_mask, videos, output=tmp_path / "d" / "results", progress=False).exit_code == 0


# -- make-data -------------------------------------------------------------------------------------------------------

SMALL = ["data.synthetic.size=[32,48]", "data.synthetic.frames=4", "data.synthetic.train_videos=1"]
SMALL += ["data.synthetic.val_videos=1", "data.synthetic.test_videos=1"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_generated_videos_do_not_replace_the_lists_of_a_real_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    frames(tmp_path / "JPEGImages" / "480p" / "bear", ["00000.jpg", "00001.jpg"])
    masks(tmp_path / "Annotations" / "480p" / "bear", ["00000.png"])
    (tmp_path / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2017" / f"{split}.txt").write_text("bear\n")
    before = state(tmp_path)
    assert main(["make-data", "synthetic", "--output", str(tmp_path), *SMALL]) == 2
    assert f"{split}.txt: lists 'bear'" in capsys.readouterr().err
    assert state(tmp_path) == before


def test_a_generated_data_set_may_be_made_again_and_grow(tmp_path: Path) -> None:
    settings = SyntheticSettings(size=SIZE, frames=4)
    for count in (1, 1, 2):
        write_davis_layout(SyntheticDataset(count, "train", settings), tmp_path)
        assert len(DavisDataset(tmp_path, "train")) == count


# -- convert, fit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "README.md", "config.json"])
def test_a_conversion_replaces_neither_its_source_nor_other_files_of_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_text("mine")
    words = ["convert", "--model", METHOD, "--output", str(tmp_path)]
    assert main([*words, str(tmp_path / name)]) == 2
    assert "is the input file" in capsys.readouterr().err
    (tmp_path / "authors.pth").write_bytes(b"")
    assert main([*words, str(tmp_path / "authors.pth")]) == 2
    assert f"{name} in it is not a model's" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"
    (tmp_path / "config.json").write_text(json.dumps({"method": METHOD}))  # an earlier conversion may be replaced
    assert main([*words, str(tmp_path / "authors.pth")]) == 2
    assert "authors.pth" in capsys.readouterr().err


def test_a_run_does_not_replace_a_configuration_written_by_hand(tmp_path: Path) -> None:
    config = load_config(METHOD, "synthetic", overrides=[f"output={tmp_path}", "run_name=a"])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text("seed: 5  # mine\n")
    with pytest.raises(UsageError, match=r"config\.yaml: was written by hand"):
        find_run(config, None)
    (tmp_path / "a" / "config.yaml").write_text("complete: true\nseed: 5\n")
    assert find_run(config, None) == (tmp_path / "a", None)
    (tmp_path / "a" / "model").mkdir()  # its weights may be those that the run starts from
    with pytest.raises(UsageError, match="holds a trained run"):
        find_run(config, None)
