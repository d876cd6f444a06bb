"""Tracking one annotated video and scoring it while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from vos_zoo.metrics import SequenceScorer, SequenceScores
from vos_zoo.types import Frame, FrameResult, LabelMap, Prompt, VideoSequence

Tracker = Callable[[Iterable[Frame], Mapping[int, Prompt]], Iterator[FrameResult]]


def track_and_score(
    track: Tracker, sequence: VideoSequence, keep: Iterable[int] = ()
) -> tuple[SequenceScores | None, dict[int, LabelMap]]:
    """Run a tracker over a video from its first prompt on.

    J and F follow the DAVIS convention: the first and the last frame are not scored, and an object is scored from the
    frame after its mask was given.

    Args:
        track: frames and prompts to results.
        sequence: the video.
        keep: frames whose label maps are returned.

    Returns:
        Scores (None if no frame of any object can be scored) and the kept label maps by frame.
    """
    prompts = sequence.prompts()
    first = min(prompts)
    starts = {int(i): t for t, mask in sorted(prompts.items(), reverse=True) for i in np.unique(mask) if i}
    scorer, kept, wanted = SequenceScorer(sequence.name), {}, set(keep)
    scored: dict[int, list[str]] = {i: [] for i in starts}
    frames = (sequence.frame(t) for t in range(first, len(sequence)))
    for result in track(frames, {t - first: mask for t, mask in prompts.items()}):
        t = result.index + first
        labels = result.label_map()
        if t in wanted:
            kept[t] = labels
        alive = [i for i, start in starts.items() if start < t]
        truth = sequence.labels(t) if alive and t < len(sequence) - 1 else None
        if truth is not None:
            scorer.add(sequence.frame_names[t], labels, truth, alive)
            for i in alive:
                scored[i].append(sequence.frame_names[t])
    objects = tuple(scorer.scores_of(i, frames) for i, frames in sorted(scored.items()) if frames)
    return (SequenceScores(sequence.name, tuple(scorer.frames), objects, {}) if objects else None), kept
