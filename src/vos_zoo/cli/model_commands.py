"""The commands that try and measure models: quickstart, benchmark, export."""

from __future__ import annotations

import argparse
from typing import Any

from vos_zoo.cli.handlers import configuration
from vos_zoo.cli.options import add_config, add_weights, command, finish
from vos_zoo.config.settings.generated import MAX_OBJECTS
from vos_zoo.types import UsageError


def quickstart(commands: Any) -> None:
    """All of it on what ships."""
    parser = command(
        commands,
        "quickstart",
        run_quickstart,
        "try everything in two minutes: track the sample clip with all shipped weights, train, test, compare",
        "",
        "--output runs/quickstart --train NAME",
        overridable=False,
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        default="runs/quickstart",
        help="where all results are written (default: runs/quickstart); what is there is not computed again",
    )
    parser.add_argument(
        "--train",
        metavar="NAME",
        help="shipped weights to train further (default: those with the best score)",
    )
    finish(parser)


def benchmark(commands: Any) -> None:
    """Speed and memory."""
    parser = command(
        commands,
        "benchmark",
        run_benchmark,
        "measure frames per second and memory of weights on generated video; the board shows the records",
        "--weights NAME,OTHER --objects 1,5 --size 480",
        "--weights runs/NAME/model --frames 50 track.precision=bf16",
    )
    parser.add_argument("--weights", metavar="NAMES", required=True, help="names, folders or files, with commas")
    parser.add_argument("--objects", metavar="NUMBERS", default="1", help="of objects, with commas (default: 1)")
    parser.add_argument(
        "--size", metavar="PIXELS", type=int, default=480, help="height of the frames, at 16:9 (default: 480)"
    )
    parser.add_argument(
        "--warm-up", metavar="N", type=int, default=10, help="frames before the measurement (default: 10)"
    )
    parser.add_argument("--frames", metavar="N", type=int, default=20, help="frames that are measured (default: 20)")
    parser.add_argument("--output", metavar="FOLDER", help="where the records are written (default: a folder in runs)")
    add_config(parser, data=False)
    finish(parser)


def export(commands: Any) -> None:
    """ONNX files."""
    parser = command(
        commands,
        "export",
        run_export,
        "write a model's steps of a frame as ONNX files, checked against torch, with a tracker that needs no torch",
        "--weights NAME --objects 1 --size 360x640 --output exported",
        overridable=False,
    )
    add_weights(parser, required=True)
    parser.add_argument("--objects", metavar="N", type=int, default=1, help="number of objects (default: 1)")
    parser.add_argument(
        "--size", metavar="HEIGHTxWIDTH", default="360x640", help="size of the frames (default: 360x640)"
    )
    parser.add_argument("--output", metavar="FOLDER", required=True, help="the folder to write")
    finish(parser)


def run_quickstart(options: argparse.Namespace) -> int | None:
    """Track, train, test and compare with what ships."""
    from vos_zoo import tasks

    return tasks.run_quickstart(output=options.output, train=options.train, command=options.line)


def run_benchmark(options: argparse.Namespace) -> int | None:
    """Measure speed and memory."""
    objects = [_whole(word, "--objects", 1, MAX_OBJECTS) for word in options.objects.split(",")]
    _whole(options.size, "--size", 32, 4096)
    _whole(options.warm_up, "--warm-up", 1, 10_000)
    _whole(options.frames, "--frames", 1, 10_000)
    names = [name for name in options.weights.split(",") if name]
    configs = {name: configuration(argparse.Namespace(**{**vars(options), "weights": name})) for name in names}
    from vos_zoo import tasks

    return tasks.run_benchmark(
        configs=configs,
        objects=objects,
        size=options.size,
        warm_up=options.warm_up,
        frames=options.frames,
        output=options.output,
    )


def _whole(value: object, option: str, least: int, most: int) -> int:
    """A whole number of an option, checked against its bounds."""
    text = str(value).strip()
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(f"{option}: {text!r} must be a whole number from {least} to {most}")
    return int(text)


def run_export(options: argparse.Namespace) -> int | None:
    """Export a model."""
    height, sign, width = options.size.partition("x")
    size = (_whole(height, "--size", 32, 4096), _whole(width if sign else "", "--size", 32, 4096))
    objects = _whole(options.objects, "--objects", 1, 254)
    from vos_zoo import tasks

    return tasks.run_export(weights=options.weights, output=options.output, objects=objects, size=size)
