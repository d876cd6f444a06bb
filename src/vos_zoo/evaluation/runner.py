"""Evaluates a tracker on a data set: mask files, scores, speed, memory, images; finished sequences are reused.

Frames are read, and results written and scored, by threads beside the tracker. Memory holds only the tracker's own
frames and probabilities, a few frames and label maps that wait, and a few label maps for images.
"""

from __future__ import annotations

import inspect
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vos_zoo import __version__
from vos_zoo.evaluation.fingerprint import (
    data_digest,
    describe_device,
    describe_tracker,
    package_versions,
    result_fingerprint,
    tracker_source,
)
from vos_zoo.evaluation.frame_keeper import FrameKeeper
from vos_zoo.evaluation.meters import Clock, MemoryMeter
from vos_zoo.evaluation.protocols import PLAIN, Protocol, only_sampled, readable
from vos_zoo.evaluation.report import (
    EvaluationReport,
    Failure,
    SequenceResult,
    write_report,
)
from vos_zoo.evaluation.results_folder import check_results_folder
from vos_zoo.evaluation.shared_sequence import SharedSequence
from vos_zoo.files.atomic import write_text
from vos_zoo.metrics.streaming import StreamScorer, scored_frames, wanted_frames, why_unscored, with_given
from vos_zoo.revision import git_revision
from vos_zoo.threads import Behind, ahead
from vos_zoo.types import Frame, FrameResult, LabelMap, UsageError, VideoSequence, VOSError
from vos_zoo.video.masks import write_mask
from vos_zoo.video.panels import overlay_panel, spread, write_picture

_log = logging.getLogger(__name__)
_HEADINGS = {"overlays": "evenly spread frames", "worst": "worst frames"}
_FORMAT = 3
"""Increase it when the content of a result changes: older results are then recomputed."""


@dataclass(frozen=True)
class _Job:
    """The options of an evaluation, the same for all sequences."""

    track: Callable[[Iterable[Frame], Mapping[int, LabelMap]], Iterable[FrameResult]]
    decisive: Mapping[str, Any]
    output: Path | None
    write_masks: bool
    overlays: int
    resume: bool
    progress: bool
    protocol: Protocol = PLAIN

    def mask_file(self, sequence: VideoSequence, index: int) -> Path | None:
        if self.output is None or not self.write_masks:
            return None
        return self.output / "masks" / sequence.name / f"{sequence.frame_names[index]}.png"

    def result_file(self, sequence: VideoSequence) -> Path | None:
        return None if self.output is None else self.output / "sequences" / f"{sequence.name}.json"


def evaluate(
    tracker: Any,
    sequences: Iterable[VideoSequence],
    *,
    output: str | Path | None = None,
    write_masks: bool = True,
    overlays: int = 6,
    resume: bool = True,
    progress: bool = True,
    track_options: Mapping[str, Any] | None = None,
    identity: str = "",
    protocol: Protocol = PLAIN,
) -> EvaluationReport:
    """Run a tracker on every sequence and score it.

    Sequences without ground truth are run but not scored. A sequence that fails is reported and the others continue.
    With an `output` folder it holds ``masks/SEQUENCE/FRAME.png`` for every requested frame (the given masks as they
    were given; frames before the first given mask are empty), ``sequences/SEQUENCE.json`` with the values of every
    frame, ``overlays/SEQUENCE.png``, ``worst/SEQUENCE.png`` and the files of `write_report`. Several processes may
    share the work by calling this on parts of a data set with one folder; a final call on the whole collects their
    results.

    Args:
        tracker: a model with a method `track`, or a callable ``(frames, prompts, **options)`` that yields one
            `FrameResult` per frame.
        sequences: the videos, e.g. a `VideoDataset`.
        output: folder for all files; None writes none.
        write_masks: whether to write the masks there.
        overlays: frames per contact sheet (evenly spread ones, and the worst ones); 0: no sheets.
        resume: reuse sequences in `output` that were finished by the same code (version, revision and source files),
            tracker, weights and options on the same frames, masks and lists.
        progress: show progress bars.
        track_options: keyword arguments of every call of `track`.
        identity: text that identifies this tracker if name, hyper-parameters and weights do not (a lambda).
        protocol: which frames are scored, which numbers are reported.

    Returns:
        The report; `report.failures` lists failures; `report.exit_code` is then 1.

    Raises:
        UsageError: there are no sequences, `tracker` cannot track, or `output` is a file or would replace inputs.
    """
    items: Sequence[VideoSequence] = sequences if isinstance(sequences, Sequence) else list(sequences)
    track = getattr(tracker, "track", tracker)
    if not callable(track):
        raise UsageError(
            f"evaluate: a {type(tracker).__name__} cannot track; give a model or a function of (frames, prompts)"
        )
    if not len(items):
        raise UsageError("evaluate: there is no sequence to run; check the data set's split and its list of sequences")
    folder = None if output is None else Path(output)
    check_results_folder(folder, items)
    options = dict(track_options or {})
    decisive = {
        "format": _FORMAT,
        "version": __version__,
        "revision": git_revision(),
        "source": tracker_source(tracker),
        "versions": package_versions(),
        "tracker": describe_tracker(tracker),
        "options": options,
        "identity": identity,
        "rule": protocol.rule,
    }
    job = _Job(partial(track, **options), decisive, folder, write_masks, overlays, resume, progress, protocol)
    finished, failures = _run_all(items, job)
    settings = {**decisive, "convention": protocol.convention, "device": describe_device(tracker)}
    report = EvaluationReport(
        tuple(finished),
        tuple(failures),
        json.loads(json.dumps(settings, default=repr)),
        protocol,
        _notes(items, finished, protocol),
    )
    if folder is not None:
        write_report(report, folder)
    return report


