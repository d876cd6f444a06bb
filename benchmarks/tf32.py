"""What TF32 changes in labels, emulated on a CPU: factors of products and convolutions rounded to 10 bits of mantissa.

    python benchmarks/tf32.py --models lwl,joint,llb,pcvos

The golden sequences are tracked in float32 and with rounded inputs, by the plain forms of all layers. Sums stay in
float32, as on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.common import REPOSITORY, one_thread
from benchmarks.gpu_parity import golden_sequences
from vos_zoo.nn.cpu.accelerate import plain_cpu

FACTORS = {
    "convolution": (0, 1),
    "mm": (0, 1),
    "bmm": (0, 1),
    "addmm": (1, 2),
    "baddbmm": (1, 2),
    "addmm_": (1, 2),
    "baddbmm_": (1, 2),
    "_scaled_dot_product_flash_attention_for_cpu": (0, 1, 2),
}
"""Operator -> positions of the factors among its arguments."""


def tf32(x: Tensor) -> Tensor:
    """A float32 tensor rounded to 10 bits of mantissa, halves away from zero."""
    if x.dtype != torch.float32:
        return x
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


class Rounded(TorchDispatchMode):
    """Factors of products and convolutions are rounded.

    Attributes:
        counts: operator -> calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator."""
        name = func.overloadpacket.__name__
        places = FACTORS.get(name, ())
        if places:
            self.counts[name] = self.counts.get(name, 0) + 1
            args = tuple(tf32(value) if place in places else value for place, value in enumerate(args))
        return func(*args, **(kwargs or {}))


def measure(method: str, reference: Path) -> dict[str, dict[str, float]]:
    """Sequence -> share of equal labels in all frames, and in the worst one."""
    found = {}
    for name, (model, frames, prompts) in golden_sequences(method, reference).items():
        plain_cpu(model)
        expected = [result.label_map() for result in model.track(frames, prompts)]
        with Rounded() as rounded:
            own = [result.label_map() for result in model.track(frames, prompts)]
        assert rounded.counts.get("convolution"), "nothing was rounded"
        shares = [float((a == b).mean()) for a, b in zip(expected, own, strict=True)]
        found[name] = {"frames": len(shares), "equal_labels": float(np.mean(shares)), "worst_frame": min(shares)}
        sys.stdout.write(f"{method} {name}: {json.dumps(found[name])}\n")
        sys.stdout.flush()
    return found


def main() -> None:
    """Measure, print a line per sequence, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="lwl,joint,llb,pcvos", help="methods, with commas")
    default = REPOSITORY.parent / "shared" / "reference"
    parser.add_argument("--reference", default=os.environ.get("VOS_ZOO_REFERENCE", str(default)))
    parser.add_argument("--output", default=str(REPOSITORY / "benchmarks" / "results" / "tf32.json"))
    options = parser.parse_args()
    one_thread()
    found = {method: measure(method, Path(options.reference)) for method in options.models.split(",")}
    Path(options.output).write_text(json.dumps({"torch": torch.__version__, "sequences": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
