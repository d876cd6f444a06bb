"""The command line: options, errors and dispatch. Nothing heavy is imported before a command starts its work.

Every `key=value` after the options overrides the configuration. Usage errors exit with 2, failures of a run with 1,
both with one line; `--debug` shows the traceback. The work itself is in `vos_zoo.tasks`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vos_zoo import __version__
from vos_zoo.download import is_url
from vos_zoo.registry import available_methods, load_method, suggestion
from vos_zoo.resources import config_folder, model_card, variants
from vos_zoo.types import Box, UsageError, VOSError
from vos_zoo.weights import find_weights, known_weights, nowhere, weights_details, weights_table

if TYPE_CHECKING:
    from vos_zoo.config import RunConfig

_OVERRIDES = "Every key=value overrides a key of the configuration, with dots between its parts: data.batch_size=4."


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are `UsageError`s, so that all errors are printed in one place."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a failed run, 2 for a wrong request, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except VOSError as error:
        return _fail(str(error), error.exit_code, debug="--debug" in words)
    except Exception as error:
        hint = "" if "--debug" in words else " (--debug shows where)"
        return _fail(f"{type(error).__name__}: {error}{hint}", 1, debug="--debug" in words)


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
    parser = _Parser(
        prog="vos-zoo", description="Video object segmentation: train, evaluate and run the zoo's methods."
    )
    parser.add_argument("--version", action="version", version=f"vos-zoo {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for build in (
        _fit,
        _validate,
        _test,
        _track,
        _convert,
        _leaderboard,
        _models,
        _weights,
        _check_data,
        _check_submission,
        _make_data,
    ):
        build(commands)
    return parser


def _command(
    commands: Any,
    name: str,
    handler: Callable[[argparse.Namespace], int | None],
    summary: str,
    *examples: str,
    overridable: bool = True,
) -> argparse.ArgumentParser:
    """A subcommand with its examples and `--debug`; `overridable` ones take key=value."""
    method = next(iter(available_methods()), "METHOD")
    lines = [f"  vos-zoo {name} {example.replace('METHOD', method)}".rstrip() for example in examples]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog="\n".join(["examples:", *lines, *(["", _OVERRIDES] if overridable else [])]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(handler=handler, overridable=overridable)
    return parser


def _fit(commands: Any) -> None:
    parser = _command(
        commands,
        "fit",
        _run_fit,
        "train a method",
        "--model METHOD --data synthetic",
        "--model METHOD --data davis data.root=DAVIS data.batch_size=8 trainer.max_epochs=10",
        "--config runs/NAME/config.yaml --ckpt last",
        "--model METHOD --recipe paper run_name=NAME paths.davis=DAVIS paths.youtube_vos=YOUTUBE_VOS",
    )
    _add_model(parser)
    _add_config(parser)
    parser.add_argument("--ckpt", metavar="last|PATH", help="continue this checkpoint, or the last one of the run")
    _finish(parser)


def _validate(commands: Any) -> None:
    parser = _command(
        commands,
        "validate",
        _run_validate,
        "score a model: J, F and J&F per video and on average",
        "--model METHOD --weights runs/NAME/model --data davis data.root=DAVIS",
    )
    _add_model(parser)
    _add_weights(parser, required=True)
    _add_config(parser)
    parser.add_argument("--output", metavar="FOLDER", help="where the scores are written (default: printed only)")
    _finish(parser)


def _test(commands: Any) -> None:
    parser = _command(
        commands,
        "test",
        _run_test,
        "run a model over a split by its protocol: palette PNGs, scores, speed, a report, the server's archive",
        "--model METHOD --weights runs/NAME/model --data davis17 data.root=DAVIS --output results",
        "--weights runs/NAME/model --data synthetic --output results",
    )
    _add_model(parser)
    _add_weights(parser, required=True)
    _add_config(parser)
    parser.add_argument("--output", metavar="FOLDER", help="where the results are written (default: a new run folder)")
    _finish(parser)


def _track(commands: Any) -> None:
    parser = _command(
        commands,
        "track",
        _run_track,
        "follow objects through a video, from their masks or boxes in the first frame",
        "video.mp4 --weights runs/NAME/model --mask first.png --output out.mp4",
        "frames/ --weights runs/NAME/model --box 1:40,25,80,60 --box 2:150,30,64,64 --output masks/",
        "camera --weights runs/NAME/model --box 1:200,120,160,160 --output out.mp4",
    )
    parser.add_argument("source", metavar="VIDEO|FOLDER|camera", help="a video file, a folder of frames, or a camera")
    _add_model(parser)
    _add_weights(parser, required=False)
    _add_config(parser, data=False)
    parser.add_argument(
        "--mask", metavar="FILE", help="palette or grey PNG of the first frame; its values are object ids"
    )
    parser.add_argument(
        "--box",
        dest="boxes",
        metavar="ID:X,Y,W,H",
        action="append",
        default=[],
        type=_box,
        help="an object of the first frame by its box in pixels (left, top, width, height); may be repeated",
    )
    parser.add_argument(
        "--output", metavar="FILE|FOLDER", required=True, help="an .mp4 file, or a folder for mask PNGs"
    )
    parser.add_argument(
        "--overlay", action="store_true", help="in a folder, also write overlay.mp4: the frames with masks drawn in"
    )
    parser.add_argument(
        "--every",
        metavar="N",
        type=int,
        default=1,
        help="results of every N-th frame only; the objects are followed through all frames (a method that reads clips "
        "need not decode the others)",
    )
    parser.add_argument("--skip", action="store_true", help="with --every: the other frames are not looked at, either")
    _finish(parser)


def _convert(commands: Any) -> None:
    parser = _command(
        commands,
        "convert",
        _run_convert,
        "turn the weights that a method's authors released into a model folder of the zoo",
        "authors.pth --model METHOD --output weights/METHOD",
        "https://HOST/authors.pth#sha256=DIGEST --model METHOD --output weights/METHOD",
    )
    text = "the authors' checkpoint: a file, or an address with #sha256=DIGEST"
    parser.add_argument("source", metavar="AUTHORS_FILE", help=text)
    _add_model(parser)
    _add_config(parser, data=False)
    parser.add_argument("--output", metavar="FOLDER", required=True, help="the model folder to write")
    _finish(parser)


def _leaderboard(commands: Any) -> None:
    parser = _command(
        commands,
        "leaderboard",
        _run_leaderboard,
        "put the runs of vos-zoo test on one board, papers' rows beside them",
        "runs",
        "runs results --output board",
        "--source wandb --project vos-zoo --publish",
        overridable=False,
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="*", help="where the runs lie (default: runs)")
    parser.add_argument(
        "--source",
        choices=("runs", "wandb"),
        default="runs",
        help="records of run folders, or Weights & Biases: its run files in FOLDERs, without one the project's runs",
    )
    parser.add_argument("--project", metavar="NAME", default="vos-zoo", help="the project there (default: vos-zoo)")
    parser.add_argument(
        "--across",
        metavar="WHAT",
        action="append",
        default=[],
        choices=("size", "precision", "device"),
        help="runs that differ in size, precision or device may share a table, which then says so; may be repeated",
    )
    parser.add_argument(
        "--published",
        choices=("matching", "all", "none"),
        default="matching",
        help="papers' rows: of the data sets that were measured (default), all, or none",
    )
    parser.add_argument("--output", metavar="FOLDER", help="also write leaderboard.md, .csv and .html there")
    parser.add_argument("--publish", action="store_true", help="also write the board to a run at Weights & Biases")
    _finish(parser)


def _models(commands: Any) -> None:
    _finish(_command(commands, "models", _run_models, "list the methods", "", overridable=False))


def _weights(commands: Any) -> None:
    parser = _command(
        commands,
        "weights",
        _run_weights,
        "list published weights: what is here, what is missing and how to get it",
        "",
        "METHOD",
        overridable=False,
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="tell all about these weights (or a method's)")
    _finish(parser)


def _check_data(commands: Any) -> None:
    parser = _command(
        commands,
        "check-data",
        _run_check_data,
        "read a data set completely and report what is missing or broken",
        "DAVIS",
        "my_videos --data folder",
    )
    parser.add_argument("folder", metavar="FOLDER", help="root of the data set")
    parser.add_argument(
        "--data",
        metavar="NAME",
        help="how to read it (default: as ImageSets or meta.json in it tell, else folder)",
    )
    _finish(parser)


def _check_submission(commands: Any) -> None:
    parser = _command(
        commands,
        "check-submission",
        _run_check_submission,
        "look through an archive for an evaluation server, or the folder it is made from",
        "results/submission.zip --data davis17 data.root=DAVIS data.test_split=test-dev",
        "results/masks --data davis16 data.root=DAVIS",
    )
    parser.add_argument("source", metavar="ARCHIVE|FOLDER", help="a zip, or a folder of masks")
    parser.add_argument("--data", metavar="NAME", required=True, help="what was evaluated: davis17, youtube_vos19, ...")
    _finish(parser)


def _make_data(commands: Any) -> None:
    parser = _command(
        commands,
        "make-data",
        _run_make_data,
        "write generated videos with exact masks to a folder, in the layout of DAVIS",
        "synthetic --output toy_davis data.synthetic.train_videos=4 data.synthetic.frames=12",
    )
    parser.add_argument("kind", metavar="KIND", choices=["synthetic"], help="what to make: synthetic")
    parser.add_argument("--output", metavar="FOLDER", required=True, help="the folder to write")
    _finish(parser)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="METHOD", help=f"the method: {', '.join(_names())}")


def _names() -> list[str]:
    """The names of all methods and of their variants."""
    return sorted([*available_methods(), *variants()])


def _add_weights(parser: argparse.ArgumentParser, required: bool) -> None:
    text = (
        "a model folder, a checkpoint, a name that `vos-zoo weights` lists, a hub name, or an address with "
        "#sha256=DIGEST; all but the last two know their method, so --model may be left out"
    )
    parser.add_argument("--weights", metavar="PATH|NAME", required=required, help=text)


def _add_config(parser: argparse.ArgumentParser, data: bool = True) -> None:
    if data:
        parser.add_argument(
            "--data",
            metavar="NAME",
            help="the data set: davis17, davis16, youtube_vos18, youtube_vos19, folder, synthetic (default: synthetic)",
        )
    parser.add_argument(
        "--recipe", metavar="NAME", help="a file of configs/recipe/METHOD: one training stage, or all of them"
    )
    text = "a YAML file over the defaults; may be repeated, later wins"
    parser.add_argument("--config", metavar="FILE", action="append", default=[], help=text)


def _finish(parser: argparse.ArgumentParser) -> None:
    """Remember the option names for suggestions, and show key=value in the usage line."""
    actions = [option for action in parser._actions for option in action.option_strings]
    parser.set_defaults(known=actions)
    if parser.get_default("overridable"):
        parser.usage = parser.format_usage().removeprefix("usage: ").rstrip() + " [key=value ...]"


def _box(text: str) -> tuple[int, Box]:
    """`ID:X,Y,W,H` as an object id and a box."""
    number, _, sides = text.partition(":")
    try:
        identity, box = int(number), Box(*(float(side) for side in sides.split(",")))
    except (ValueError, TypeError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form ID:X,Y,W,H (for example 1:40,25,80,60)"
        ) from None
    if not 1 <= identity <= 254:
        raise argparse.ArgumentTypeError(f"{text!r}: object ids are 1 to 254 (255 means void)")
    if not (box.w > 0 and box.h > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: width and height must be greater than 0")
    return identity, box


def _config(options: argparse.Namespace, needs_method: bool = True, **more: Any) -> RunConfig:
    """The configuration the options ask for; the method comes from --model, the weights' folder, or a --config."""
    from vos_zoo.config import load_config

    weights = getattr(options, "weights", None)
    method = getattr(options, "model", None) or _method_of(weights)
    config = load_config(
        method=method,
        data=more.pop("data", getattr(options, "data", None)),
        recipe=getattr(options, "recipe", None),
        files=getattr(options, "config", []),
        overrides=options.overrides,
        flags=more.pop("flags", None),
        stage=more.pop("stage", None),
    )
    if needs_method and config.method is None:
        if weights is not None and not Path(weights).exists() and weights.count("/") != 1 and not is_url(weights):
            raise nowhere(weights)
        raise UsageError(f"which method? give --model, one of: {', '.join(_names())}")
    return config


