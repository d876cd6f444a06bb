"""Images with masks, from which training makes clips: the base classes, and the saliency sets.

An image is a video of one frame that is repeated for every frame of a clip; the motion in the clip is made by
`clips.transforms` (crops that jitter around the object) or by `clips.warps` (warps of the whole image).
COCO's instances are in `vos_zoo.data.datasets.coco`.

`SaliencyDataset` reads folders of images and grey masks, in all layouts in which the sets of the static stage are
distributed, nested at any depth::

    fss/<class>/1.jpg 1.png                      together (FSS-1000, and all sets of the common bundle)
    BIG/a_im.jpg a_gt.png                        together, distinguished by the ends of the names
    ecssd/images/0001.jpg   ecssd/ground_truth_mask/0001.png            two folders (HKU-IS: imgs, gt)
    DUTS-TR/DUTS-TR-Image/a.jpg   DUTS-TR/DUTS-TR-Mask/a.png            two folders with a prefix

Masks are soft, 0..255: they are warped unchanged, and more than half of 255 is the object.
"""

from __future__ import annotations

import re
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from vos_zoo.data.datasets.sequence import Problem, by_name, describe
from vos_zoo.data.datasets.threads import in_threads
from vos_zoo.files.frames import frame_size, read_frame, read_frame_strictly, read_reduced
from vos_zoo.files.names import list_files, list_folders, list_pictures
from vos_zoo.types import Box, Frame, LabelMap, UsageError, VideoDataset, VideoSequence, VOSError

HALF = 127
"""A pixel of a soft mask above this is the object: more than 0.5 of 255."""
REPEATS: Mapping[str, int] = {"BIG": 5, "BIG_small": 5, "HRSOD": 5, "HRSOD_small": 5}
"""Folders whose images are repeated in the published mixture (docs/methods/pcvos.md, "Static training")."""
_PICTURE_WORDS = frozenset({"image", "images", "img", "imgs", "im", "jpegimages"})
_MASK_WORDS = frozenset({"mask", "masks", "gt", "gts", "ground", "truth", "annotation", "annotations"})


