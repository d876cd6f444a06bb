"""What `test_distributed` runs under torchrun: training steps, `fit`, `validate` and `test`, by two processes.

torchrun --nproc-per-node 2 -m tests.helpers.two_processes FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from tests.helpers.contract_settings import build
from tests.helpers.runs import TINY
from vos_zoo.cli import main
from vos_zoo.data.datamodule import VOSDataModule
from vos_zoo.processes import fill_in_processes, processes

CASES: dict[str, dict[str, Any]] = {
    "means": {"losses": {"lovasz": 1.0, "bce": 1.0, "cosine": 1.0}},
    "dice": {"losses": {"dice": 1.0}},
}
"""Loss terms of JOINT: means over clips, of pixels alone and of all pixels of a clip, and one that is no such mean."""


class Steps(pl.Callback):
    """The gradients of the first step, and the losses of all."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}
        self.losses: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if not self.gradients:
            named = pl_module.network.named_parameters()
            self.gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss"]))


def train(folder: Path, case: str, batch_size: int) -> dict[str, Any]:
    """Two steps of JOINT, tiny; returns what the first step and the end looked like."""
    pl.seed_everything(0, verbose=False)
    model = build("joint", optim={"groups": {"decoder": 1e-4, "label_encoder": 1e-4}}, **CASES[case])
    data = VOSDataModule(
        batch_size=batch_size,
        workers=0,
        batches_per_epoch=2,
        crop={"size": [64, 96]},
        sampling={"query_frames": 2},
        synthetic={"size": [48, 80], "frames": 12, "train_videos": 3},
    )
    steps = Steps()
    options = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "limit_val_batches": 0, "logger": False}
    options |= {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = pl.Trainer(default_root_dir=folder, callbacks=[steps], **fill_in_processes(options))
    trainer.fit(model, data)
    weights = {name: p.detach().clone() for name, p in model.network.named_parameters() if p.requires_grad}
    return {"gradients": steps.gradients, "losses": steps.losses, "weights": weights}


def run(folder: Path) -> None:
    """Everything, in one start of the processes; one alone does not evaluate."""
    size, rank = processes()
    batch = 2 // size
    for case in CASES:
        found = train(folder, case, batch)
        if rank == 0:
            torch.save(found, folder / f"{case}.pt")
    words = ["--model", "lwl", "--recipe", "quickstart", *TINY, "data.synthetic.val_videos=3"]
    words += ["data.synthetic.test_videos=3", f"output={folder}", "logger.name=csv", f"data.batch_size={batch}"]
    short = ["trainer.max_epochs=1", "data.batches_per_epoch=2", "trainer.enable_progress_bar=false"]
    codes = [main(["fit", *words, *short, "run_name=a", "model.losses={bce: 1.0}"])]
    for command in ("validate", "test") if size > 1 else ():
        results = ["--weights", str(folder / "a" / "model"), "--output", str(folder / command)]
        codes.append(main([command, *words, *results]))
    if rank == 0:
        (folder / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    run(Path(sys.argv[1]))
