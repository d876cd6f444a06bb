"""Exported steps: every method's files equal torch, and a tracker without torch gives the same label maps."""

from __future__ import annotations

import ast
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.exported import RESULTS, torch_labels
from torch import Tensor

from tests.helpers.contract_settings import build_lively, moving_squares
from vos_zoo.cli import main
from vos_zoo.export.flat import named_tensors, with_tensors
from vos_zoo.export.track_onnx import OnnxTracker
from vos_zoo.hub.weights import shipped_weights
from vos_zoo.model import VOSModel

pytest.importorskip("onnxruntime", reason="the extra export is not installed")
pytest.importorskip("onnxscript", reason="the extra export is not installed")


@pytest.mark.parametrize("method", ["joint", "pcvos"])  # both kinds of canvases; each takes ten seconds
def test_the_exported_steps_track_as_torch_does(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_lively(method).save_pretrained(tmp_path / "model")
    video = moving_squares(9)
    mask, (height, width) = video.labels[0], video.labels[0].shape
    count = len(set(np.unique(mask)) - {0})
    words = ["--weights", str(tmp_path / "model"), "--objects", str(count), "--size", f"{height}x{width}"]
    assert main(["export", *words, "--output", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert all(f"{step}.onnx: differs from torch by" in told for step in ("start", "encode", "read"))
    model = VOSModel.from_pretrained(tmp_path / "model", plain_cpu=True).eval()
    expected = torch_labels(model, list(video.frames), mask)
    found = list(OnnxTracker(tmp_path / "out").track(video.frames, mask))
    assert len(found) == len(expected) == 9
    assert np.mean(np.stack(found) != np.stack(expected)) <= 1e-3
    assert len({labels.tobytes() for labels in expected}) > 2, "nothing moved: the comparison would prove nothing"


@pytest.mark.skipif(not RESULTS.is_file(), reason="the tests run outside the repository: no records of benchmarks")
def test_the_export_of_every_shipped_model_was_compared_on_the_sample_clip() -> None:
    record = json.loads(RESULTS.read_text())
    page = (RESULTS.parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    assert sorted(record) == sorted(local.known.name for local in shipped_weights())
    for name, numbers in record.items():
        assert numbers["frames"] == 50 and numbers["differing_pixels"] <= 1e-3, f"{name}: {numbers}"
        assert numbers["object_pixels_last_frame"] > 10_000, f"{name}: nothing is tracked"
        pixels = round(numbers["differing_pixels"] * numbers["frames"] * numbers["size"][0] * numbers["size"][1])
        assert f"| `{name}` | {pixels} |" in page, "docs/export.md says another number"


def test_the_tracker_imports_no_torch() -> None:
    tree = ast.parse(Path(sys.modules[OnnxTracker.__module__].__file__ or "").read_text())
    names = {n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in names if name.split(".")[0] in ("torch", "vos_zoo")}


def test_a_folder_of_others_and_impossible_sizes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["export", "--weights", "joint-small", "--output", str(tmp_path)]) == 2
    assert "holds files that are no export" in capsys.readouterr().err
    assert main(["export", "--weights", "joint-small", "--output", str(tmp_path / "x"), "--size", "360"]) == 2
    assert "--size: '' must be a whole number from 32 to 4096" in capsys.readouterr().err


@dataclass(frozen=True)
class Nested:
    number: int
    tensors: dict[str, Tensor]
    more: tuple[Tensor, ...]
    nothing: Tensor | None = None


def test_nested_tensors_are_named_by_their_path_and_exchanged() -> None:
    value = Nested(3, {"a": torch.zeros(2), "b": torch.ones(1)}, (torch.full((1,), 2.0),))
    named = named_tensors(value, "memory")
    assert list(named) == ["memory.tensors.a", "memory.tensors.b", "memory.more.0"]
    changed = with_tensors(value, {name: tensor + 1 for name, tensor in named.items()}, "memory")
    assert changed.number == 3 and changed.nothing is None
    assert [float(t.sum()) for t in named_tensors(changed).values()] == [2.0, 2.0, 3.0]
