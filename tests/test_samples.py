"""The sample clip: its files, and what a command makes of its name."""

from __future__ import annotations

import numpy as np

from vos_zoo import samples
from vos_zoo.cli import main


def test_frames_and_mask_fit_each_other_and_the_box_is_that_of_the_mask():
    clip = samples.clip()
    frames, mask = clip.frames(), clip.first_mask()
    assert len(frames) == 50 and {frame.shape for frame in frames} == {(360, 640, 3)}
    rows, columns = np.nonzero(mask == 1)
    assert set(np.unique(mask)) == {0, 1} and mask.shape == (360, 640)
    assert tuple(clip.box) == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)


def test_the_files_are_small_and_say_whose_they_are():
    folder = samples.clip().video.parent
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 1_000_000
    assert "Blender Foundation" in (folder / "README.md").read_text(encoding="utf-8")


def test_the_command_line_knows_the_clip_by_name_and_starts_from_its_mask(tmp_path, capsys):
    from tests.helpers.contract_settings import toy_installed

    with toy_installed():
        assert main(["track", "sample", "--model", "toy", "--output", str(tmp_path / "masks"), "--every", "49"]) == 0
    assert sorted(path.name for path in (tmp_path / "masks").glob("*.png")) == ["00000.png", "00049.png"]


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample").write_text("no video")
    assert main(["track", "sample", "--model", "lwl", "--output", "masks"]) == 2
    assert "nothing to track" in capsys.readouterr().err
