"""A sixth method from a package of its own: the files of docs/adding-a-method.md, built, installed and used."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def environment(work: Path) -> dict[str, str]:
    """The package is on the path, and so is the code under test."""
    paths = [str(work / "installed"), str(REPOSITORY / "src"), str(REPOSITORY)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def test_the_page_lists_the_files_it_gives(work: Path) -> None:
    given = {path.relative_to(work / "prototype").as_posix() for path in (work / "prototype").rglob("*.*")}
    given = {path for path in given if not path.startswith(("build", "dist"))}
    listed = set(re.findall(r"^  (\S+\.\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert given == listed - {"vos_prototype/published.json"}


def test_the_commands_of_the_page_run_from_an_empty_folder(work: Path, environment: dict[str, str]) -> None:
    commands = [line for block in blocks("console") for line in block.splitlines() if line.startswith("vos-zoo")]
    assert [line.split()[1] for line in commands] == ["models", "fit", "test", "leaderboard"]
    said = {}
    for line in commands:
        words = shlex.split(line)[1:]
        said[words[0]] = run(sys.executable, "-m", "vos_zoo.cli", *words, environment=environment, folder=work)
    assert re.search(r"^prototype +2026 +Prototype", said["models"], re.MULTILINE)
    assert re.search(r"steps +40", said["fit"])
    learned = re.search(r"J&F ([\d.]+); copying the first mask gives", said["test"])
    assert learned is not None and float(learned[1]) > 1, "who sees nothing has 0"
    assert re.search(r"^prototype +runs/first/model", said["leaderboard"], re.MULTILINE)
    assert (work / "runs" / "first" / "model" / "config.json").is_file()


def test_the_method_passes_the_contract_suite(work: Path, environment: dict[str, str]) -> None:
    (line,) = [line for block in blocks("console") for line in block.splitlines() if line.startswith("pytest")]
    words = [*shlex.split(line)[1:], "-q", "-p", "no:cacheprovider"]
    said = run(sys.executable, "-m", "pytest", *words, environment=environment, folder=REPOSITORY)
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None and int(passed[1]) > 15, said[-2000:]


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
