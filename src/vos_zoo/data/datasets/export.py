"""Writes any data set in the DAVIS layout: ``JPEGImages``, ``Annotations`` and ``ImageSets`` folders.

Files are written atomically, so that an interrupted export can be repeated: it
continues with the first missing file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vos_zoo.files.atomic import write_bytes
from vos_zoo.files.names import list_pictures
from vos_zoo.files.text import read_list
from vos_zoo.types import Frame, UsageError, VideoDataset, VideoSequence, VOSError
from vos_zoo.video.masks import read_mask, write_mask


def write_davis_layout(
    dataset: VideoDataset,
    folder: str | Path,
    *,
    split: str = "train",
    year: int = 2017,
    resolution: str = "480p",
    quality: int = 95,
) -> Path:
    """Write all sequences of `dataset` in the DAVIS layout; existing files are kept.

    Args:
        dataset: the videos; frames without annotation get no mask file. Every frame's complete label map is written.
        folder: root of the new data set, created if missing; further splits can be added to it later.
        split: the sequences are listed in ``ImageSets/<year>/<split>.txt``, which is written last.
        year, resolution: names of the sub-folders of ``ImageSets``, and of ``JPEGImages`` and ``Annotations``.
        quality: of the JPEG files, 1 to 100; 95 keeps textures without doubling the size.

    Returns:
        The list file.

    Raises:
        UsageError: the quality is out of range, two sequences share a name, or the folder holds another sequence of
            the same name or another data set's list of the split.
        VOSError: a file cannot be written.
    """
    from tqdm import tqdm

    if not 1 <= quality <= 100:
        raise UsageError(f"JPEG quality {quality}: give a whole number from 1 to 100")
    root = Path(folder)
    listing = check_list(dataset, root, split=split, year=year)
    names: list[str] = []
    try:
        with tqdm(total=len(dataset), desc=f"{dataset.name} {split}", unit="video", disable=None) as bar:
            for sequence in dataset:
                if sequence.name in names:
                    raise UsageError(f"{dataset.name}: two sequences are called {sequence.name!r}; names must differ")
                names.append(sequence.name)
                pictures = root / "JPEGImages" / resolution / sequence.name
                annotations = root / "Annotations" / resolution / sequence.name
                _check_same(sequence, pictures, annotations)
                _write_sequence(sequence, pictures, annotations, quality)
                bar.update()
        write_bytes(listing, "".join(f"{name}\n" for name in names).encode())
    except OSError as error:
        raise VOSError(
            f"{error.filename or root}: cannot be written ({error.strerror}); check free space and permissions"
        ) from error
    return listing


def check_list(dataset: VideoDataset, folder: str | Path, *, split: str = "train", year: int = 2017) -> Path:
    """The list file that `write_davis_layout` writes, unless it belongs to another data set.

    Raises:
        UsageError: the file exists and lists a sequence that `dataset` does not have.
    """
    listing = Path(folder) / "ImageSets" / str(year) / f"{split}.txt"
    if listing.is_file():
        names = {sequence.name for sequence in dataset}
        other = next((name for name in read_list(listing) if name not in names), None)
        if other is not None:
            raise UsageError(f"{listing}: lists {other!r}, which is not in {dataset.name}; choose an empty folder")
    return listing


def _check_same(sequence: VideoSequence, pictures: Path, annotations: Path) -> None:
    """Check that existing files are of the same sequence, also after a change of the seed or the length."""
    known = set(sequence.frame_names)
    there = (*list_pictures(pictures, (".jpg",)).values(), *list_pictures(annotations, (".png",)).values())
    strangers = [path for path in there if path.stem not in known]
    first, labels = annotations / f"{sequence.frame_names[0]}.png", sequence.labels(0)
    changed = labels is not None and first.is_file() and not np.array_equal(read_mask(first), labels)
    if strangers or changed:
        raise UsageError(
            f"{strangers[0] if strangers else first}: belongs to another sequence {sequence.name!r}; "
            "choose an empty folder or delete the old one"
        )


def _write_sequence(sequence: VideoSequence, pictures: Path, annotations: Path, quality: int) -> None:
    for index, stem in enumerate(sequence.frame_names):
        picture, mask = pictures / f"{stem}.jpg", annotations / f"{stem}.png"
        if not picture.exists():
            write_bytes(picture, _jpeg(sequence.frame(index), quality))
        if not mask.exists() and (labels := sequence.labels(index)) is not None:
            write_mask(mask, labels)


def _jpeg(frame: Frame, quality: int) -> bytes:
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
