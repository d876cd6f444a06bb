"""Tracking one annotated video and scoring it while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from vos_zoo.metrics import SequenceScores, StreamScorer, why_unscored, with_given
from vos_zoo.types import Frame, FrameResult, LabelMap, Prompt, VideoSequence
from vos_zoo.video.panels import spread

PICTURED = 8
"""Frames of a validation video that its image shows, at most."""
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
        Scores (None if the video is too short or lacks ground truth, or no frame of any object is scored) and the kept
        label maps by frame.
    """
    prompts, scored = sequence.prompts(), not why_unscored(sequence)
    first = min(prompts)
    scorer, kept, wanted = StreamScorer(sequence, prompts), {}, set(keep)
    frames = (sequence.frame(t) for t in range(first, len(sequence)))
    for result in track(frames, {t - first: mask for t, mask in prompts.items()}):
        t = result.index + first
        labels = with_given(result.label_map(), prompts.get(t), first=t == first)
        if t in wanted:
            kept[t] = labels
        if scored:
            scorer.add(t, labels)
    scores = scorer.scores()
    return (scores if scores.objects else None), kept


def pictured_frames(sequence: VideoSequence) -> list[int]:
    """Evenly spread frames of a video for its image."""
    return spread(len(sequence), PICTURED)
