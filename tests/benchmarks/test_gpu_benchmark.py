"""The GPU benchmark, rehearsed on the CPU with small networks; on CUDA where there is a device."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import gpu, gpu_parity


def test_the_rehearsal_measures_everything_once_and_equals_the_cpu_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--device", "cpu", "--small", "--models", "lwl", "--batch", "1", "--steps", "1", "--workers", "0"]
    words += ["--precisions", "bf16", "--output", str(tmp_path / "cpu.json")]
    assert gpu.main(words) == 0
    found = json.loads((tmp_path / "cpu.json").read_text())
    assert found["device"] == "cpu"
    own = found["cases"]
    exact = {"equal_labels": 1.0, "probabilities": 0.0, "passed": True}
    assert own["parity: lwl"]["generated"]["float32"] == own["parity: lwl"]["generated"]["tf32"] == exact
    assert own["step: lwl"]["gradient_cosine"] == pytest.approx(1, abs=1e-6)
    assert own["training: lwl, bf16"]["clips_per_second"] > 0
    assert 0 <= own["training: lwl, loader"]["data_wait"] <= 1
    assert [key for key in own if key.startswith("tracking")] == [f"tracking: lwl, {n} objects, bf16" for n in (1, 5)]
    kinds = list(dict.fromkeys(key.split(":")[0] for key in own))
    assert kinds == list(gpu.SHARES)

    def measured_again(*_: object, **__: object) -> None:
        raise AssertionError("only what is missing is measured")

    monkeypatch.setattr(gpu_parity, "step_parity", measured_again)
    monkeypatch.setattr(gpu.gpu_speed, "training", measured_again)
    assert gpu.main(words) == 0 and json.loads((tmp_path / "cpu.json").read_text()) == found
    rows = gpu.table(found).splitlines()
    assert len(rows) == 4 and rows[0] == "| cpu | objects | bf16 |" and rows[2].startswith("| lwl | 1 | ")


def test_no_case_begins_after_its_time(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--small", "--models", "lwl", "--minutes", "0", "--output", str(tmp_path / "none.json")]
    assert gpu.main(words) == 0
    assert not (tmp_path / "none.json").exists()


@pytest.mark.parametrize("method", ["lwl", "joint", "llb", "pcvos"])
def test_every_golden_sequence_that_starts_from_masks_is_run(
    reference_dir: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.parity.golden.fill_weights", lambda *_, **__: {})
    monkeypatch.setattr(gpu_parity, "convert_checkpoint", lambda *_, **__: torch.nn.Identity())
    cases = gpu_parity.golden_sequences(method, reference_dir)
    files = [path.stem for path in (reference_dir / method).glob("sequence*.npz") if not path.stem.endswith("_box")]
    assert files and {name.split()[0] for name in cases} == set(files)
    for _, frames, prompts in cases.values():
        assert min(prompts) == 0 and max(prompts) < len(frames)
        ids = [set(np.unique(prompt)) - {0} for prompt in prompts.values()]
        assert all(ids) and all(prompt.shape == frames[0].shape[:2] for prompt in prompts.values())
        assert len(set.union(*ids)) == sum(map(len, ids)), "an object is given once"


def test_a_comparison_that_fails_anywhere_fails_the_benchmark() -> None:
    good = {"a": {"passed": True, "b": {"passed": True}}, "c": 1}
    assert gpu.passed(good)
    assert not gpu.passed({**good, "d": {"e": {"passed": False}}})
    one, two = (torch.zeros(2, 4, 4) for _ in range(2))
    two[1] = 1.0

    class Result:
        def __init__(self, probabilities: torch.Tensor) -> None:
            self.probabilities = probabilities

        def label_map(self) -> object:
            return self.probabilities.argmax(0).numpy()

    assert gpu_parity.compare_tracks([Result(one)], [Result(two)]) == {"equal_labels": 0.0, "probabilities": 0.5}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_the_rehearsal_passes_on_a_gpu(tmp_path: Path) -> None:
    assert gpu.main(["--device", "cuda", "--small", "--steps", "1", "--output", str(tmp_path / "cuda.json")]) == 0
