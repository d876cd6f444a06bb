"""PCVOS's full protocol on short videos: clips, late objects, required frames only."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tests.conftest import REPOSITORY
from tests.parity.golden import Golden, given
from tests.parity.pcvos import load
from vos_zoo.core.module import VOSModel
from vos_zoo.core.propagator import Propagator

PROBABILITY, LABELS = 1e-3, 1e-4
TIED_PROBABILITY, TIED_LABELS = 2e-2, 3e-3
ROUNDING = 1e-5
"""Of the same arithmetic on fewer frames: libraries round products of other shapes differently, up to 2.4e-6 here."""
"""A frame that is remembered and annotated is in the memory twice, with one key: ties decide who comes 20th."""
NOT_WRITTEN = 255
REFERENCE = Path(os.environ.get("VOS_ZOO_REFERENCE", REPOSITORY.parent / "shared" / "reference"))


def runs() -> list[tuple[str, str]]:
    """File and run of every stored sequence."""
    found = []
    for path in sorted((REFERENCE / "pcvos").glob("sequence_*.npz")):
        with np.load(path) as arrays:
            found += [(path.name, run) for run in json.loads(str(arrays["meta"]))["runs"]]
    return found


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
            self.planes += list(probabilities)
            return emit(probabilities)

        self.engine.view.emit = emitted  # type: ignore[method-assign]

    def play(self, decode: Any = None) -> dict[int, tuple[list[int], Tensor, Any]]:
        """Number of each frame that came out -> ids, merged probabilities, label map."""
        required = set(self.info["required_frames"])
        annotated = {int(t): ids for t, ids in self.info["annotated_frames"].items()}
        results = []
        for t, frame in enumerate(self.golden["frames"]):
            if t < min(annotated) or not (self.info["predict_all"] or t in required):
                self.engine.skip()
                continue
            prompt = None
            if t in annotated:
                labels = self.golden[f"{self.run}__anno_{t:02d}"]
                prompt = given(labels, annotated[t])
            results += self.engine.push(frame, prompt, wanted=decode is None or t in decode or t in annotated)
        results += self.engine.flush()
        assert len(results) == len(self.planes)
        pairs = zip(results, self.planes, strict=True)
        return {result.index: (list(result.ids), plane, result.label_map()) for result, plane in pairs}

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
    recorder = Recorder(model_of(models, folder, golden), golden, run)
    found, info = recorder.play(), recorder.info
    assert {tuple(plane.shape[-2:]) for _, plane, _ in found.values()} == {tuple(golden.meta["padded_hw"])}
    channels = sorted(i for ids in info["annotated_frames"].values() for i in ids)
    tied, stride = ties_from(info, len(golden["frames"])), info["prob_stride"]
    for t in range(len(golden["frames"])):
        theirs, labels = golden[f"{run}__prob"][:, t].astype(np.float32), golden[f"{run}__label"][t]
        if t not in found:
            assert theirs.max() <= 1e-6 and set(np.unique(labels)) <= {0, NOT_WRITTEN}, f"frame {t} is missing"
            continue
        ids, plane, own = found[t]
        probability, of_pixels = (PROBABILITY, LABELS) if t < tied else (TIED_PROBABILITY, TIED_LABELS)
        ours = np.zeros_like(theirs)
        for row, channel in enumerate([0, *(channels.index(i) + 1 for i in ids)]):
            ours[channel] = plane[row, ::stride, ::stride].numpy()
        difference = np.abs(ours - theirs).max()
        assert difference <= probability, f"frame {t}: {difference}"
        assert (own != labels).mean() <= of_pixels, f"frame {t}: {(own != labels).sum()} label pixels differ"
    objects = {channels.index(i) + 1: frames for i, frames in recorder.remembered().items()}
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
    for t, (_, plane, labels) in some.items():
        assert (plane - whole[t][1]).abs().max() <= ROUNDING and (labels == whole[t][2]).all(), f"frame {t}"
