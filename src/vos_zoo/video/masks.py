"""Mask files: palette PNGs with one object id per pixel, read and written with Pillow (DAVIS / YouTube-VOS form).

The stored index counts, never the colour: OpenCV would turn a palette PNG into three channels, and converting an RGB
image to a palette picks a new palette, so both are avoided here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vos_zoo.files.atomic import atomic_file
from vos_zoo.files.names import no_such_file
from vos_zoo.labels import SOFT_CURE, has_soft_edges, over_threshold
from vos_zoo.types import Frame, LabelMap, VOSError

if TYPE_CHECKING:
    from PIL.Image import Image

_GREY_STEP = {"L;2": 85, "L;4": 17}
"""Pillow stretches 2- and 4-bit grey values to 0..255; dividing by the step gives the stored index back."""
_LOSSY = {"JPEG": "JPEG", "MPO": "JPEG", "JPEG2000": "JPEG 2000", "WEBP": "WebP", "AVIF": "AVIF"}
"""Lossy formats: Pillow's name and the common name."""


@cache
def _palette_table() -> np.ndarray:
    """The PASCAL VOC colour map for all 256 indices, uint8 ``(256, 3)``, RGB."""
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    table = np.zeros((256, 3), dtype=np.uint8)
    for k in range(8):  # bits 3k, 3k+1, 3k+2 of the index are bit 7-k of R, G, B
        table |= (((index >> (3 * k + channel)) & 1) << (7 - k)).astype(np.uint8)
    return table


def davis_palette() -> list[int]:
    """The DAVIS colour table (= PASCAL VOC colour map, all 256 entries), 768 integers: R, G, B of index 0, 1, ...

    Examples:
        >>> davis_palette()[3:6]  # object 1 is dark red
        [128, 0, 0]
    """
    return [int(value) for value in _palette_table().reshape(-1)]


def _open(path: Path) -> Image:
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise VOSError(f"mask {path}: {no_such_file(path)}")
    try:
        image = Image.open(path)
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VOSError(f"mask {path}: cannot be read as an image ({error}); replace the file with a PNG") from error
    lossy = _LOSSY.get(str(image.format)) or ("JPEG" if image.info.get("compression") == "jpeg" else None)
    if lossy is not None:
        raise VOSError(
            f"mask {path}: is a {lossy} file{' named .png' if path.suffix.lower() == '.png' else ''}, which changes "
            "the values at the edges of objects; save the mask as PNG from its source"
        )
    return image


def _check_size(path: Path, shape: tuple[int, ...], size: tuple[int, int] | None) -> None:
    if size is not None and tuple(shape[:2]) != tuple(size):
        raise VOSError(
            f"mask {path}: its size {shape[1]}x{shape[0]} (width x height) differs from the frame's "
            f"{size[1]}x{size[0]}; resize the mask by nearest neighbour to the frame's size"
        )


def _grey_step(path: Path) -> int:
    """The factor of a file's grey values on loading (files of 2 or 4 bits), else 1."""
    from PIL import Image

    with Image.open(path) as image:  # `tile` is emptied by loading: use a new handle
        tiles = getattr(image, "tile", None) or []
        arguments = tiles[0][3] if tiles else None
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return _GREY_STEP.get(raw, 1) if isinstance(raw, str) else 1


def _colours(image: Image) -> NDArray[np.uint8]:
    """The palette of an image of mode P, uint8 ``(n, 3)``, RGB; transparency is left out."""
    return np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)


