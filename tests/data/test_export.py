"""Exporting a data set in the DAVIS layout: what is written is what was there, and a stopped export can go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vos_zoo.data.datasets.davis import DavisDataset
from vos_zoo.data.datasets.export import write_davis_layout
from vos_zoo.data.synthetic.videos import SyntheticDataset, SyntheticSettings
from vos_zoo.types import Frame, LabelMap, UsageError, VOSError

SETTINGS = SyntheticSettings(size=(48, 64), frames=6, min_objects=2, max_objects=3, late_objects=1.0)


def small(videos: int = 2, split: str = "train", settings: SyntheticSettings = SETTINGS) -> SyntheticDataset:
    return SyntheticDataset(videos, split, settings)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_exported_data_set_reads_back_with_the_same_masks_and_nearly_the_same_frames(tmp_path: Path) -> None:
    listing = write_davis_layout(small(), tmp_path, split="train")
    assert listing == tmp_path / "ImageSets" / "2017" / "train.txt"
    written = DavisDataset(tmp_path, "train")
    assert [sequence.name for sequence in written] == [sequence.name for sequence in small()]
    for ours, theirs in zip(small(), written, strict=True):
        assert theirs.frame_names == ours.frame_names
        for index in range(len(ours)):
            np.testing.assert_array_equal(theirs.labels(index), ours.labels(index))
            difference = theirs.frame(index).astype(int) - ours.frame(index)
            assert np.abs(difference).mean() < 6


def test_late_objects_keep_their_starting_frames_in_the_exported_data(tmp_path: Path) -> None:
    write_davis_layout(small(3), tmp_path)
    late = 0
    for ours, theirs in zip(small(3), DavisDataset(tmp_path, "train"), strict=True):
        assert theirs.object_ids == ours.object_ids
        expected = ours.prompts()
        assert theirs.prompts().keys() == expected.keys()
        for index, labels in theirs.prompts().items():
            np.testing.assert_array_equal(labels, expected[index])
        late += len(expected) - 1
    assert late > 0


def test_an_interrupted_export_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    write_davis_layout(small(), whole)
    write_davis_layout(small(1), stopped)
    kept = stopped / "JPEGImages" / "480p" / small()[0].name / "00000.jpg"
    (stopped / "Annotations" / "480p" / small()[0].name / "00003.png").unlink()
    (stopped / "JPEGImages" / "480p" / small()[0].name / "00004.jpg").unlink()
    before = kept.stat().st_mtime_ns
    write_davis_layout(small(), stopped)
    assert files(stopped) == files(whole)
    assert kept.stat().st_mtime_ns == before


def test_a_crash_leaves_no_half_written_file_and_no_list(tmp_path: Path) -> None:
    class Crashing(SyntheticDataset):
        def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
            sequence = super().__getitem__(index)
            if index == 1:
                raise KeyboardInterrupt
            return sequence

    with pytest.raises(KeyboardInterrupt):
        write_davis_layout(Crashing(2, "train", SETTINGS), tmp_path)
    written = files(tmp_path)
    assert not any(name.startswith("ImageSets") for name in written)
    assert len(written) == 2 * SETTINGS.frames
    assert not any(Path(name).name.startswith(".") for name in written)


def test_several_splits_share_a_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_davis_layout(small(1, split), tmp_path, split=split)
    assert DavisDataset(tmp_path, "train")[0].name != DavisDataset(tmp_path, "val")[0].name


def test_another_sequence_of_the_same_name_is_not_mixed_in(tmp_path: Path) -> None:
    write_davis_layout(small(), tmp_path)
    other = SyntheticSettings(size=(48, 64), frames=6, min_objects=2, seed=1)
    with pytest.raises(UsageError, match="another sequence"):
        write_davis_layout(small(settings=other), tmp_path)
    shorter = SyntheticSettings(size=(48, 64), frames=4, min_objects=2, max_objects=3, late_objects=1.0)
    with pytest.raises(UsageError, match=r"0000[45]"):
        write_davis_layout(small(settings=shorter), tmp_path)


def test_frames_without_annotation_get_no_mask_file(tmp_path: Path) -> None:
    data = small(1)
    sequence = data[0]
    full = sequence.labels
    sequence.labels = lambda index: full(index) if index == 0 else None  # type: ignore[method-assign, assignment]
    write_davis_layout(data, tmp_path)
    assert [path.name for path in sorted((tmp_path / "Annotations").rglob("*.png"))] == ["00000.png"]
    assert len(list((tmp_path / "JPEGImages").rglob("*.jpg"))) == SETTINGS.frames


def test_impossible_requests_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quality 0"):
        write_davis_layout(small(), tmp_path, quality=0)
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(VOSError, match="cannot be written"):
        write_davis_layout(small(), blocked)


def test_the_jpeg_quality_changes_the_size_of_the_files(tmp_path: Path) -> None:
    sizes = {}
    for quality in (40, 95):
        write_davis_layout(small(1), tmp_path / str(quality), quality=quality)
        sizes[quality] = sum(len(content) for name, content in files(tmp_path / str(quality)).items() if "JPEG" in name)
    assert sizes[95] > 2 * sizes[40]


def test_frames_and_masks_are_of_the_types_the_vocabulary_names() -> None:
    frame: Frame = small()[0].frame(0)
    labels: LabelMap | None = small()[0].labels(0)
    assert labels is not None
    assert frame.dtype == labels.dtype == np.uint8
    assert frame.shape == (*labels.shape, 3)
