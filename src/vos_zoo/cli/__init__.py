"""The command line: options, errors and dispatch. Heavy libraries are imported only when a command runs.

Every `key=value` after the options overrides the configuration. Usage errors exit with 2, failures of a run with 1,
both with one line; `--debug` shows the traceback. The work itself is in `vos_zoo.tasks`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from vos_zoo import __version__
from vos_zoo.cli import correction_commands, handlers, mask_commands, model_commands
from vos_zoo.cli.completion import SHELLS, Completion
from vos_zoo.cli.options import Parser, add_config, add_model, add_weights, command, finish
from vos_zoo.registry import suggestion
from vos_zoo.types import UsageError, VOSError

_PACKAGE = os.path.dirname(os.path.dirname(__file__))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a failed run, 2 for a usage error, 130 if interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    usual, warnings.formatwarning = warnings.formatwarning, _warning_line
    try:
        return _run(words)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except VOSError as error:
        return _fail(str(error), error.exit_code, debug="--debug" in words)
    except Exception as error:
        hint = "" if "--debug" in words else " (--debug shows where)"
        return _fail(f"{type(error).__name__}: {error}{hint}", 1, debug="--debug" in words)
    finally:
        warnings.formatwarning = usual


def _warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Format the package's own warnings as one line each, without their location in the code."""
    if not filename.startswith(_PACKAGE):
        return f"{filename}:{lineno}: {category.__name__}: {message}\n"
    return f"vos-zoo: warning: {' '.join(str(message).split())}\n"


