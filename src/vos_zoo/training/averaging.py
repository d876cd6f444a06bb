"""A running average of the weights (EMA): it is validated and saved, while training continues with the weights."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage(WeightAveraging):
    """Averages the weights after every optimiser step: average = decay * average + (1 - decay) * weights.

    The average starts as the weights after the first step. Checkpoints hold the average as "state_dict", which
    loading uses, and the weights themselves as "current_model_state", with which a resumed run continues.
    Buffers are copied, not averaged.

    Args:
        decay: of the average.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Create the average on the training device (the model is not there yet)."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
