"""PCVOS's full protocol on short videos: clips, late objects, required frames only."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from torch import Tensor

from tests.conftest import REPOSITORY
from tests.parity.golden import Golden, given
from tests.parity.pcvos import load
from tests.parity.ties import Ties, settle
from vos_zoo.engine.propagator import Propagator
from vos_zoo.model import VOSModel
from vos_zoo.types import FrameResult

PROBABILITY, LABELS = 1e-3, 1e-4
TIED_PROBABILITY, TIED_LABELS = 2e-2, 3e-3
"""A frame that is remembered and annotated is in the memory twice, with one key: ties decide who comes 20th."""
ROUNDING = 1e-5
"""Of the same arithmetic on fewer frames: libraries round products of other shapes differently, up to 2.4e-6 here."""
NOT_WRITTEN = 255
REFERENCE = Path(os.environ.get("VOS_ZOO_REFERENCE", REPOSITORY.parent / "shared" / "reference"))


def runs() -> list[tuple[str, str]]:
    """File and run of every stored sequence."""
    found = []
    for path in sorted((REFERENCE / "pcvos").glob("sequence_*.npz")):
        with np.load(path) as arrays:
            found += [(path.name, run) for run in json.loads(str(arrays["meta"]))["runs"]]
    return found


class Outcome(NamedTuple):
    """What is known of a frame: ids, merged probabilities on the padded plane, label map."""

    ids: list[int]
    plane: Tensor
    labels: Any


class Recorder:
    """Runs a video and keeps what the engine merged, on the padded plane, and the label maps."""

    def __init__(self, model: VOSModel, golden: Golden, run: str, **settings: Any) -> None:
        self.info = golden.meta["runs"][run]
        self.golden, self.run = golden, run
        self.engine: Propagator = model.propagator(
            clip_length=self.info["clip_length"],
            memory_every=self.info["mem_every"],
            top_k=self.info["top_k"],
            short_edge=golden.meta["short_edge"],
            capacity=None,
            **settings,
        )
        self.planes: list[Tensor] = []
        emit = self.engine.view.emit

        def emitted(probabilities: Tensor) -> Tensor:
            self.planes = list(probabilities)  # a clip comes last, behind what confidence is measured by
            return emit(probabilities)

        self.engine.view.emit = emitted  # type: ignore[method-assign]

    def play(self, decode: Any = None) -> dict[int, Outcome]:
        """All frames that come out, by number."""
        return dict(self.stream(decode))

    def stream(self, decode: Any = None) -> Iterator[tuple[int, Outcome]]:
        """Number and outcome of each frame that comes out, clip by clip."""
        required = set(self.info["required_frames"])
        annotated = {int(t): ids for t, ids in self.info["annotated_frames"].items()}
        for t, frame in enumerate(self.golden["frames"]):
            if t < min(annotated) or not (self.info["predict_all"] or t in required):
                self.engine.skip()
                continue
            prompt = None
            if t in annotated:
                labels = self.golden[f"{self.run}__anno_{t:02d}"]
                prompt = given(labels, annotated[t])
            yield from self._named(
                self.engine.push(frame, prompt, wanted=decode is None or t in decode or t in annotated)
            )
        yield from self._named(self.engine.flush())

    def _named(self, results: list[FrameResult]) -> list[tuple[int, Outcome]]:
        planes, self.planes = self.planes, []
        pairs = zip(results, planes, strict=True)
        return [(result.index, Outcome(list(result.ids), plane, result.label_map())) for result, plane in pairs]

    def remembered(self) -> dict[int, int]:
        """Frames in each object's memory, by id; the last write is carried out."""
        (group,) = self.engine._groups
        self.engine._write(group)
        bank = group.memory.bank
        return {self.engine.ids[slot]: sum(bank.used_by(row)) for row, slot in enumerate(group.slots)}


@pytest.fixture(scope="module")
def models() -> dict[str, VOSModel]:
    return {}


def model_of(models: dict[str, VOSModel], folder: Path, golden: Golden) -> VOSModel:
    salt = golden.meta["weights_salt"]
    if salt not in models:
        models[salt] = load(folder, golden)
    return models[salt]


