"""Writing the steps as ONNX files, and running them with onnxruntime against torch."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vos_zoo.export.flat import named_tensors
from vos_zoo.export.steps import Encode, Read, Setup, Start
from vos_zoo.types import UsageError

OPSET = 18
TOLERANCE = 1e-4
"""Largest difference to torch, relative to the largest value where that is above one."""
FACTS_FILE = "export.json"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: step -> file.
        differences: step -> largest difference to torch, relative to the largest value where that is above one.
    """

    files: Mapping[str, Path]
    differences: Mapping[str, float]


def export_steps(setup: Setup, pixels: Sequence[Tensor], masks: Tensor, folder: Path) -> Exported:
    """Write the steps of a frame, each checked with onnxruntime.

    Args:
        setup: see `Setup`.
        pixels: two padded frames of a video, float RGB ``(1, 3, h, w)``, 0..255; they are traced and compared.
        masks: of the objects in the first of them, float ``(N, h, w)``, 0 or 1.
        folder: where the files are written.

    Raises:
        UsageError: a step cannot be exported; the message names it.
    """
    setup.network.requires_grad_(False)
    writer = _Writer(folder)
    with torch.enable_grad():  # plain operations, see `steps`
        start = Start(setup)
        memory = named_tensors(start.start(pixels[0], masks), "memory")
        writer.write("start", start, {"pixels": pixels[0], "masks": masks}, memory)
        features = setup.encode(pixels[1])
        seen = named_tensors(features, "features")
        writer.write("encode", Encode(setup), {"pixels": pixels[1]}, seen)
        read = Read(setup, features, start.start(pixels[0], masks))
        given = {**seen, **memory}
        writer.write("read", read, given, {"probabilities": read(*given.values())})
    return Exported(writer.files, writer.differences)


class _Writer:
    """Writes and checks files, one per step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Path] = {}
        self.differences: dict[str, float] = {}

    def write(self, name: str, step: nn.Module, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Export a step, run it, and compare its outputs with torch's; the first exporter that succeeds is taken.

        Raises:
            UsageError: it cannot be exported so that the outputs are equal.
        """
        path, reasons = self.folder / f"{name}.onnx", list[str]()
        for dynamo in (True, False):
            try:
                _export(step, inputs, list(outputs), path, dynamo)
                difference = compare(path, inputs, outputs)
            except Exception as error:  # the exporters and onnxruntime raise many kinds
                cause = error.__cause__ or error
                reasons.append(" ".join(f"{type(cause).__name__}: {cause}".split())[:200])
                continue
            if difference <= TOLERANCE:
                self.files[name], self.differences[name] = path, difference
                return
            reasons.append(f"onnxruntime differs from torch by {difference:.2g}, above {TOLERANCE:g}")
        path.unlink(missing_ok=True)
        raise UsageError(f"step {name!r} cannot be exported: {reasons[0]}; nor traced: {reasons[1]}")


def _export(step: nn.Module, inputs: Mapping[str, Tensor], outputs: list[str], path: Path, dynamo: bool) -> None:
    """Export by torch.export (`dynamo`) or by tracing.

    Tracing fixes every decision that depends on values, such as whether all objects are there; torch.export refuses
    some of them, but knows more operations.
    """
    given = tuple(tensor.detach().clone() for tensor in inputs.values())
    names: dict[str, Any] = {"input_names": list(inputs), "output_names": outputs, "opset_version": OPSET}
    if dynamo:
        names |= {"custom_translation_table": {torch.ops.aten.logaddexp.default: _logaddexp}, "external_data": False}
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), _quiet("onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")
        torch.onnx.export(step.eval(), given, path, dynamo=dynamo, **names)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Loggers that say what was simplified are heard from errors up."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _logaddexp(one: Any, other: Any) -> Any:
    """log(exp(a) + exp(b)) without overflow, which the exporter's own translation lacks."""
    import onnxscript

    op: Any = onnxscript.opset18
    larger, apart = op.Max(one, other), op.Abs(op.Sub(one, other))
    return op.Add(larger, op.Log(op.Add(op.Exp(op.Neg(apart)), op.CastLike(op.Constant(value_float=1.0), one))))


def compare(path: Path, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> float:
    """The largest difference between a file's outputs and torch's, relative to the largest value where above one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of what it removes
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = {each.name for each in session.get_inputs()}
    found = session.run(list(outputs), {name: t.detach().numpy() for name, t in inputs.items() if name in wanted})
    worst = 0.0
    for values, expected in zip(found, outputs.values(), strict=True):
        reference = expected.detach().double()
        scale = max(1.0, float(reference.abs().max())) if reference.numel() else 1.0
        worst = max(worst, float((torch.from_numpy(values).double() - reference).abs().max()) / scale)
    return worst


def write_facts(folder: Path, facts: Mapping[str, Any]) -> Path:
    """Write export.json, what the tracker needs to know."""
    path = folder / FACTS_FILE
    path.write_text(json.dumps(dict(facts), indent=2) + "\n", encoding="utf-8")
    return path
