"""The wheel, built from the source archive: installed in a folder of its own, it works from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from vos_zoo import __version__
from vos_zoo.registry import available_methods
from vos_zoo.resources import variants

REPOSITORY = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "pyproject.toml").is_file(), reason="the tests run outside the repository: nothing to build"
)


def _run(*command: str | Path, **options: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, made from the source archive, so that both are proved complete."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY)
    assert (folder / f"vos_zoo-{__version__}.tar.gz").is_file()
    return next(folder.glob("vos_zoo-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A fresh folder with the wheel installed and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


def test_the_wheel_carries_all_code_configurations_and_cards_unchanged(wheel):
    wanted = {
        f"vos_zoo/{place.removeprefix('src/vos_zoo/')}{path.relative_to(REPOSITORY / place).as_posix()}": path
        for place, pattern in (("src/vos_zoo/", name) for name in ("*.py", "py.typed", "*.json", "*.css", "*.js"))
        for path in (REPOSITORY / place).rglob(pattern)
    }
    for place in ("configs", "model_cards"):
        for path in (REPOSITORY / place).rglob("*"):
            if path.is_file():
                wanted[f"vos_zoo/{path.relative_to(REPOSITORY).as_posix()}"] = path
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert not set(wanted) - names
        assert all(archive.read(name) == path.read_bytes() for name, path in wanted.items())
        assert any(name.endswith("licenses/LICENSE") for name in names)
        assert not [name for name in names if not name.startswith(("vos_zoo/", "vos_zoo-"))]


def test_the_installed_command_lists_the_methods_from_an_empty_folder(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    home = _run(sys.executable, "-c", "import vos_zoo; print(vos_zoo.__file__)", cwd=tmp_path, env=environment)
    assert Path(home.strip()).is_relative_to(installed), "the test would read the repository's code"
    table = _run(sys.executable, installed / "bin" / "vos-zoo", "models", cwd=tmp_path, env=environment)
    rows = {row.split()[0]: row.split() for row in table.splitlines()[1:]}
    assert sorted(rows) == sorted([*available_methods(), *variants()])
    assert all(row[-2:] == ["yes", "yes"] for row in rows.values()), "a configuration or a card is not found"


def test_the_installed_package_loads_every_configuration_from_its_own_folder(installed, tmp_path):
    script = (
        "from vos_zoo.config import config_folder, load_config\n"
        "from vos_zoo.registry import available_methods\n"
        "print(config_folder()); [load_config(method) for method in available_methods()]"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    folder = _run(sys.executable, "-c", script, cwd=tmp_path, env=environment)
    assert Path(folder.strip()) == installed / "vos_zoo" / "configs"
