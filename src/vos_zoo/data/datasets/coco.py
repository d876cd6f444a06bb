"""COCO instances as static images: one sample per annotation, with masks rasterised lazily.

The folder holds `annotations/instances_<split>.json` and the images in `images/<split>/` or `<split>/`. Crowd regions
are dropped (docs/methods/llb.md, "Training stages"); the sample's box is the annotation's own. The training set has
about 850,000 annotations: they are packed into a few arrays while the file is parsed, so that loader processes share
them.
Polygons and run lengths are rasterised by pycocotools, whose rounding defines the data set's masks.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.datasets.sequence import Problem, by_name
from vos_zoo.data.datasets.static_images import StaticDataset, StaticImage
from vos_zoo.files.frames import read_frame
from vos_zoo.types import Box, Frame, UsageError, VOSError


@cache
def coco_masks() -> Any:
    """The module `pycocotools.mask`.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pycocotools.mask
    except ImportError as error:
        raise UsageError("data set 'coco' needs pycocotools; run: pip install 'vos-zoo[coco]'") from error
    return pycocotools.mask


class CocoImage(StaticImage):
    """One annotation of an image, named "<image>/<annotation id>"."""

    def __init__(self, dataset: CocoDataset, number: int) -> None:
        table = dataset.table
        self._table, self._number, self._row = table, number, int(table.rows[number])
        self.path = os.path.join(dataset.pictures, table.files[self._row])
        super().__init__(table.name(number))

    def frame(self, index: int) -> Frame:
        """The image, uint8 RGB ``(H, W, 3)``, as stored: annotations ignore EXIF rotation.

        Raises:
            VOSError: unreadable, or not of the annotations' size.
        """
        frame = read_frame(self.path, upright=False)
        if frame.shape[:2] != self.size():
            height, width = self.size()
            raise VOSError(
                f"picture {self.path}: its size {frame.shape[1]}x{frame.shape[0]} differs from the annotations' "
                f"{width}x{height}; restore the original file"
            )
        return frame

    def size(self) -> tuple[int, int]:
        """Height and width according to the annotations."""
        height, width = self._table.sizes[self._row].tolist()
        return height, width

    def soft_mask(self) -> NDArray[np.uint8]:
        """The instance mask, uint8 ``(H, W)``, 0 or 255."""
        return self.labels(0) * np.uint8(255)

    def labels(self, index: int) -> NDArray[np.uint8]:
        """The instance mask, uint8 ``(H, W)``, 0 or 1; tiny objects may have no pixel."""
        draw, size = coco_masks(), self.size()
        run_lengths = self._table.run_lengths.get(self._number)
        if run_lengths is not None:
            runs = draw.frPyObjects(run_lengths, *size) if isinstance(run_lengths["counts"], list) else run_lengths
        else:
            runs = draw.merge(draw.frPyObjects(self._table.polygons(self._number), *size))
        return np.ascontiguousarray(draw.decode(runs))

    def box(self) -> Box:
        """The annotation's box, x y w h, in fractional pixels."""
        return Box(*self._table.boxes[self._number].tolist())

    def problems(self, decode: bool) -> list[Problem]:
        """A mask of another size; with `decode` an unreadable image, checked with its first annotation."""
        first = self._number == 0 or self._table.rows[self._number - 1] != self._row
        try:
            if self.labels(0).shape != self.size():
                return [Problem(self.name, "its mask differs in size from the image; correct the annotation")]
            if decode and first:
                self.frame(0)
        except VOSError as error:
            return [Problem(self.name, str(error))]
        return []


