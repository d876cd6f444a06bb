"""Options shared by commands, and the format of a command's help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from vos_zoo.config.resources import available_data, variants
from vos_zoo.registry import available_methods
from vos_zoo.types import UsageError

OVERRIDES = "Every key=value overrides a key of the configuration, with dots between its parts: data.batch_size=4."


class Parser(argparse.ArgumentParser):
    """A parser that raises `UsageError`, so that all errors are printed in one place."""

    def error(self, message: str) -> NoReturn:
        """Raise what `main` prints."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def command(
    commands: Any,
    name: str,
    handler: Callable[[argparse.Namespace], int | None],
    summary: str,
    *examples: str,
    overridable: bool = True,
) -> argparse.ArgumentParser:
    """Add a subcommand with its examples and `--debug`; `overridable` ones take key=value."""
    method = next(iter(available_methods()), "METHOD")
    lines = [f"  vos-zoo {name} {example.replace('METHOD', method)}".rstrip() for example in examples]
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog="\n".join(["examples:", *lines, *(["", OVERRIDES] if overridable else [])]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(handler=handler, overridable=overridable)
    return parser


def method_names() -> list[str]:
    """The names of all methods and of their variants."""
    return sorted([*available_methods(), *variants()])


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model`."""
    parser.add_argument("--model", metavar="METHOD", help=f"the method: {', '.join(method_names())}")


def add_weights(parser: argparse.ArgumentParser, required: bool) -> None:
    """`--weights`."""
    text = (
        "a model folder, a checkpoint, a name that `vos-zoo weights` lists, a hub name, or an address with "
        "#sha256=DIGEST; except for the last two, --model may be left out"
    )
    parser.add_argument("--weights", metavar="PATH|NAME", required=required, help=text)


def add_config(parser: argparse.ArgumentParser, data: bool = True) -> None:
    """`--data`, `--recipe` and `--config`."""
    if data:
        parser.add_argument(
            "--data",
            metavar="NAME",
            help=f"the data set: {', '.join(available_data())} (default: synthetic)",
        )
    parser.add_argument(
        "--recipe", metavar="NAME", help="a file of configs/recipe/METHOD: one training stage, or a list of stages"
    )
    text = "a YAML file over the defaults; may be repeated, later wins"
    parser.add_argument("--config", metavar="FILE", action="append", default=[], help=text)


def finish(parser: argparse.ArgumentParser) -> None:
    """Remember the option names for suggestions, and show key=value in the usage line."""
    actions = [option for action in parser._actions for option in action.option_strings]
    parser.set_defaults(known=actions)
    if parser.get_default("overridable"):
        parser.usage = parser.format_usage().removeprefix("usage: ").rstrip() + " [key=value ...]"