def _method_of(weights: str | None) -> str | None:
    """The method that the weights' folder names in its config.json, or that their name belongs to; or None."""
    if weights is None or is_url(weights):
        return None
    path = Path(weights)
    published = None if path.exists() else find_weights(weights)
    if published is not None:
        return published.method
    if path.suffix in (".ckpt", ".safetensors", ".pth", ".pt") or path.is_absolute():
        _existing(weights, "--weights")
    for folder in (path, path.parent):
        if (folder / "config.json").is_file():
            try:
                method = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("method")
            except (ValueError, AttributeError):
                raise UsageError(f"{folder / 'config.json'}: not a model's configuration; give --model") from None
            return str(method) if method else None
    return _method_of_run(path.parent.parent / "config.yaml")


def _method_of_run(path: Path) -> str | None:
    """The method that the configuration of a run names, or None: a checkpoint lies in the run's `checkpoints`."""
    if not path.is_file():
        return None
    import yaml

    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    method = tree.get("method") if isinstance(tree, dict) else None
    return str(method) if method else None


def _existing(path: str, option: str) -> str:
    if not Path(path).exists():
        raise UsageError(f"{option} {path}: no such file or folder")
    return path


def _run_fit(options: argparse.Namespace) -> int | None:
    config = _config(options)
    if options.ckpt not in (None, "last"):
        _existing(options.ckpt, "--ckpt")
    from vos_zoo import tasks

    if config.stages:
        stages = {name: _config(options, stage=name) for name in config.stages}
        return tasks.run_stages(stages=stages, recipe=options.recipe, ckpt=options.ckpt, command=options.line)
    return tasks.run_fit(config=config, ckpt=options.ckpt, command=options.line)