class CocoTable:
    """The annotations of a file in arrays: row n of every array is annotation n, in the order of the file.

    Attributes:
        files: file name of every image, text ``(P,)``.
        sizes: height and width of every image, int64 ``(P, 2)``.
        rows: image of every annotation, int64 ``(A,)``.
        ids: the annotations' ids, int64 ``(A,)``.
        boxes: x y w h of every annotation, float64 ``(A, 4)``.
        run_lengths: masks stored as run lengths, by annotation.
        problems: unusable annotations with the reason.
    """

    def __init__(self, path: Path, min_area: float = 0.0) -> None:
        reader = _Reader(min_area)
        try:
            with path.open(encoding="utf-8") as file:
                content = json.load(file, object_hook=reader)
            images = content["images"]
            by_id = {int(image["id"]): number for number, image in enumerate(images)}
            self.files = np.array([image["file_name"] for image in images], dtype=np.str_)
            self.sizes = np.array([(image["height"], image["width"]) for image in images], np.int64).reshape(-1, 2)
            content["annotations"]
        except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, OverflowError) as error:
            what = f"has no {error}" if isinstance(error, KeyError) else str(error)
            raise VOSError(f"coco: {path}: is not a file of COCO instances ({what}); download it again") from error
        numbers = np.array([by_id.get(image, -1) for image in reader.images], dtype=np.int64)
        self.problems = reader.problems
        self.problems += [
            Problem(f"annotation {identity}", "has no image in the file")
            for identity, number in zip(reader.ids, numbers, strict=True)
            if number < 0
        ]
        self.rows, self.ids = numbers, np.array(reader.ids, dtype=np.int64)
        self.boxes = np.array(reader.boxes, dtype=np.float64).reshape(-1, 4)
        self.run_lengths = reader.run_lengths
        self._points = np.array(reader.points, dtype=np.float64)
        self._polygon_ends = np.array(reader.polygon_ends, dtype=np.int64)
        self._first_polygon = np.array(reader.first_polygon, dtype=np.int64)

    def name(self, number: int) -> str:
        """Name of annotation `number`: "<image>/<annotation id>"."""
        return f"{os.path.splitext(str(self.files[self.rows[number]]))[0]}/{self.ids[number]}"

    def polygons(self, number: int) -> list[NDArray[np.float64]]:
        """The outlines of annotation `number`, each x0 y0 x1 y1 ..."""
        first, stop = self._first_polygon[number], self._first_polygon[number + 1]
        ends = self._polygon_ends
        return [self._points[ends[part] : ends[part + 1]] for part in range(first, stop)]


class _Reader:
    """Collects annotations while the JSON is parsed, so that they never all exist as Python objects."""

    def __init__(self, min_area: float) -> None:
        self.min_area = min_area
        self.images, self.ids, self.boxes = array("q"), array("q"), array("d")
        self.points, self.polygon_ends, self.first_polygon = array("d"), array("q", [0]), array("q", [0])
        self.run_lengths: dict[int, Mapping[str, Any]] = {}
        self.problems: list[Problem] = []

    def __call__(self, node: dict[str, Any]) -> dict[str, Any] | None:
        """Called for every JSON object of the file, inner ones first."""
        if "image_id" not in node or "bbox" not in node:
            return node
        if not node.get("iscrowd", 0) and node.get("area", np.inf) >= self.min_area:
            self._keep(node)
        return None

    def _keep(self, node: Mapping[str, Any]) -> None:
        outline, box = node.get("segmentation"), [float(value) for value in node["bbox"]]
        polygons = [part for part in outline if len(part) >= 6] if isinstance(outline, list) else []
        wrong = "has no mask" if not polygons and not isinstance(outline, Mapping) else ""
        if len(box) != 4 or not all(np.isfinite(box)) or min(box[2:]) <= 0:
            wrong = f"has a box without area, {box}"
        if wrong:
            self.problems.append(Problem(f"annotation {node['id']}", wrong))
            return
        if isinstance(outline, Mapping):
            self.run_lengths[len(self.ids)] = outline
        for part in polygons:
            self.points.extend(part)
            self.polygon_ends.append(len(self.points))
        self.first_polygon.append(len(self.polygon_ends) - 1)
        self.images.append(int(node["image_id"]))
        self.ids.append(int(node["id"]))
        self.boxes.extend(box)