class Comparison:
    """Frames of a run against the golden ones."""

    def __init__(self, golden: Golden, run: str) -> None:
        self.golden, self.run, self.info = golden, run, golden.meta["runs"][run]
        self.channels = sorted(i for ids in self.info["annotated_frames"].values() for i in ids)
        self.frames = len(golden["frames"])
        self.tied = ties_from(self.info, self.frames)

    def theirs(self, t: int) -> tuple[Any, Any]:
        """Golden probabilities ``(N+1, h, w)`` and labels of frame `t`."""
        return self.golden[f"{self.run}__prob"][:, t].astype(np.float32), self.golden[f"{self.run}__label"][t]

    def limits(self, t: int) -> tuple[float, float]:
        """What probabilities and the share of the labels may differ by."""
        return (PROBABILITY, LABELS) if t < self.tied else (TIED_PROBABILITY, TIED_LABELS)

    def differences(self, t: int, outcome: Outcome) -> tuple[Any, float]:
        """Differences of the probabilities, and the share of labels that differ."""
        (theirs, labels), stride = self.theirs(t), self.info["prob_stride"]
        ours = np.zeros_like(theirs)
        for row, channel in enumerate([0, *(self.channels.index(i) + 1 for i in outcome.ids)]):
            ours[channel] = outcome.plane[row, ::stride, ::stride].numpy()
        return np.abs(ours - theirs), float((outcome.labels != labels).mean())

    def misfit(self, frames: Iterable[tuple[int, Outcome]]) -> tuple[int, float]:
        """Frames left from the first one on that is unlike the golden one, and by how much it is; see `settle`."""
        for t, outcome in frames:
            probabilities, labels = self.differences(t, outcome)
            allowed = self.limits(t)
            if probabilities.max() > allowed[0] or labels > allowed[1]:
                return self.frames - t, float(np.maximum(probabilities - allowed[0] / 2, 0).sum()) + labels
        return 0, 0.0


def ties_from(info: dict[str, Any], frames: int) -> int:
    """First frame that reads a memory in which a frame is twice."""
    annotated = sorted(map(int, info["annotated_frames"]))
    twice = [b for a, b in itertools.pairwise(annotated) if (b - a) % info["mem_every"] == 0]
    return min(twice, default=frames) + 1


@pytest.mark.parametrize(("name", "run"), runs())
def test_a_whole_sequence_equals_the_golden_one(
    reference_dir: Path, models: dict[str, VOSModel], name: str, run: str
) -> None:
    folder = reference_dir / "pcvos"
    golden = Golden(folder / name)
    model, comparison = model_of(models, folder, golden), Comparison(golden, run)
    found: dict[int, Outcome] = {}

    def misfit() -> tuple[int, float]:
        found.clear()
        played.append(Recorder(model, golden, run))
        return comparison.misfit((t, found.setdefault(t, outcome)) for t, outcome in played[-1].stream())

    played: list[Recorder] = []
    with Ties() as ties:
        settle(ties, misfit)
    recorder, info = played[-1], comparison.info
    assert {tuple(outcome.plane.shape[-2:]) for outcome in found.values()} == {tuple(golden.meta["padded_hw"])}
    for t in range(comparison.frames):
        if t not in found:
            theirs, labels = comparison.theirs(t)
            assert theirs.max() <= 1e-6 and set(np.unique(labels)) <= {0, NOT_WRITTEN}, f"frame {t} is missing"
            continue
        (difference, labels), limits = comparison.differences(t, found[t]), comparison.limits(t)
        assert difference.max() <= limits[0], f"frame {t}: {difference.max()}"
        assert labels <= limits[1], f"frame {t}: a share of {labels} of the labels differs"
    objects = {comparison.channels.index(i) + 1: frames for i, frames in recorder.remembered().items()}
    assert objects == {int(i): frames for i, frames in info["memory_frames_in_bank_at_end"].items()}


def cases_of_wanted_frames() -> list[tuple[str, str]]:
    """One run without ties per clip length, the last of each: with late objects where there are some."""
    last = {}
    for name, run in runs():
        info = Golden(REFERENCE / "pcvos" / name).meta["runs"][run]
        frames = len(info["required_frames"])
        if info["predict_all"] and ties_from(info, frames) > frames:
            last[info["clip_length"]] = (name, run)
    return list(last.values())


@pytest.mark.parametrize(("name", "run"), cases_of_wanted_frames())
def test_frames_decoded_alone_are_what_they_are_among_all(
    reference_dir: Path, models: dict[str, VOSModel], name: str, run: str
) -> None:
    folder = reference_dir / "pcvos"
    golden = Golden(folder / name)
    model = model_of(models, folder, golden)
    whole = Recorder(model, golden, run).play()
    wanted = {t for t in whole if t % 5 == 0}
    some = Recorder(model, golden, run).play(wanted)
    assert wanted <= some.keys() < whole.keys()
    for t, outcome in some.items():
        assert (outcome.plane - whole[t].plane).abs().max() <= ROUNDING, f"frame {t}"
        assert (outcome.labels == whole[t].labels).all(), f"frame {t}"
