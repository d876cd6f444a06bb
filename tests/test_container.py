"""The Dockerfile and the citation, parsed: no container is built here."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from vos_zoo import __version__
from vos_zoo.cli import build_parser
from vos_zoo.registry import available_methods, load_method

REPOSITORY = Path(__file__).resolve().parents[1]
INSTRUCTIONS = {"ARG", "FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / "Dockerfile").is_file(), reason="the tests run outside the repository: no Dockerfile"
)


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    """Instruction and text of every step, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_every_step_is_an_instruction_and_the_base_is_an_argument_with_a_fixed_version(
    steps: list[tuple[str, str]],
) -> None:
    assert {word for word, _ in steps} == INSTRUCTIONS
    assert steps[0][0] == "ARG" and steps[1] == ("FROM", "${BASE}")
    name, _, image = steps[0][1].partition("=")
    assert name == "BASE" and re.fullmatch(r"[a-z/.-]+:\d[\w.-]+", image), "a base without a version changes by itself"


def test_everything_that_is_copied_exists_and_is_sent_to_the_builder(steps: list[tuple[str, str]]) -> None:
    sent = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [source for word, text in steps if word == "COPY" for source in text.split()[:-1]]
    assert sorted(copied) == sorted(sent) and all((REPOSITORY / source).exists() for source in copied)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    needed = {project["project"]["readme"], *project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]}
    assert needed <= set(copied), "the build of the wheel lacks something"


def test_layers_hold_no_caches_and_the_command_runs_as_a_user(steps: list[tuple[str, str]]) -> None:
    runs = [text for word, text in steps if word == "RUN"]
    assert all("--no-cache-dir" in run for run in runs if "pip install" in run)
    assert all(
        "--no-install-recommends" in run and "rm -rf /var/lib/apt/lists" in run for run in runs if "apt-get" in run
    )
    words = [word for word, _ in steps]
    assert words.index("USER") < words.index("ENTRYPOINT") and dict(steps)["USER"] not in ("root", "0")
    assert json.loads(dict(steps)["ENTRYPOINT"]) == ["vos-zoo"] and json.loads(dict(steps)["CMD"]) == ["--help"]


def test_the_requirements_of_pytorch_are_those_of_the_package(steps: list[tuple[str, str]]) -> None:
    wanted = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    run = next(text for word, text in steps if word == "RUN" and "TORCH_INDEX" in text)
    assert {need for need in wanted if need.startswith("torch")} >= set(re.findall(r'"(torch[^"]*)"', run))


def test_the_commands_in_its_head_are_understood() -> None:
    text = (REPOSITORY / "Dockerfile").read_text()
    (line,) = re.findall(r"docker run .* vos-zoo (track .*)", text)
    build_parser().parse_args(line.split())


def test_the_citation_names_the_version_and_every_methods_paper() -> None:
    found = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(found) and found["version"] == __version__
    papers = {entry["title"]: (entry["year"], entry["url"]) for entry in found["references"]}
    methods = [load_method(name) for name in available_methods()]
    assert papers == {info.paper: (info.year, info.url) for info in methods}
    assert all(entry["authors"] and entry["conference"]["name"] for entry in found["references"])
