"""Draw docs/assets/board.png: the board of the shipped weights' records among published rows.

    python benchmarks/board_picture.py [--browser chromium] [--output docs/assets/board.png]

Records: benchmarks/results. Published rows: those of DAVIS 2016 and 2017 val.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from vos_zoo.evaluation.board.page import format_page
from vos_zoo.evaluation.board.published import read_costs
from vos_zoo.evaluation.board.table import build_board
from vos_zoo.evaluation.record import read_record
from vos_zoo.tasks.leaderboard import published_rows

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, SHOWN = 1180, 2960, 1000
SHOWN_DATA = ("davis2016-val", "davis2017-val")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "assets" / "board.png")
    arguments = parser.parse_args()
    records = [read_record(path) for path in sorted((ROOT / "benchmarks" / "results").glob("*-davis2016-val.json"))]
    rows = [row for row in published_rows() if row.data in SHOWN_DATA]
    board = build_board(records, rows, across=["size"], show="all", costs=read_costs())
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "board.html", Path(folder) / "board.png"
        page.write_text(format_page(board), encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture}", page.as_uri()]
        subprocess.run([arguments.browser, *options], check=True, capture_output=True)
        with Image.open(picture) as image:
            small = image.convert("RGB").resize((SHOWN, round(HEIGHT * SHOWN / WIDTH)), Image.Resampling.LANCZOS)
    small.quantize(96, dither=Image.Dither.NONE).save(arguments.output, optimize=True)
    print(f"{len(records)} records, {len(rows)} published rows -> {arguments.output}")


if __name__ == "__main__":
    main()
