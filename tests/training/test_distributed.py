"""Two processes under torchrun (gloo, CPU): the gradients of one process with the doubled batch, the same scores."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.run import get_args_parser as torchrun_parser

from tests.helpers import two_processes
from tests.helpers.runs import torchrun
from vos_zoo.cli import build_parser
from vos_zoo.config.layers import check_signatures, load_config
from vos_zoo.model import VOSModel
from vos_zoo.processes import check_run_name, fill_in_processes, processes
from vos_zoo.types import UsageError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What two processes left behind, and what one did in this process."""
    both, alone = tmp_path_factory.mktemp("both"), tmp_path_factory.mktemp("alone")
    (both / "said.txt").write_text(torchrun(2, "tests.helpers.two_processes", both))
    two_processes.run(alone)
    return both, alone


def load(folder: Path, case: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / f"{case}.pt", weights_only=True)
    return found


def distance(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """Largest difference of a tensor, relative to its norm."""
    assert one.keys() == two.keys() and len(one) > 10
    return max(float((one[name] - two[name]).norm() / two[name].norm().clamp(min=1e-12)) for name in two)


def test_two_processes_have_the_gradients_and_losses_of_one_with_the_doubled_batch(folders: tuple[Path, Path]) -> None:
    both, alone = (load(folder, "means") for folder in folders)
    assert distance(both["gradients"], alone["gradients"]) < 2e-4
    assert both["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    assert len(both["losses"]) == 2
    moved = max(float((both["weights"][name] - tensor).abs().max()) for name, tensor in alone["weights"].items())
    assert moved < 2 * 2 * 1e-4  # Adam moves each weight by at most its rate per step, whatever the gradient's size


def test_a_loss_that_is_no_mean_over_clips_differs_between_one_and_two_processes(folders: tuple[Path, Path]) -> None:
    both, alone = (load(folder, "dice") for folder in folders)
    assert distance(both["gradients"], alone["gradients"]) > 1e-3


def test_a_run_of_two_processes_is_written_once_and_logs_the_mean_loss(folders: tuple[Path, Path]) -> None:
    both, alone = folders
    assert json.loads((both / "codes.json").read_text()) == [0, 0, 0]
    assert json.loads((alone / "codes.json").read_text()) == [0]
    assert len(json.loads((both / "a" / "run.json").read_text())) == 1
    said = (both / "said.txt").read_text()
    assert said.count("2 clips per step: 2 processes x 1 clips x 1 batches") == 1
    logged = []
    for folder in folders:
        with open(folder / "a" / "logs" / "version_0" / "metrics.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        logged.append({key: [float(row[key]) for row in rows if row.get(key)] for key in ("train/loss_step", "val/J")})
    assert logged[0]["train/loss_step"] == pytest.approx(logged[1]["train/loss_step"], rel=1e-3)
    assert logged[0]["val/J"] == pytest.approx(logged[1]["val/J"], abs=0.02)
    assert VOSModel.from_pretrained(both / "a" / "model").method == "lwl"


@pytest.mark.parametrize("command", ["validate", "test"])
def test_two_processes_score_what_one_scores(folders: tuple[Path, Path], tmp_path: Path, command: str) -> None:
    both = folders[0]
    words = ["--model", "lwl", "--recipe", "quickstart", *two_processes.TINY, "data.synthetic.val_videos=3"]
    words += ["data.synthetic.test_videos=3", f"output={tmp_path}"]
    weights = ["--weights", str(both / "a" / "model"), "--output", str(tmp_path / command)]
    assert two_processes.main([command, *words, *weights]) == 0
    shared, own = (json.loads((folder / command / "scores.json").read_text()) for folder in (both, tmp_path))
    assert list(shared["sequences"]) == list(own["sequences"]) and len(own["sequences"]) == 3
    assert (both / command / "objects.csv").read_text() == (tmp_path / command / "objects.csv").read_text()
    if command == "test":
        masks = sorted(path.relative_to(both / command) for path in (both / command / "masks").rglob("*.png"))
        own_masks = (tmp_path / command / "masks").rglob("*.png")
        assert masks == sorted(path.relative_to(tmp_path / command) for path in own_masks) and len(masks) == 36


def test_processes_are_found_in_what_torchrun_slurm_and_lightning_set() -> None:
    assert processes({}) == (1, 0)
    assert processes({"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}) == (8, 5)
    assert processes({"SLURM_NTASKS": "16", "SLURM_PROCID": "3", "SLURM_JOB_NAME": "train"}) == (16, 3)
    assert processes({"SLURM_NTASKS": "16", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"}) == (1, 0)
    assert processes({"LOCAL_RANK": "1"}) == (1, 1)


def test_torchrun_says_how_many_devices_and_nodes_there_are() -> None:
    options = {"devices": 1, "max_epochs": 3}
    assert fill_in_processes(options, {}) == options
    found = fill_in_processes(options, {"LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"})
    assert found == {"devices": 4, "num_nodes": 2, "max_epochs": 3}


@pytest.mark.parametrize(
    ("options", "environ"),
    [({"devices": 2}, {}), ({"devices": -1}, {}), ({"num_nodes": 2}, {}), ({}, {"WORLD_SIZE": "2", "RANK": "0"})],
)
def test_several_processes_need_the_name_of_their_run(options: dict[str, Any], environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="give run_name=NAME"):
        check_run_name(None, options, environ)
    check_run_name("a", options, environ)
    check_run_name(None, {"devices": 1}, {})


def test_the_printed_lines_for_several_processes_and_nodes_are_understood() -> None:
    text = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    checked = {"torchrun": 0, "srun": 0, "#SBATCH": 0}
    for line in lines:
        words = shlex.split(line.replace("#SBATCH", "SBATCH"))
        if words[0] == "torchrun":
            options = torchrun_parser().parse_args(words[1:])
            assert options.module and options.training_script == "vos_zoo.cli"
            words = ["vos-zoo", *options.training_script_args]
        elif words[0] == "srun":
            words = words[1:]
        elif words[0] == "SBATCH":
            asked = dict(word.removeprefix("--").split("=") for word in words[1:])
            checked["#SBATCH"] += 1
            continue
        assert words[0] == "vos-zoo"
        options, overrides = build_parser().parse_known_args(words[1:])
        config = load_config(
            "lwl" if options.command == "test" else options.model, options.data, options.recipe, (), overrides
        )
        check_signatures(config)
        kind = line.split()[0]
        if kind in checked:
            checked[kind] += 1
            assert options.command != "fit" or config.run_name
        if kind == "srun":
            assert str(config.trainer["devices"]) == asked["ntasks-per-node"] == asked["gpus-per-node"]
            assert str(config.trainer["num_nodes"]) == asked["nodes"]
    assert checked == {"torchrun": 3, "srun": 2, "#SBATCH": 1}
