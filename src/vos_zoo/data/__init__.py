"""Data sets of videos, and the training batches made from them.

Data shapes: a frame is uint8 RGB ``(H, W, 3)``, a label map uint8 ``(H, W)``, a training batch holds frames
``(B, T, 3, h, w)`` and masks ``(B, T, K, h, w)``. Import what you need from the modules: `vos_zoo.data.opening`
(`open_dataset`), `vos_zoo.data.datasets` (readers), `vos_zoo.data.synthetic` and `vos_zoo.data.composed` (videos
generated on the fly) and `vos_zoo.data.datamodule` (`VOSDataModule`); nothing heavy is imported here.
"""