class StaticImage(VideoSequence):
    """An image with an object, id 1, or with several; every frame number shows it.

    Attributes:
        name: name of the image (and of its object, if it has several).
    """

    frame_names = ("0",)
    object_ids: tuple[int, ...] = (1,)

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def soft_mask(self) -> NDArray[np.uint8]:
        """The share of every pixel that the object covers, uint8 ``(H, W)``, 0..255.

        Raises:
            VOSError: the mask cannot be used.
        """

    def soft_masks(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        """Soft masks of some of its objects, uint8 ``(K, H, W)``, 0..255.

        Raises:
            VOSError: the mask cannot be used.
        """
        assert tuple(ids) == (1,), "only images with several objects have other ids"
        return self.soft_mask()[None]

    @abstractmethod
    def problems(self, decode: bool) -> list[Problem]:
        """Faults; `decode` reads the whole image, not only its header."""

    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, without decoding the image."""

    def box(self) -> Box | None:
        """The object's box in the data set; None if it is that of the mask."""
        return None

    def labels(self, index: int) -> LabelMap:
        """1 where the object covers more than half of a pixel, uint8 ``(H, W)``; the same for every index."""
        return (self.soft_mask() > HALF).astype(np.uint8)

    def prompts(self) -> dict[int, LabelMap]:
        """The mask, in frame 0."""
        return {0: self.labels(0)}


class StaticDataset(VideoDataset):
    """A data set of `StaticImage`, checked when it is opened.

    Attributes:
        name: name of the data set for messages.
        problems: faults of images that were left out.
    """

    name: str
    problems: tuple[Problem, ...] = ()

    def draw(self, random: np.random.Generator) -> int:
        """The number of an image sampled for training; uniform by default."""
        return int(random.integers(len(self)))

    def draw_objects(self, number: int, most: int, random: np.random.Generator) -> tuple[int, ...]:
        """At most `most` objects of image `number`, in random order."""
        ids = self[number].object_ids
        return ids if len(ids) == 1 else tuple(int(identity) for identity in random.permutation(ids)[:most])

    def report(self, problems: Sequence[Problem], skip_broken: bool) -> None:
        """Record faults; raise an error for them, or warn.

        Raises:
            VOSError: something is broken and `skip_broken` is off.
        """
        self.problems = tuple(problems)
        if problems and not skip_broken:
            raise VOSError(f"{self.name}: {describe(problems)}; fix them or set data.skip_broken=true")
        if problems:
            warnings.warn(f"{self.name}: left out: {describe(problems, limit=20)}", stacklevel=3)


class Pair(NamedTuple):
    """An image and its mask; either may be missing on disk."""

    name: str
    picture: Path | None
    mask: Path | None


class PictureFile(StaticImage):
    """An image file with a mask file; subclasses read the mask."""

    def __init__(self, name: str, picture: Path, mask: Path) -> None:
        super().__init__(name)
        self.picture_path, self.mask_path = picture, mask

    def frame(self, index: int) -> Frame:
        """The image, uint8 RGB ``(H, W, 3)``; raises VOSError for an unreadable file."""
        return read_frame(self.picture_path)

    def reduced_frame(self, index: int, reduction: int) -> Frame:
        """The image with its size divided by 2, 4 or 8; see `read_reduced`."""
        return read_reduced(self.picture_path, reduction)

    def size(self) -> tuple[int, int]:
        """Height and width in pixels, from the image's header."""
        return frame_size(self.picture_path)


class MaskedPicture(PictureFile):
    """An image file with a grey mask file of one object."""

    def soft_mask(self) -> NDArray[np.uint8]:
        """The mask file, uint8 ``(H, W)``, 0..255; see `read_soft_mask`."""
        return read_soft_mask(self.mask_path, self.size())

    def problems(self, decode: bool) -> list[Problem]:
        """An unreadable image, an unusable mask, or one without an object."""
        where = self.picture_path
        try:
            if decode:
                read_frame_strictly(where)
            self.size()
            where = self.mask_path
            if not (self.soft_mask() > HALF).any():
                return [Problem(str(where), "shows no object: nothing is above half of 255")]
        except VOSError as error:
            return [Problem(str(where), str(error).split(f"{where}: ", 1)[-1])]
        return []


def read_soft_mask(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """A grey mask with soft edges, uint8 ``(H, W)``, 0..255.

    Grey files are read unchanged, also if they have three equal channels; 0/1 files are scaled to 0/255. Of a palette
    with colours every index but 0 is the object; a palette of greys is read as its greys.

    Args:
        path: the file.
        size: height and width it must have.

    Raises:
        VOSError: missing, unreadable, coloured, or of another size; the message names the file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            values = _grey(image, path)
    except FileNotFoundError as error:
        raise VOSError(f"mask {path}: there is no such file; restore it or leave the image out") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VOSError(f"mask {path}: cannot be read as an image ({error}); replace or remove the file") from error
    if size is not None and values.shape != tuple(size):
        raise VOSError(
            f"mask {path}: its size {values.shape[1]}x{values.shape[0]} differs from the image's "
            f"{size[1]}x{size[0]}; replace it or leave the image out"
        )
    return values * np.uint8(255) if values.size and values.max() == 1 else values


def _grey(image: object, path: Path) -> NDArray[np.uint8]:
    """The grey values of an opened image."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    if image.mode == "P":
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
        index = np.array(image)
        if (palette == palette[:, :1]).all():
            return palette[:, 0][index]
        return (index > 0).astype(np.uint8) * np.uint8(255)
    if image.mode.startswith("I;16"):
        return (np.array(image) >> 8).astype(np.uint8)
    if image.mode in {"L", "1", "LA"}:
        return np.array(image.convert("L"))
    channels = np.array(image.convert("RGB"))
    if not (channels == channels[..., :1]).all():
        raise VOSError(f"mask {path}: is a coloured {image.mode} image; replace it by a grey mask or remove the pair")
    return channels[..., 0]


class SaliencyDataset(StaticDataset):
    """Images with grey masks below a folder (see the module docstring for the layouts).

    Every mask is read when the data set is opened (in threads), because public copies have broken ones.

    Args:
        root: a set, or a folder of sets.
        split: sub-folder, if there is one of that name; otherwise everything.
        sequences: use only these images ("fss/abacus/1") or folders ("ecssd").
        repeat: folder name -> number of repeats of its images when clips are sampled; None for `REPEATS`.
        skip_broken: leave broken pairs out with a warning.

    Raises:
        UsageError: no such folder, no pair in it, an unknown name or repeated folder.
        VOSError: a pair is broken and `skip_broken` is off.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        sequences: Sequence[str] | None = None,
        *,
        repeat: Mapping[str, int] | None = None,
        skip_broken: bool = False,
    ) -> None:
        root = Path(root)
        if not root.is_dir():
            raise UsageError(f"saliency: there is no folder {root}; check data.root")
        root = root / split if split is not None and (root / split).is_dir() else root
        self.name = f"saliency-{root.resolve().name}"
        pairs = chosen_pairs(list(find_pairs(root)), sequences, self.name)
        if not pairs:
            raise UsageError(f"{self.name}: no images with masks in {root}; check data.root")
        checked = in_threads(_check, pairs)
        self.report([problem for _, problems in checked for problem in problems], skip_broken)
        self._images = [image for image, problems in checked if image is not None and not problems]
        if not self._images:
            raise VOSError(f"{self.name}: every pair is broken; vos-zoo check-data lists what to fix")
        self._ends = np.cumsum(_repeats(self._images, root, repeat, self.name))

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> MaskedPicture: ...

    @overload
    def __getitem__(self, index: slice) -> list[MaskedPicture]: ...

    def __getitem__(self, index: int | slice) -> MaskedPicture | list[MaskedPicture]:
        return self._images[index]

    def draw(self, random: np.random.Generator) -> int:
        """The number of a sampled image; those of a folder that is repeated n times are n times as likely."""
        return int(np.searchsorted(self._ends, random.integers(self._ends[-1]), side="right"))


def _check(pair: Pair) -> tuple[MaskedPicture | None, list[Problem]]:
    if pair.picture is None or pair.mask is None:
        alone, missing = (pair.picture, "mask") if pair.mask is None else (pair.mask, "picture")
        return None, [Problem(str(alone), f"has no {missing} of that name")]
    image = MaskedPicture(pair.name, pair.picture, pair.mask)
    return image, image.problems(decode=False)


def chosen_pairs(pairs: list[Pair], wanted: Sequence[str] | None, what: str) -> list[Pair]:
    """The pairs in `wanted`, named individually or by a folder above them."""
    if wanted is None:
        return pairs
    above = [{pair.name, *(parent.as_posix() for parent in Path(pair.name).parents)} for pair in pairs]
    by_name(sorted(set().union(*above) - {"."}), wanted, what)
    return [pair for pair, names in zip(pairs, above, strict=True) if names & set(wanted)]


def _repeats(images: Sequence[StaticImage], root: Path, repeat: Mapping[str, int] | None, what: str) -> list[int]:
    """Number of repeats of each image."""
    table = dict(REPEATS if repeat is None else repeat)
    folders = [{root.resolve().name, *Path(image.name).parts[:-1]} for image in images]
    unknown = [] if repeat is None else sorted(set(table) - set().union(*folders))
    if unknown:
        raise UsageError(f"data.static.repeat: {what} has no folder {unknown[0]!r}; name folders below data.root")
    if any(int(times) != times or times < 1 for times in table.values()):
        raise UsageError(f"data.static.repeat: {table} must give whole numbers above 0")
    return [max([int(table[name]) for name in names if name in table], default=1) for names in folders]


def find_pairs(root: Path) -> Iterator[Pair]:
    """Images and masks below a folder, by name, including images without a mask and masks without an image."""
    yield from _pairs(root, "")


def _pairs(folder: Path, prefix: str) -> Iterator[Pair]:
    yield from _side_by_side(
        sorted(list_files(folder)), prefix
    )  # sorted as text, so that a seed keeps sampling the same images
    folders = sorted(path.name for path in list_folders(folder))
    partners = _partners(folders)
    for name in folders:
        if name in partners:
            yield from _two_folders(folder / name, folder / partners[name], prefix)
        elif name not in partners.values():
            yield from _pairs(folder / name, f"{prefix}{name}/")


def _without(name: str, words: frozenset[str]) -> tuple[str, bool]:
    """A folder's name in lower case without the given words at its end, and whether there were any."""
    parts = re.split(r"[-_ ]", name.lower())
    kept = len(parts)
    while kept and parts[kept - 1] in words:
        kept -= 1
    return "-".join(parts[:kept]), kept < len(parts)


def _partners(folders: Sequence[str]) -> dict[str, str]:
    """Image folder -> mask folder, for folders that differ only in the words for images and masks."""
    masks = {stem: name for name in folders for stem, there in [_without(name, _MASK_WORDS)] if there}
    pictures = {name: _without(name, _PICTURE_WORDS)[0] for name in folders if name not in masks.values()}
    return {name: masks[stem] for name, stem in pictures.items() if stem in masks}


def _two_folders(pictures: Path, masks: Path, prefix: str) -> Iterator[Pair]:
    found = [list_pictures(folder) for folder in (pictures, masks)]
    for stem in sorted({*found[0], *found[1]}):
        yield Pair(f"{prefix}{stem}", found[0].get(stem), found[1].get(stem))


def _side_by_side(files: Sequence[Path], prefix: str) -> Iterator[Pair]:
    """Pairs of one folder: "a_im" and "a_gt", or "a.jpg" and "a.png"."""
    together: dict[str, list[Path]] = {}
    for path in files:
        together.setdefault(re.sub(r"_(im|gt|mask)$", "", path.stem), []).append(path)
    for stem, group in together.items():
        masks = [path for path in group if re.search(r"_(gt|mask)$", path.stem)]
        others = [path for path in group if path not in masks]
        if not masks:  # two files of one name: the PNG is the mask; a single file is a mask if it is a PNG
            masks = [path for path in others if path.suffix.lower() == ".png"]
            others = [path for path in others if path not in masks]
        yield Pair(prefix + stem, others[0] if others else None, masks[0] if masks else None)
