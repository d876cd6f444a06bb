"""Opens the synthetic data set as the configuration describes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vos_zoo.config.settings.generated import SyntheticConfig
from vos_zoo.data.datasets.checking import Selection
from vos_zoo.data.datasets.sequence import by_name
from vos_zoo.data.synthetic.videos import SyntheticDataset
from vos_zoo.types import VideoDataset


def open_synthetic(
    root: str | Path | None,
    split: str,
    *,
    synthetic: SyntheticConfig,
    seed: int = 0,
    sequences: Sequence[str] | None = None,
    skip_broken: bool = False,
) -> VideoDataset:
    """The synthetic videos of a split.

    Args:
        root: not used; nothing is read.
        split: "train", "val" or "test".
        synthetic: the `data.synthetic` part of the configuration.
        seed: seed of the videos.
        sequences: only these videos.
        skip_broken: not used; nothing can be broken.

    Raises:
        UsageError: an unknown split or video.
    """
    dataset = SyntheticDataset(synthetic.count(split) or 1, split, synthetic.settings(seed), synthetic.device)
    if sequences is None:
        return dataset
    known = [sequence.name for sequence in dataset]
    return Selection(dataset, [known.index(name) for name in by_name(known, sequences, f"synthetic {split}")])
