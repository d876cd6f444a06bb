"""The commands on masks that are there already, of any origin: score, check, export, import."""

from __future__ import annotations

from typing import Any

from vos_zoo.cli import handlers
from vos_zoo.cli.options import command, finish
from vos_zoo.tasks import MASK_FORMATS, PROTOCOL_TITLES

_FORMATS_HELP = (
    "coco: run-length JSON in YouTube-VIS's form; sav: SA-V's JSON; yolo: segmentation text (loses holes and small "
    "parts); rgba: pictures with alpha; prores, vp9: a video with alpha per object (needs PyAV); cvat: CVAT for video "
    "1.1 XML; label-studio: brush masks"
)


def score(commands: Any) -> None:
    """Score masks of any origin."""
    parser = command(
        commands,
        "score",
        handlers.run_score,
        "score masks of any origin by a protocol of the field, or compare two results",
        'masks.zip --data lvos data.root=LVOS --name "Some method" --source https://HOST/masks.zip --board board',
        "results/masks --data davis17 data.root=DAVIS --official",
        "results/masks --data vost data.root=VOST logger.name=wandb",
        "runs/score-ONE runs/score-TWO",
    )
    parser.add_argument(
        "masks",
        metavar="MASKS",
        nargs="+",
        help="a folder of PNGs (VIDEO/FRAME.png, or VIDEO/OBJECT/FRAME.png), a zip of one, a COCO run-length JSON "
        "file, or the name of published masks that `vos-zoo weights` lists; two of them, or of folders that score and "
        "test wrote, are compared: differences per object, and a bootstrap over videos",
    )
    parser.add_argument(
        "--data",
        metavar="PROTOCOL",
        help=f"{'; '.join(f'{name}: {title}' for name, title in PROTOCOL_TITLES.items())}. data.root=FOLDER is the "
        "folder of the ground truth, data.split=NAME which split",
    )
    parser.add_argument(
        "--official", action="store_true", help="reproduce the official program's quirks instead of the right values"
    )
    parser.add_argument(
        "--missing",
        choices=("refuse", "empty"),
        default="refuse",
        help="masks that are not there: an error that lists them (default), or they count as empty",
    )
    parser.add_argument("--name", metavar="NAME", help="what made the masks (default: the name of the file or folder)")
    parser.add_argument("--source", metavar="URL", default="", help="where the masks come from, for the record")
    parser.add_argument(
        "--output", metavar="FOLDER", help="where the results are written (default: a new folder in runs)"
    )
    parser.add_argument(
        "--board", metavar="FOLDER", help="also write the leaderboard there, of all records beside the results"
    )
    finish(parser)


def check_submission(commands: Any) -> None:
    """Validate an archive for an evaluation server."""
    parser = command(
        commands,
        "check-submission",
        handlers.run_check_submission,
        "validate an archive for an evaluation server, or the folder of its masks",
        "results/submission.zip --data davis17 data.root=DAVIS data.test_split=test-dev",
        "results/masks --data davis16 data.root=DAVIS",
    )
    parser.add_argument("source", metavar="ARCHIVE|FOLDER", help="a zip, or a folder of masks")
    parser.add_argument(
        "--data", metavar="NAME", required=True, help="the evaluated data set: davis17, youtube_vos19, ..."
    )
    finish(parser)


def export_masks(commands: Any) -> None:
    """Masks for other tools."""
    parser = command(
        commands,
        "export-masks",
        handlers.run_export_masks,
        "write masks in the format of another tool",
        "results/masks --format coco --output results.json",
        "results/masks --format rgba --frames DAVIS/JPEGImages/480p --output cut_out",
        overridable=False,
    )
    parser.add_argument("masks", metavar="FOLDER", help="PNGs: FRAME.png, VIDEO/FRAME.png, or VIDEO/OBJECT/FRAME.png")
    parser.add_argument("--format", choices=MASK_FORMATS, required=True, help=_FORMATS_HELP)
    parser.add_argument("--output", metavar="FILE|FOLDER", required=True, help="what is written; it must not exist yet")
    parser.add_argument("--frames", metavar="FOLDER", help="for rgba: the frames, whose colours the objects then have")
    finish(parser)


def import_masks(commands: Any) -> None:
    """Masks of other tools."""
    parser = command(
        commands,
        "import-masks",
        handlers.run_import_masks,
        "write masks of another tool's format as PNGs",
        "results.json --format coco --output masks",
        "labels --format yolo --size 480x854 --output masks",
        overridable=False,
    )
    parser.add_argument("source", metavar="FILE|FOLDER", help="the file, or the folder of files")
    parser.add_argument("--format", choices=MASK_FORMATS, required=True, help=_FORMATS_HELP)
    parser.add_argument("--output", metavar="FOLDER", required=True, help="what is written; it must not exist yet")
    parser.add_argument("--size", metavar="HEIGHTxWIDTH", help="for yolo, which does not hold the size")
    parser.add_argument(
        "--per-object",
        action="store_true",
        help="VIDEO/OBJECT/FRAME.png instead of label maps, for objects that overlap or have names",
    )
    finish(parser)
