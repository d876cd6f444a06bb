"""Data sets of videos, and the pipeline that makes training batches of them.

Data shapes: a frame is uint8 RGB ``(H, W, 3)``, a label map uint8 ``(H, W)``, a training batch holds frames
``(B, T, 3, h, w)`` and masks ``(B, T, K, h, w)``. Import what you need from the modules:
`vos_zoo.data.datasets.davis.DavisDataset`, `vos_zoo.data.datasets.folder.FolderDataset`, `vos_zoo.data.synthetic.videos.SyntheticDataset`,
`vos_zoo.data.composed.videos.ComposedDataset`, `vos_zoo.data.datasets.coco.CocoDataset`, `vos_zoo.data.datasets.static_images.SaliencyDataset`,
`vos_zoo.data.datamodule.VOSDataModule`, `vos_zoo.data.datasets.checking.open_dataset`; nothing heavy is imported here.
"""