def _run_validate(options: argparse.Namespace) -> int | None:
    config = _config(options)
    from vos_zoo import tasks

    return tasks.run_validate(config=config, weights=options.weights, output=options.output)


def _run_test(options: argparse.Namespace) -> int | None:
    config = _config(options)
    from vos_zoo import tasks

    return tasks.run_test(config=config, weights=options.weights, output=options.output)


def _run_track(options: argparse.Namespace) -> int | None:
    if options.mask is None and not options.boxes:
        raise UsageError("what shall be followed? give --mask FILE or --box ID:X,Y,W,H")
    if options.every < 1:
        raise UsageError(f"--every: {options.every} must be at least 1")
    boxes = dict(options.boxes)
    if len(boxes) < len(options.boxes):
        raise UsageError("--box: every object needs an id of its own")
    if options.source != "camera":
        _existing(options.source, "source")
    if options.mask is not None:
        _existing(options.mask, "--mask")
    config = _config(options)
    from vos_zoo import tasks

    return tasks.run_track(
        config=config,
        source=options.source,
        weights=options.weights,
        mask=options.mask,
        boxes=boxes,
        output=options.output,
        overlay=options.overlay,
        every=options.every,
        skip=options.skip,
    )


def _run_convert(options: argparse.Namespace) -> int | None:
    if not is_url(options.source):
        _existing(options.source, "authors' file")
    config = _config(options)
    from vos_zoo import tasks

    return tasks.run_convert(config=config, source=options.source, output=options.output)


