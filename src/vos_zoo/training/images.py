"""Images of validation videos, for the run folder and the logger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger

from vos_zoo.types import VideoSequence
from vos_zoo.video.panels import overlay_panel, write_picture


class ValidationImages(Callback):
    """Writes overlays (prediction above, ground truth below) of the first videos after every validation.

    Args:
        folder: folder of the PNGs, one folder per video.
        count: number of videos.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: VideoSequence,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw one video."""
        if trainer.sanity_checking or batch_idx >= self.count or not trainer.is_global_zero:
            return
        labels = outputs["labels"]
        frames = sorted(labels)
        truth = [batch.labels(t) for t in frames]
        panel = overlay_panel(
            [batch.frame(t) for t in frames],
            [labels[t] for t in frames],
            truth if all(t is not None for t in truth) else None,
            title=f"{batch.name}, step {trainer.global_step}",
            captions=[batch.frame_names[t] for t in frames],
        )
        write_picture(self.folder / batch.name / f"step_{trainer.global_step:07d}.png", panel)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(f"val/{batch.name}", [panel], step=trainer.global_step)