def read_mask(path: str | Path, *, size: tuple[int, int] | None = None, threshold: int | None = None) -> LabelMap:
    """Read the stored values of a mask file, or with `threshold` its one object.

    Without a threshold the file is a palette (``P``) or grey (``L``, 1 to 8 bits) image whose index or value is the
    object id; the meaning of 255 is decided by all masks of a video (`vos_zoo.video.mask_reader.MaskReader`).

    Args:
        path: the file, usually a PNG.
        size: (height, width) the mask must have, i.e. `frame.shape[:2]`; None accepts any size.
        threshold: the smallest level, 1..255, of the one object of a mask with soft edges; see `read_single_object`.

    Returns:
        Object ids, uint8 ``(H, W)``, 0 = background (or "no label").

    Raises:
        VOSError: the file is missing, is not an image or a JPEG, has colour or alpha channels, 16 or 32 bits, soft
            edges, or another size.
    """
    path = Path(path)
    if threshold is not None:
        return read_single_object(path, size=size, threshold=threshold)
    image = _open(path)
    if image.mode not in {"P", "L", "1"}:
        if image.mode.startswith(("I", "F")):
            raise VOSError(
                f"mask {path}: has {image.mode!r} pixels (more than 8 bits); object ids go up to 254, "
                "so renumber the objects and save it as an 8-bit palette PNG"
            )
        colours = f"is an image of mode {image.mode}, whose colours do not identify objects"
        raise VOSError(
            f"mask {path}: {'has an alpha channel' if image.mode in {'LA', 'PA'} else colours}; save it as a "
            "palette (mode P) or 8-bit grey PNG that stores the object id of every pixel, or, if it shows one object, "
            "use every colour but black as the object (--mask-threshold 1, data.mask_threshold=1)"
        )
    labels = np.array(image).astype(np.uint8)
    if image.mode == "L" and (step := _grey_step(path)) > 1:
        labels //= np.uint8(step)
    _check_size(path, labels.shape, size)
    if _is_soft(image, labels):
        levels = len(np.unique(labels)) - 1
        raise VOSError(f"mask {path}: has soft edges ({levels} levels above 0), which are not object ids; {SOFT_CURE}")
    return labels


def _is_soft(image: Image, labels: LabelMap) -> bool:
    """Whether the values are levels of an anti-aliased mask; files in the DAVIS colours always hold ids."""
    if image.mode != "P":
        return has_soft_edges(labels)
    colours = _colours(image)
    used = int(labels.max(initial=0)) + 1
    if used <= len(colours) and (colours[:used] == _palette_table()[:used]).all():
        return False
    greys = _greys(colours, used)
    return has_soft_edges(labels, ids=True) if greys is None else has_soft_edges(greys[labels])


def _greys(colours: NDArray[np.uint8], used: int) -> NDArray[np.uint8] | None:
    """The levels of the first `used` entries of a palette of different greys, uint8; None for any other palette."""
    greys = colours[:used, 0]
    plain = len(greys) == used and (colours[:used] == greys[:, None]).all() and len(np.unique(greys)) == used
    return greys if plain else None


def read_single_object(path: str | Path, *, size: tuple[int, int] | None = None, threshold: int = 1) -> LabelMap:
    """Read the one object of a mask: pixels with a channel of at least `threshold`; 1 as in DAVIS-2016.

    Grey and RGB images are compared by their levels (of 16 bits, the upper eight; 0/1 files as 0/255), palettes of
    greys by their greys; other palettes, and all with a threshold of 1, by any index but 0. An alpha channel must be
    opaque.

    Args:
        path: the file.
        size: (height, width) the mask must have; None accepts any size.
        threshold: the smallest level of the object, 1..255.

    Returns:
        uint8 ``(H, W)`` of 0 and 1.

    Raises:
        VOSError: the file is missing, is not an image or a JPEG, has transparent pixels, or another size.
    """
    path = Path(path)
    image = _open(path)
    levels = np.array(image) if threshold == 1 and image.mode == "P" else _levels(image, path)
    _check_size(path, levels.shape, size)
    return over_threshold(levels, threshold)


def read_binary_mask(path: str | Path, *, size: tuple[int, int] | None = None) -> LabelMap:
    """Read a one-object mask as in DAVIS-2016: any non-zero value of any colour channel is the object.

    Args:
        path: the file; grey 0/255, palette, or a multi-channel copy.
        size: (height, width) the mask must have; None accepts any size.

    Returns:
        uint8 ``(H, W)`` of 0 and 1.

    Raises:
        VOSError: see `read_single_object`.
    """
    return read_single_object(path, size=size, threshold=1)