def _run_leaderboard(options: argparse.Namespace) -> int | None:
    from vos_zoo import tasks

    return tasks.run_leaderboard(
        source=options.source,
        folders=options.folders,
        project=options.project,
        across=options.across,
        published=options.published,
        output=options.output,
        publish=options.publish,
    )


def _run_models(options: argparse.Namespace) -> None:
    rows = [("name", "year", "title", "paper", "config", "card")]
    further = variants()
    for name in _names():
        info = load_method(further.get(name, name))
        config = "yes" if (config_folder() / f"{name}.yaml").is_file() else "no"
        rows.append((name, str(info.year), info.title, info.paper, config, "yes" if model_card(info.name) else "no"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _run_weights(options: argparse.Namespace) -> None:
    everything = known_weights()
    if options.name is None:
        print(weights_table(everything))
        return
    chosen = [each for each in everything if options.name in (each.known.name, each.method)]
    if not chosen:
        raise nowhere(options.name)
    print("\n\n".join(weights_details(each) for each in chosen))


def _run_check_data(options: argparse.Namespace) -> int | None:
    folder = Path(_existing(options.folder, "folder"))
    listed = any(next(folder.glob(depth), None) for depth in ("*/meta.json", "*/*/meta.json"))
    found = "davis" if (folder / "ImageSets").is_dir() else "youtube_vos" if listed else "folder"
    data = options.data or found
    config = _config(options, needs_method=False, data=data, flags={"data": {"root": options.folder}})
    from vos_zoo import tasks

    return tasks.run_check_data(config=config)


def _run_check_submission(options: argparse.Namespace) -> int | None:
    _existing(options.source, "archive")
    config = _config(options, needs_method=False)
    from vos_zoo import tasks

    return tasks.run_check_submission(config=config, source=options.source)


def _run_make_data(options: argparse.Namespace) -> int | None:
    config = _config(options, needs_method=False, data=options.kind)
    from vos_zoo import tasks

    return tasks.run_make_data(config=config, kind=options.kind, output=options.output)


if __name__ == "__main__":
    sys.exit(main())
