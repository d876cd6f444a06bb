"""The wheel, built from the source archive: installed in a folder of its own, it works from anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.helpers.contract_settings import BY_METHOD
from tests.helpers.shipped import ship_into, ship_small
from vos_zoo import __version__
from vos_zoo.config.resources import variants
from vos_zoo.registry import available_methods

REPOSITORY = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "pyproject.toml").is_file(), reason="the tests run outside the repository: nothing to build"
)

KINDS = ("*.py", "py.typed", "*.json", "*.css", "*.js", "*.html", "*.svg")
"""The files of the package."""


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
        for place, pattern in (("src/vos_zoo/", name) for name in KINDS)
        for path in (REPOSITORY / place).rglob(pattern)
    }
    for place, parent in (
        ("configs", REPOSITORY),
        ("model_cards", REPOSITORY),
        ("shipped", REPOSITORY / "src/vos_zoo"),
    ):
        for path in (parent / place).rglob("*"):
            if path.is_file():
                wanted[f"vos_zoo/{path.relative_to(parent).as_posix()}"] = path
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert not set(wanted) - names
        assert all(archive.read(name) == path.read_bytes() for name, path in wanted.items())
        assert any(name.endswith("licenses/LICENSE") for name in names)
        assert any(name.endswith("licenses/src/vos_zoo/shipped/LICENSE.md") for name in names)
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
        assert "License-Expression: Apache-2.0 AND CC-BY-NC-4.0\n" in metadata
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
        "from vos_zoo.config.layers import config_folder, load_config\n"
        "from vos_zoo.registry import available_methods\n"
        "print(config_folder()); [load_config(method) for method in available_methods()]"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    folder = _run(sys.executable, "-c", script, cwd=tmp_path, env=environment)
    assert Path(folder.strip()) == installed / "vos_zoo" / "configs"


@pytest.fixture(scope="module")
def installed_with_weights(installed, tmp_path_factory) -> Path:
    """The installed package, with small weights of every method in place of those that ship."""
    folder = tmp_path_factory.mktemp("fresh")
    shutil.copytree(installed, folder, dirs_exist_ok=True)
    for path in (folder / "vos_zoo" / "shipped").glob("*/"):
        shutil.rmtree(path)
    with pytest.MonkeyPatch.context() as patch:
        ship_into(folder / "vos_zoo" / "shipped", patch)
        for method in sorted(BY_METHOD):
            boxes, share = method == "lwl", "network.backbone." if method == "lwl" else None
            ship_small(method, tmp_path_factory.mktemp(method), f"tiny-{method}", boxes=boxes, share=share)
    return folder


OFFLINE = """
import socket
def refuse(*_, **__):
    raise SystemExit("something asked the network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
import sys
"""
EVERY_METHOD = """
from pathlib import Path
import numpy as np
import vos_zoo
from vos_zoo.hub.weights import shipped_weights
assert Path(vos_zoo.__file__).is_relative_to(sys.argv[1])
frames = np.random.default_rng(0).integers(0, 255, (4, 64, 96, 3), dtype=np.uint8)
mask = np.zeros((64, 96), np.uint8)
mask[20:40, 30:60] = 1
for local in shipped_weights():
    model = vos_zoo.VOSModel.from_pretrained(local.known.name)
    for prompt in (mask, {1: (30, 20, 30, 20)}):
        print(local.known.name, len(list(model.track(frames, {0: prompt}))))
"""


COMMANDS = """
from vos_zoo.cli import main
for words in (["weights"], ["test", "--weights", "tiny-joint", "--output", "out", *sys.argv[2:]]):
    if code := main(words):
        sys.exit(code)
"""


def test_after_installation_shipped_weights_work_by_name_without_a_network(installed_with_weights, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed_with_weights), "VOS_ZOO_HOME": str(tmp_path / "home")}
    videos = ["size=[48,80]", "frames=4", "test_videos=1"]
    words = ["--data", "synthetic", *(f"data.synthetic.{word}" for word in videos)]
    script = [sys.executable, "-c", OFFLINE + EVERY_METHOD + COMMANDS, installed_with_weights, *words]
    lines = _run(*script, cwd=tmp_path, env=environment).splitlines()
    assert lines[:10] == [f"tiny-{method} 4" for method in sorted(BY_METHOD) for _ in range(2)]
    assert [row.split()[:3] for row in lines[11:16]] == [[f"tiny-{m}", m, "ready"] for m in sorted(BY_METHOD)]
    assert (tmp_path / "out" / "record.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "nothing is written beside what was asked for"
