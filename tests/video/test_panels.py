"""Contact sheets of frames and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.small_videos import SIZE, quarters, square
from vos_zoo.types import UsageError
from vos_zoo.video.panels import overlay_panel, spread, write_picture

# -- pictures --------------------------------------------------------------------------------------------------------


def test_a_contact_sheet_has_a_cell_per_frame_and_tints_the_objects() -> None:
    frames = [np.full((*SIZE, 3), 100, dtype=np.uint8)] * 5
    labels = [square(identity=1)] * 5
    sheet = overlay_panel(frames, labels, columns=2, width=64, alpha=1.0)
    assert sheet.shape == (3 * (48 + 4) + 4, 2 * (64 + 4) + 4, 3)
    assert tuple(sheet[4 + 14, 4 + 20]) == (128, 0, 0)
    assert tuple(sheet[4 + 2 * 52 + 14, 4 + 20]) == (128, 0, 0)
    assert tuple(sheet[4 + 2 * 52 + 14, 4 + 68 + 20]) == (24, 24, 24)  # the sixth cell stays empty


def test_the_truth_stands_under_the_prediction_and_may_be_missing() -> None:
    frames = [np.full((*SIZE, 3), 100, dtype=np.uint8)] * 2
    truth = [square(identity=2), None]
    sheet = overlay_panel(frames, [square(), square()], truth, columns=2, width=64, alpha=1.0)
    assert tuple(sheet[4 + 14, 4 + 20]) == (128, 0, 0) and tuple(sheet[4 + 48 + 14, 4 + 20]) == (0, 128, 0)
    assert tuple(sheet[4 + 48 + 14, 4 + 68 + 20]) == (100, 100, 100)


def test_title_and_captions_are_drawn_on_strips_and_long_ones_fit() -> None:
    frames, labels = [quarters(0)], [square()]
    plain = overlay_panel(frames, labels, width=64)
    titled = overlay_panel(frames, labels, width=64, title="a title that is much too long for it", captions=["00000"])
    assert titled.shape[1] == plain.shape[1] and titled.shape[0] > plain.shape[0]
    assert titled[:20].max() > 150  # ink


def test_a_sheet_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="0 frames"):
        overlay_panel([], [])
    with pytest.raises(UsageError, match="1 frames but 2 label maps"):
        overlay_panel([quarters(0)], [square()] * 2)
    with pytest.raises(UsageError, match="labels of frame 0 are"):
        overlay_panel([quarters(0)], [square((32, 64))])


def test_spread_picks_even_distances_with_both_ends() -> None:
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(1, 4) == [0]
    assert spread(0, 4) == spread(5, 0) == []


def test_a_written_picture_is_read_back_unchanged(tmp_path: Path) -> None:
    write_picture(tmp_path / "new" / "p.png", quarters(2))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / "p.png")), quarters(2))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["p.png"]
