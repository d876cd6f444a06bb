"""What `test_idle_processes` runs under torchrun: `fit` by three processes with fewer videos than that.

torchrun --nproc-per-node 3 -m tests.helpers.three_processes FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.helpers.runs import TINY, small
from vos_zoo.cli import main
from vos_zoo.processes import processes

LWL = ["--model", "lwl", "--recipe", "quickstart", *TINY, "model.losses={bce: 1.0}"]
GIEL = ["--model", "giel", "--recipe", "quickstart", *small("giel"), "data.frame.empty=true"]
SHORT = ["trainer.max_epochs=1", "data.batch_size=1", "data.batches_per_epoch=1", "logger.name=csv"]
SHORT += ["data.synthetic.min_objects=1", "data.synthetic.max_objects=1", "logger.images=0"]
RUNS = {
    "two": [*LWL, *SHORT, "data.synthetic.val_videos=2"],
    "one": [*LWL, *SHORT, "data.synthetic.val_videos=1"],
    "empty": [*GIEL, *SHORT, "data.synthetic.val_videos=1"],
}
"""Runs by name: two videos, one, and clips without an object."""


def run(folder: Path, *names: str) -> None:
    """The runs `names`, into folders of these names."""
    codes = [main(["fit", *RUNS[name], f"output={folder}", f"run_name={name}"]) for name in names]
    if processes()[1] == 0:
        (folder / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    run(Path(sys.argv[1]), *RUNS)