def _run_all(items: Sequence[VideoSequence], job: _Job) -> tuple[list[SequenceResult], list[Failure]]:
    """Run the sequences one by one; exceptions become a `Failure`."""
    from tqdm.auto import tqdm

    finished: list[SequenceResult] = []
    failures: list[Failure] = []
    seen: set[str] = set()
    for number in tqdm(range(len(items)), desc="sequences", unit="sequence", disable=not job.progress):
        name = f"number {number}"
        try:
            sequence = items[number]  # opening it may fail
            name = sequence.name
            if name in seen:
                raise VOSError(f"two sequences are called {name!r}; their names must differ")
            seen.add(name)
            finished.append(_reuse_or_run(sequence, job))
        except Exception as error:
            message = _one_line(error)
            failures.append(Failure(name, message))
            _log.error("sequence %s failed: %s", name, message, exc_info=_log.isEnabledFor(logging.DEBUG))
    return finished, failures


def _notes(items: Sequence[VideoSequence], finished: Sequence[SequenceResult], protocol: Protocol) -> tuple[str, ...]:
    """Caveats: sampled frames where published results used all frames, and estimates."""
    notes = []
    if protocol.sampled_frames_cost and finished and all(only_sampled(item.frame_names) for item in readable(items)):
        notes.append(
            "only the sampled frames (every fifth) are here; published scores are made with all frames, which gives "
            "higher ones: get the archives with all frames, and report which were used"
        )
    if protocol.scoring and any(result.objects for result in finished):
        notes.append(
            f"J and F in this table are of all annotated frames between the first and the last; {protocol.name}'s own "
            "numbers are those that vos-zoo test prints below, or vos-zoo score"
        )
    found = EvaluationReport(tuple(finished)).youtube_vos if protocol.numbers == "youtube_vos" else None
    return tuple(notes + (found.notes() if found is not None else []))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, VOSError) else f"{type(error).__name__}: {text}"


def _reuse_or_run(sequence: VideoSequence, job: _Job) -> SequenceResult:
    """The sequence's earlier result if it is still valid, else a new one, which is written last."""
    prompts = sequence.prompts()
    if not prompts:
        raise VOSError("has no given mask, so there is nothing to track; check its annotations")
    rule = job.protocol.rule
    unscored = why_unscored(sequence, rule)
    data = data_digest(sequence, prompts, [] if unscored else scored_frames(sequence, min(prompts), rule))
    fingerprint = result_fingerprint(job.decisive, data)
    file = job.result_file(sequence)
    if file is not None:
        earlier = _earlier_result(file, fingerprint) if job.resume else None
        if earlier is not None and _masks_complete(sequence, job):
            return earlier
        file.unlink(missing_ok=True)  # from here on its masks are replaced
    result = replace(_run(sequence, prompts, unscored, job), data=data, fingerprint=fingerprint)
    if file is not None:
        write_text(file, json.dumps(result.to_json()) + "\n")
    return result


def _earlier_result(file: Path, fingerprint: str) -> SequenceResult | None:
    try:
        result = SequenceResult.from_json(json.loads(file.read_text(encoding="utf-8")), reused=True)
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or of another program
        return None
    return result if result.fingerprint == fingerprint else None


def _masks_complete(sequence: VideoSequence, job: _Job) -> bool:
    files = (job.mask_file(sequence, index) for index in wanted_frames(sequence))
    return all(file is None or file.is_file() for file in files)


