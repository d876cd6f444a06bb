"""Shell completion, asked as a shell asks: words so far in, words that fit out."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from vos_zoo.cli import build_parser, main
from vos_zoo.cli.completion import completion_script
from vos_zoo.registry import available_methods

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def completed(shell: str, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    script = completion_script(shell, build_parser()).removeprefix("autoload -Uz compinit bashcompinit && compinit && ")
    script = script.removeprefix("bashcompinit\n")
    given = " ".join(f"'{word}'" for word in ("vos-zoo", *words))
    ask = f"COMP_WORDS=({given}); COMP_CWORD={len(words)}; _vos_zoo; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_commands_options_and_names_are_completed(shell: str) -> None:
    assert completed(shell, "tr") == ["track"]
    assert completed(shell, "track", "video.mp4", "--ov") == ["--overlay"]
    assert set(completed(shell, "fit", "--model", "")) >= set(available_methods())
    assert "joint-small" in completed(shell, "track", "--weights", "joint-s")
    assert completed(shell, "score", "masks", "--missing", "r") == ["refuse"]
    assert completed(shell, "fit", "--recipe", "quick") == ["quickstart"]
    assert completed(shell, "track", "video.mp4", "fra") == [], "files are the shell's own affair"


def test_the_script_is_printed_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--completion", "bash"])
    assert ended.value.code == 0 and capsys.readouterr().out.endswith("complete -o default -F _vos_zoo vos-zoo\n")
    assert main(["--completion", "fish"]) == 2
    assert "choose from" in capsys.readouterr().err
