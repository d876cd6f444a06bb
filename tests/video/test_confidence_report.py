"""The confidence of a video as a table, in words and as a chart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vos_zoo.types import UsageError
from vos_zoo.video.confidence_report import ConfidenceReport, ConfidenceRow, read_report, strips
from vos_zoo.video.strip_chart import strip_chart


def report() -> ConfidenceReport:
    """Three frames of two objects; the second is lost in frame 1 and back in frame 2."""
    found = ConfidenceReport()
    for t in range(3):
        found.rows.append(ConfidenceRow(t, f"f{t}", 1, 0.9, 0.8, 0.5, float("nan"), False, False))
        found.rows.append(ConfidenceRow(t, f"f{t}", 4, 0.25 if t == 1 else 0.75, 0.5, 0.5, -0.5, t == 1, t == 2))
    return found


def test_a_report_is_read_as_it_was_written_beside_a_video_or_in_a_folder(tmp_path: Path) -> None:
    for output, table in ((tmp_path / "out.mp4", "out.confidence.csv"), (tmp_path / "masks", "masks/confidence.csv")):
        assert report().write(output)[0] == tmp_path / table
        rows = read_report(tmp_path / table)
        assert [row.lost for row in rows] == [row.lost for row in report().rows]
        assert np.isnan(rows[0].evidence) and rows[3].evidence == -0.5 and rows[3].frame == "f1"
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match=r"other\.csv: is not a report of confidence"):
        read_report(tmp_path / "other.csv")


def test_a_frame_in_words_is_found_after_later_ones_were_added() -> None:
    assert report().caption(1) == "1: 0.90   4: lost"
    assert report().caption(2) == "1: 0.90   4: 0.75"
    assert report().caption(7) == ""


def test_the_chart_has_a_strip_per_object_and_shades_what_is_lost() -> None:
    one, two = strip_chart(strips(report().rows[::2])), strip_chart(strips(report().rows))
    assert two.shape[0] > one.shape[0] and two.shape[1] == one.shape[1]
    shade = (two == (250, 205, 205)).all(axis=-1)
    assert shade.any() and not (one == (250, 205, 205)).all(axis=-1).any()
    columns = np.flatnonzero(shade.any(axis=0))
    assert columns.min() > 64 and columns.max() - columns.min() == pytest.approx((960 - 74) / 3, abs=3)