def _run(sequence: VideoSequence, prompts: Mapping[int, LabelMap], unscored: str, job: _Job) -> SequenceResult:
    """Track one sequence from its first given mask on; write, score and keep frames while the results stream in."""
    began, clock, memory = time.perf_counter(), Clock(), MemoryMeter()
    start = min(prompts)
    shared = SharedSequence(sequence)
    scorer = StreamScorer(shared, prompts, job.protocol.rule)
    keeper = _keeper(len(sequence), start, 0 if job.output is None else job.overlays)
    for index in wanted_frames(sequence):
        if index < start:
            _write(job.mask_file(sequence, index), np.zeros_like(prompts[start]))

    def finish(result: tuple[int, LabelMap]) -> None:
        index, labels = result
        _write(job.mask_file(sequence, index), labels)
        keeper.add(index, labels, None if unscored else scorer.add(index, labels))

    frames = ahead(shared.frame(index) for index in range(start, len(shared)))
    with Behind(finish) as finishing, closing(frames):
        for result in _tracked(sequence, prompts, job, clock, clock.reading(frames)):
            finishing.put(result)
    objects = scorer.scores().objects
    seconds = time.perf_counter() - began
    peak, kind = memory.peak()
    height, width = prompts[start].shape
    note = "" if objects else unscored or "no frame is scored: its objects start in the last frames"
    whole = SequenceResult(
        name=sequence.name,
        frames=len(sequence),
        tracked=len(sequence) - start,
        objects=objects,
        note=note,
        seconds=seconds,
        tracking_seconds=clock.seconds,
        peak_memory=peak,
        memory_kind=kind,
        size=(height, width),
        data="",
        fingerprint="",
    )
    if job.output is not None:
        _draw(sequence, whole, keeper, job.output)
    return whole


def _keeper(length: int, start: int, pictures: int) -> FrameKeeper:
    """Keeps `pictures` evenly spread frames from `start` on and as many of the worst, spaced apart."""
    chosen = {start + index for index in spread(length - start, pictures)}
    return FrameKeeper(chosen, pictures, spacing=max(1, (length - start) // (3 * max(pictures, 1))))


def _tracked(
    sequence: VideoSequence, prompts: Mapping[int, LabelMap], job: _Job, clock: Clock, frames: Iterator[Frame]
) -> Iterator[tuple[int, LabelMap]]:
    """Frame number and final label map of the requested frames, from the first prompt on; given masks win.

    `frames` are read from there on; the clock measures the tracker.
    """
    from tqdm.auto import tqdm

    start = min(prompts)
    wanted = [index for index in wanted_frames(sequence) if index >= start]
    shifted = {index - start: labels for index, labels in prompts.items()}
    results = _results(job.track, frames, shifted, {index - start for index in wanted}, len(sequence) - start)
    with tqdm(total=len(wanted), desc=sequence.name, unit="frame", leave=False, disable=not job.progress) as bar:
        for index in wanted:
            with clock.tracking():
                result = next(results, None)
                labels = None if result is None else result.label_map()  # waits for the GPU
            if result is None or labels is None or result.index != index - start:
                raise VOSError(_out_of_order(sequence, index, None if result is None else result.index + start))
            if labels.shape != prompts[start].shape:
                raise VOSError(
                    f"frame {sequence.frame_names[index]}: the tracker's result is {labels.shape}, the given mask "
                    f"{prompts[start].shape} (height, width); both must have the frame's size"
                )
            yield index, with_given(labels, prompts.get(index), first=index == start)
            bar.update()
        if next(results, None) is not None:
            raise VOSError(f"the tracker gave more results than the {len(wanted)} frames it was asked for")


def _results(
    track: Any, frames: Iterable[Frame], prompts: Mapping[int, LabelMap], wanted: Set[int], length: int
) -> Iterator[FrameResult]:
    """The tracker's results for the frames `wanted`; a tracker that can skip decoding gets their numbers."""
    if len(wanted) < length and "output_frames" in inspect.signature(track).parameters:
        return iter(track(frames, prompts, output_frames=wanted))
    return (result for result in track(frames, prompts) if result.index in wanted or result.index >= length)


def _out_of_order(sequence: VideoSequence, expected: int, got: int | None) -> str:
    came = "its results ended" if got is None else f"frame number {got} came"
    return f"the tracker returned no result for frame {sequence.frame_names[expected]} (number {expected}), but {came}"


def _write(file: Path | None, labels: LabelMap) -> None:
    if file is not None:
        write_mask(file, labels)


def _draw(sequence: VideoSequence, result: SequenceResult, keeper: FrameKeeper, output: Path) -> None:
    """Contact sheets of evenly spread frames and of the worst ones (prediction above, ground truth below)."""
    part = EvaluationReport((result,))
    scores = "" if part.j is None or part.f is None else f"   J {100 * part.j:.1f}   F {100 * part.f:.1f}"
    names = sequence.frame_names
    sheets = {
        "overlays": [(index, names[index], labels) for index, labels in sorted(keeper.chosen.items())],
        "worst": [(i, f"{names[i]}   J&F {100 * score:.1f}", labels) for i, score, labels in keeper.worst()],
    }
    for kind, pictures in sheets.items():
        if not pictures:
            continue
        sheet = overlay_panel(
            [sequence.frame(index) for index, _, _ in pictures],
            [labels for _, _, labels in pictures],
            [sequence.labels(index) for index, _, _ in pictures] if result.objects else None,
            columns=3,
            title=f"{sequence.name}: {_HEADINGS[kind]}{', the ground truth below' if result.objects else ''}{scores}",
            captions=[caption for _, caption, _ in pictures],
        )
        write_picture(output / kind / f"{sequence.name}.png", sheet)