def mask_colours(path: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Stored values of a mask file, uint8 ``(H, W)``, and its palette, uint8 ``(n, 3)``, RGB; None without one.

    Channels are reduced to the largest one.

    Raises:
        VOSError: the file is missing, is not an image or a JPEG, or has transparent pixels.
    """
    path = Path(path)
    image = _open(path)
    if image.mode == "P":
        return np.array(image), _colours(image)
    return _levels(image, path), None


def _levels(image: Image, path: Path) -> NDArray[np.uint8]:
    """Grey levels, uint8 ``(H, W)``: the largest colour channel."""
    values = np.array(image)
    if image.mode == "P":
        greys = _greys(_colours(image), int(values.max(initial=0)) + 1)
        return np.where(values > 0, np.uint8(255), np.uint8(0)) if greys is None else greys[values]
    if image.mode == "1":
        return np.where(values, np.uint8(255), np.uint8(0))
    if image.mode.startswith("I"):
        wide = values.astype(np.int64)
        return np.clip(wide if wide.max(initial=0) <= 255 else (wide + 255) // 256, 0, 255).astype(np.uint8)
    if image.mode in {"LA", "RGBA"}:
        if values[..., -1].min(initial=255) < 255:
            raise VOSError(
                f"mask {path}: has transparent pixels, which may be object or background; save it without alpha channel"
            )
        values = values[..., :-1]
    elif image.mode not in {"L", "RGB"}:
        raise VOSError(f"mask {path}: is an image of mode {image.mode}; save it as a grey or palette PNG")
    return np.asarray(values if values.ndim == 2 else values.max(axis=2), dtype=np.uint8)


def write_mask(path: str | Path, labels: LabelMap) -> None:
    """Write a label map as a palette PNG in the DAVIS colours; written atomically.

    Args:
        path: the file to write (its folder is created); an existing file is replaced.
        labels: object ids, ``(H, W)``, any integer or boolean type with values 0..255.

    Raises:
        VOSError: `labels` is not two-dimensional or holds values that do not fit into 8 bits.

    Examples:
        >>> import numpy as np, tempfile
        >>> labels = np.array([[0, 1], [2, 2]], np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_mask(f"{folder}/mask.png", labels)
        ...     read_mask(f"{folder}/mask.png").tolist()
        [[0, 1], [2, 2]]
    """
    from PIL import Image

    path = Path(path)
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iub":
        raise VOSError(f"mask {path}: expected integer ids (H, W), got {labels.dtype} {labels.shape}; pass a label map")
    if labels.size and (int(labels.max()) > 255 or int(labels.min()) < 0):
        raise VOSError(
            f"mask {path}: ids {int(labels.min())}..{int(labels.max())} do not fit into 8 bits; renumber them to 0..255"
        )
    image = Image.fromarray(np.ascontiguousarray(labels, dtype=np.uint8))
    image.putpalette(davis_palette())  # changes the image to mode P without changing the indices
    with atomic_file(path) as temporary:
        image.save(temporary, format="PNG")


def overlay(frame: Frame, labels: LabelMap, alpha: float = 0.5) -> Frame:
    """The frame with its objects tinted in their palette colours and outlined.

    Args:
        frame: uint8 RGB ``(H, W, 3)``.
        labels: object ids, uint8 ``(H, W)``.
        alpha: share of the palette colour inside an object, 0..1.

    Returns:
        uint8 RGB ``(H, W, 3)``; background pixels are unchanged.

    Raises:
        VOSError: frame and labels differ in size.
    """
    if frame.shape[:2] != labels.shape:
        raise VOSError(f"overlay: frame {frame.shape[:2]} and labels {labels.shape} differ in size; resize one of them")
    colours = _palette_table()[labels]
    picture = frame.copy()
    inside = labels > 0
    blended = (1.0 - alpha) * frame[inside] + alpha * colours[inside]
    picture[inside] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    outline = inside & _differs_from_a_neighbour(labels)
    picture[outline] = colours[outline]
    return picture


def _differs_from_a_neighbour(labels: LabelMap) -> np.ndarray:
    """Pixels with another label above, below, left or right, bool ``(H, W)``; the image border counts as equal."""
    edge = np.zeros(labels.shape, dtype=bool)
    rows, columns = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= rows
    edge[:-1] |= rows
    edge[:, 1:] |= columns
    edge[:, :-1] |= columns
    return edge