class CocoDataset(StaticDataset):
    """Instances of COCO or of any data set in its format.

    Annotations without an area or a mask are left out with a warning: the published file holds a few boxes of zero
    width, which cannot be cropped. Missing images are errors.

    Args:
        root: folder that holds `annotations` and the images.
        split: as in the annotations' file name, "train2017"; "train" is enough if there is a single such file.
        sequences: use only these annotations ("000000000009/1038967") or images ("000000000009").
        min_area: leave smaller annotations out (their own `area`, in pixels).
        skip_broken: leave out annotations of missing images with a warning.

    Raises:
        UsageError: no such folder, split or name; pycocotools is missing.
        VOSError: an unreadable annotation file; an image is missing and `skip_broken` is off.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train2017",
        sequences: Sequence[str] | None = None,
        *,
        min_area: float = 0.0,
        skip_broken: bool = False,
    ) -> None:
        coco_masks()
        path, self.pictures = _find(Path(root), split)
        self.table = CocoTable(path, min_area)
        self.name = f"coco-{path.stem.removeprefix('instances_')}"
        there = _files(self.pictures, self.table.files)
        missing = [Problem(os.path.join(self.pictures, name), "is missing") for name in self.table.files[~there]]
        self.report(missing, skip_broken)
        if self.table.problems:
            self.report([*missing, *self.table.problems], skip_broken=True)
        keep = self.table.rows >= 0
        keep[keep] = there[self.table.rows[keep]]
        self._numbers = _chosen(self.table, np.flatnonzero(keep), sequences, self.name)
        if not len(self._numbers):
            raise UsageError(f"{self.name}: no usable annotation in {path}; check data.root and data.static.min_area")

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> CocoImage: ...

    @overload
    def __getitem__(self, index: slice) -> list[CocoImage]: ...

    def __getitem__(self, index: int | slice) -> CocoImage | list[CocoImage]:
        if isinstance(index, slice):
            return [CocoImage(self, int(number)) for number in self._numbers[index]]
        return CocoImage(self, int(self._numbers[index]))


def _find(root: Path, split: str) -> tuple[Path, str]:
    """The annotation file and the image folder of a split."""
    folder = root / "annotations"
    if not folder.is_dir():
        raise UsageError(f"coco: there is no folder {folder}; data.root must hold annotations/ and the images")
    path = folder / f"instances_{split}.json"
    if not path.is_file():
        near = sorted(folder.glob(f"instances_{split}*.json"))
        if len(near) != 1:
            there = ", ".join(file.stem.removeprefix("instances_") for file in sorted(folder.glob("instances_*.json")))
            raise UsageError(f"coco: no split {split!r} in {folder}; there are: {there or 'none'}")
        path = near[0]
    name = path.stem.removeprefix("instances_")
    for pictures in (root / "images" / name, root / name):
        if pictures.is_dir():
            return path, str(pictures)
    raise UsageError(f"coco: there is no folder of images {root / 'images' / name} or {root / name}")


def _files(folder: str, names: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which of the images exist in the folder: bool ``(P,)``, from one listing."""
    there = {entry.name for entry in os.scandir(folder)}
    return np.array([name in there or ("/" in name and os.path.isfile(os.path.join(folder, name))) for name in names])


def _chosen(table: CocoTable, numbers: NDArray[np.int64], wanted: Sequence[str] | None, what: str) -> NDArray[np.int64]:
    """The annotations in `wanted`, named individually or by their image."""
    if wanted is None:
        return numbers
    names = [table.name(number) for number in numbers]
    pictures = [name.rpartition("/")[0] for name in names]
    by_name(list(dict.fromkeys([*names, *pictures])), wanted, what)
    chosen = set(wanted)
    keep = [name in chosen or picture in chosen for name, picture in zip(names, pictures, strict=True)]
    return numbers[np.array(keep, dtype=bool)]
