"""A sixth method from a package of its own: the files of docs/adding-a-method.md, built, installed and used."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "adding-a-method.md"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the tests run outside the repository: no page")


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run(*command: str, environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files in `prototype` and the built package in `installed`."""
    folder = tmp_path_factory.mktemp("outside")
    for language in ("toml", "python", "yaml"):
        for block in blocks(language):
            first, _, text = block.partition("\n")
            path = folder / "prototype" / first.removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    target = ["--target", str(folder / "installed"), str(folder / "prototype")]
    run(*pip, *target, environment=dict(os.environ), folder=folder)
    return folder


def test_the_page_lists_the_files_it_gives(work: Path) -> None:
    given = {path.relative_to(work / "prototype").as_posix() for path in (work / "prototype").rglob("*.*")}
    given = {path for path in given if not path.startswith(("build", "dist"))}
    listed = set(re.findall(r"^  (\S+\.\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert given == listed - {"vos_prototype/published.json"}


EVERY_LINE = """
import contextlib, io, json, os, shlex, sys
from pathlib import Path
import pytest
from vos_zoo.cli import main

work, repository, *lines = sys.argv[1:]
said = []
for line in lines:
    program, *words = shlex.split(line)
    os.chdir(work if program == "vos-zoo" else repository)
    with contextlib.redirect_stdout(io.StringIO()) as text:
        code = main(words) if program == "vos-zoo" else pytest.main([*words, "-q", "-p", "no:cacheprovider"])
    said.append(text.getvalue())
    if code:
        sys.exit(f"{line}: exit code {code}\\n{text.getvalue()[-3000:]}")
(Path(work) / "said.json").write_text(json.dumps(said))
"""


def test_the_commands_of_the_page_run_and_the_method_passes_the_contract_suite(work: Path) -> None:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith(("vos-zoo", "pytest"))]
    assert [line.split()[1] for line in commands[:-1]] == ["models", "fit", "test", "leaderboard"]
    paths = [str(work / "installed"), str(REPOSITORY / "src"), str(REPOSITORY)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    script = [sys.executable, "-c", EVERY_LINE, str(work), str(REPOSITORY), *commands]
    run(*script, environment=environment, folder=work)  # one process: the package is found when it starts
    models, fit, test, leaderboard, contract = json.loads((work / "said.json").read_text())
    assert re.search(r"^prototype +2026 +Prototype", models, re.MULTILINE)
    assert re.search(r"steps +40", fit)
    learned = re.search(r"J&F ([\d.]+); copying the first mask gives", test)
    assert learned is not None and float(learned[1]) > 1, "who sees nothing has 0"
    assert re.search(r"^prototype +runs/first/model", leaderboard, re.MULTILINE)
    assert (work / "runs" / "first" / "model" / "config.json").is_file()
    passed = re.search(r"(\d+) passed", contract)
    assert passed is not None and int(passed[1]) > 15, contract[-2000:]


def test_modules_that_have_moved_import_under_their_old_names_with_a_warning():
    code = (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    from vos_zoo.core.target_model import TargetModel\n"
        "    from vos_zoo.core import views\n"
        "import vos_zoo.engine.target_model as new\n"
        "assert new.TargetModel is TargetModel and views.FullFrame\n"
        "assert 'vos_zoo.core.target_model is now vos_zoo.engine.target_model' in [str(w.message) for w in caught]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
