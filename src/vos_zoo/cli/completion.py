"""`vos-zoo --completion bash|zsh`: a completion script, made from the parsers and the registries."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from vos_zoo.cli.options import method_names
from vos_zoo.config.resources import config_folder
from vos_zoo.hub.weights import known_weights

SHELLS = ("bash", "zsh")
_ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"
_SCRIPT = """_vos_zoo() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} words=""
  case "$prev" in
{values}
  esac
  if [ -z "$words" ]; then
    case "${{COMP_WORDS[1]}}" in
{options}
    esac
  fi
  if [ "$COMP_CWORD" -eq 1 ]; then words="{commands}"; fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _vos_zoo vos-zoo
"""


class Completion(argparse.Action):
    """Prints the script and exits, as `--version` does."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        """Print the script of the shell `values`."""
        sys.stdout.write(completion_script(str(values), parser))
        parser.exit()


def completion_script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script for "bash" or "zsh": commands, their options, and the values of options that are known by name.

    Other values are files.
    """
    commands = _commands(parser)
    values: dict[str, Iterable[str]] = {
        "--model": method_names(),
        "--weights": [local.known.name for local in known_weights()],
        "--data": sorted(path.stem for path in (config_folder() / "data").glob("*.yaml")),
        "--recipe": sorted({path.stem for path in (config_folder() / "recipe").glob("*/*.yaml")}),
    }
    actions = [action for command in commands.values() for action in command._actions if action.choices]
    values |= {option: list(map(str, action.choices or ())) for action in actions for option in action.option_strings}
    script = _SCRIPT.format(
        values="\n".join(f'    {option}) words="{" ".join(words)}" ;;' for option, words in values.items()),
        options="\n".join(f'      {name}) words="{" ".join(_options(each))}" ;;' for name, each in commands.items()),
        commands=" ".join([*commands, *_options(parser)]),
    )
    return (_ZSH if shell == "zsh" else "") + script


def _commands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