def _fail(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    print(f"vos-zoo: {' '.join(message.split())}", file=sys.stderr)
    return code


def _run(words: list[str]) -> int:
    parser = build_parser()
    options, rest = parser.parse_known_args(words)
    unknown = next((word for word in rest if word.startswith("-")), None)
    if unknown is not None:
        near = suggestion(unknown.partition("=")[0], options.known)
        raise UsageError(f"unknown option {unknown!r}{near} (see vos-zoo {options.command} --help)")
    if rest and not options.overridable:
        raise UsageError(f"unexpected argument {rest[0]!r} (see vos-zoo {options.command} --help)")
    options.overrides = rest
    options.line = shlex.join(["vos-zoo", *words])
    handler: Callable[[argparse.Namespace], int | None] = options.handler
    return int(handler(options) or 0)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; every subcommand sets `handler`."""
    parser = Parser(
        prog="vos-zoo", description="Video object segmentation: train, evaluate and run the methods of the zoo."
    )
    parser.add_argument("--version", action="version", version=f"vos-zoo {__version__}")
    parser.add_argument(
        "--completion",
        action=Completion,
        choices=SHELLS,
        help='print a completion script: eval "$(vos-zoo --completion bash)"',
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for build in (
        model_commands.quickstart,
        _fit,
        _validate,
        _test,
        _track,
        _demo,
        correction_commands.review,
        correction_commands.simulate,
        model_commands.benchmark,
        model_commands.export,
        _convert,
        mask_commands.score,
        _leaderboard,
        _models,
        _config,
        _weights,
        _check_data,
        mask_commands.check_submission,
        _make_data,
        mask_commands.export_masks,
        mask_commands.import_masks,
    ):
        build(commands)
    return parser


def _fit(commands: Any) -> None:
    parser = command(
        commands,
        "fit",
        handlers.run_fit,
        "train a method",
        "--model METHOD --data synthetic",
        "--model METHOD --data davis data.root=DAVIS data.batch_size=8 trainer.max_epochs=10",
        "--config runs/NAME/config.yaml --ckpt last",
        "--model METHOD --recipe paper run_name=NAME paths.davis=DAVIS paths.youtube_vos=YOUTUBE_VOS",
    )
    add_model(parser)
    add_config(parser)
    parser.add_argument("--ckpt", metavar="last|PATH", help="continue this checkpoint, or the last one of the run")
    finish(parser)


def _validate(commands: Any) -> None:
    parser = command(
        commands,
        "validate",
        handlers.run_validate,
        "score a model: J, F and J&F per video and on average",
        "--model METHOD --weights runs/NAME/model --data davis data.root=DAVIS",
    )
    add_model(parser)
    add_weights(parser, required=True)
    add_config(parser)
    parser.add_argument("--output", metavar="FOLDER", help="where the scores are written (default: printed only)")
    finish(parser)


def _test(commands: Any) -> None:
    parser = command(
        commands,
        "test",
        handlers.run_test,
        "evaluate a model on a split by its protocol: palette PNGs, scores, speed, a report, the server's archive",
        "--model METHOD --weights runs/NAME/model --data davis17 data.root=DAVIS --output results",
        "--weights runs/NAME/model --data synthetic --output results",
    )
    add_model(parser)
    add_weights(parser, required=True)
    add_config(parser)
    parser.add_argument("--output", metavar="FOLDER", help="where the results are written (default: a new run folder)")
    finish(parser)


def _track(commands: Any) -> None:
    parser = command(
        commands,
        "track",
        handlers.run_track,
        "track objects through a video from their masks or boxes in the first frame",
        "sample --weights NAME --output out.mp4",
        "video.mp4 --weights runs/NAME/model --mask first.png --output out.mp4",
        "video.mp4 --weights runs/NAME/model --mask first.png --output results.json",
        "frames/ --weights runs/NAME/model --box 1:40,25,80,60 --box 2:150,30,64,64 --output masks/",
        "camera --weights runs/NAME/model --box 1:200,120,160,160 --output out.mp4",
    )
    parser.add_argument(
        "source",
        metavar="VIDEO|FOLDER|camera|sample",
        help="a video file, a folder of frames, a camera (camera, camera:1), or `sample`, a clip with a mask",
    )
    add_model(parser)
    add_weights(parser, required=False)
    add_config(parser, data=False)
    parser.add_argument(
        "--mask",
        metavar="FILE",
        help="palette or grey PNG of the first frame, or a folder of PNGs named as their frames; its values are object "
        "ids, 1 to 254 (255 alone is one object)",
    )
    parser.add_argument(
        "--box",
        dest="boxes",
        metavar="ID:X,Y,W,H",
        action="append",
        default=[],
        help="an object of the first frame by its box in pixels (left, top, width, height); may be repeated",
    )
    parser.add_argument(
        "--mask-threshold",
        metavar="LEVEL",
        type=int,
        help="for masks with soft edges: grey levels from this one up (1 to 255, 128 is half) are one object",
    )
    parser.add_argument(
        "--output",
        metavar="FILE|FOLDER",
        required=True,
        help="an .mp4 file (overlay), a .json file (COCO run-length masks), or a folder for mask PNGs",
    )
    parser.add_argument(
        "--overlay",
        action="store_true",
        help="in a folder, also write overlay.mp4: the frames with masks drawn on them",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="also write how sure the tracker is of every object: confidence.csv and the chart confidence.png, next to "
        "the masks or as NAME.confidence.csv next to NAME.mp4 or NAME.json; overlays show it",
    )
    parser.add_argument(
        "--every",
        metavar="N",
        type=int,
        default=1,
        help="results of every N-th frame only; the objects are tracked through all frames (a method that reads clips "
        "may skip decoding the others)",
    )
    parser.add_argument("--skip", action="store_true", help="with --every: do not process the other frames at all")
    finish(parser)


def _demo(commands: Any) -> None:
    parser = command(
        commands,
        "demo",
        handlers.run_demo,
        "draw objects on a page in the browser, track and correct them, export masks (extra demo)",
        "",
        "video.mp4 --weights NAME --open",
        "frames/ --port 0 trainer.accelerator=cpu",
    )
    parser.add_argument("source", metavar="VIDEO|FOLDER", nargs="?", help="what to open (default: the sample clip)")
    add_weights(parser, required=False)
    parser.add_argument("--port", metavar="N", type=int, default=7860, help="port on this machine; 0: any free one")
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    finish(parser)


def _convert(commands: Any) -> None:
    parser = command(
        commands,
        "convert",
        handlers.run_convert,
        "convert the weights that a method's authors released to a model folder",
        "authors.pth --model METHOD --output weights/METHOD",
        "https://HOST/authors.pth#sha256=DIGEST --model METHOD --output weights/METHOD",
    )
    text = "the authors' checkpoint: a file, or an address with #sha256=DIGEST"
    parser.add_argument("source", metavar="AUTHORS_FILE", help=text)
    add_model(parser)
    add_config(parser, data=False)
    parser.add_argument("--output", metavar="FOLDER", required=True, help="the model folder to write")
    finish(parser)


def _leaderboard(commands: Any) -> None:
    parser = command(
        commands,
        "leaderboard",
        handlers.run_leaderboard,
        "compare the runs of vos-zoo test on one board, next to published results",
        "runs",
        "runs results --output board",
        "--source wandb --project vos-zoo --publish",
        overridable=False,
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="*", help="folders of runs (default: runs)")
    parser.add_argument(
        "--source",
        choices=("runs", "wandb"),
        default="runs",
        help="records of run folders, or Weights & Biases: run files in FOLDERs, or without FOLDERs the project's runs",
    )
    parser.add_argument("--project", metavar="NAME", default="vos-zoo", help="the project there (default: vos-zoo)")
    parser.add_argument(
        "--across",
        metavar="WHAT",
        action="append",
        default=[],
        choices=("size", "precision", "device"),
        help="runs that differ in size, precision or device may share a table, with a warning; may be repeated",
    )
    parser.add_argument(
        "--published",
        choices=("matching", "all", "none"),
        default="matching",
        help="published results: of the measured data sets (default), all, or none",
    )
    parser.add_argument("--output", metavar="FOLDER", help="also write leaderboard.md, .csv and .html there")
    parser.add_argument("--publish", action="store_true", help="also write the board to a run at Weights & Biases")
    finish(parser)


def _models(commands: Any) -> None:
    finish(command(commands, "models", handlers.run_models, "list the methods", "", overridable=False))


def _config(commands: Any) -> None:
    parser = command(
        commands,
        "config",
        handlers.run_config,
        "list the keys of the configuration with type, default, rule and meaning",
        "data.crop",
        "--model METHOD track",
        overridable=False,
    )
    parser.add_argument("key", metavar="KEY", nargs="?", help="this key, or the keys that begin with it (default: all)")
    add_model(parser)
    parser.add_argument("--markdown", action="store_true", help="as a page, docs/configuration.md")
    finish(parser)


def _weights(commands: Any) -> None:
    parser = command(
        commands,
        "weights",
        handlers.run_weights,
        "list weights by name: those shipped with vos-zoo, and published ones with where to get them",
        "",
        "METHOD",
        overridable=False,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="show details of these weights (or a method's)")
    finish(parser)


def _check_data(commands: Any) -> None:
    parser = command(
        commands,
        "check-data",
        handlers.run_check_data,
        "read a data set completely and report what is missing or broken",
        "DAVIS",
        "my_videos --data folder",
    )
    parser.add_argument("folder", metavar="FOLDER", help="root of the data set")
    parser.add_argument(
        "--data",
        metavar="NAME",
        help="how to read it (default: sav, lvos or visor if it looks like one of them, davis if it has ImageSets, "
        "youtube_vos if it has meta.json, else folder)",
    )
    finish(parser)


def _make_data(commands: Any) -> None:
    parser = command(
        commands,
        "make-data",
        handlers.run_make_data,
        "write generated videos with exact masks to a folder, in the layout of DAVIS",
        "synthetic --output toy_davis data.synthetic.train_videos=4 data.synthetic.frames=12",
    )
    parser.add_argument("kind", metavar="KIND", choices=["synthetic"], help="what to make: synthetic")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="the folder to write")
    finish(parser)
