"""Reading image files as frames: all readers of the package get the same pixels of a file.

Frames have 8 bits per channel. 16-bit images, grey or colour, are scaled by their whole range: 65535 becomes 255. One
that uses a small part of the range (a thermal camera's 14 bits) would lose its content and is refused: which values are
black and white must be the same for all frames of a video, which a single frame cannot tell.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vos_zoo.files.names import no_such_file
from vos_zoo.types import Frame, VOSError

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
"""The first and the last bytes of a complete JPEG."""
TAIL = 4096
"""Bytes at the end that are searched for the end marker: some cameras append a few bytes."""
MIN_VALUE, MIN_RANGE = 1 << 14, 1 << 12
"""A 16-bit image is scaled if its highest value and its range reach these (or if it has a single value)."""
_EXIF_ORIENTATION = 0x0112
_DEEP = re.compile(r";16[BLNS]")
"""Pillow's raw modes of 16-bit channels that it would truncate to the upper byte."""


def read_frame(path: str | Path, *, upright: bool = True) -> Frame:
    """Read an image as uint8 RGB ``(H, W, 3)``; grey and CMYK become RGB, 16 bits are scaled (see the top).

    Args:
        path: the file.
        upright: apply the EXIF rotation.

    Raises:
        VOSError: the file is missing, is not a readable image, or its values do not fit 8 bits.
    """
    import cv2

    picture = _quickly(Path(path), cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return read_frame_strictly(path, upright=upright) if picture is None else picture


def read_reduced(path: str | Path, reduction: int) -> Frame:
    """As `read_frame`, of a JPEG with its size divided by 2, 4 or 8 (rounded up) in the decoder, in less time.

    The decoder omits high frequencies of every block; the result differs from area resizing by a few of 255.
    Other images are read at full size.
    """
    import cv2

    flags = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    picture = _quickly(Path(path), flags[reduction]) if reduction in flags else None
    return read_frame(path) if picture is None else picture


def read_frame_strictly(path: str | Path, *, upright: bool = True) -> Frame:
    """As `read_frame`, with Pillow: slower, but a truncated file is an error instead of a grey area."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            picture: Image.Image = _scaled(image, path) if _is_deep(image) else image
            if upright:
                picture = ImageOps.exif_transpose(picture)
            return np.array(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise VOSError(f"frame {path}: {no_such_file(path)}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VOSError(f"frame {path}: cannot be read as an image ({error}); replace or remove the file") from error


def frame_size(path: str | Path) -> tuple[int, int]:
    """Height and width of an image after its EXIF rotation, read from the header.

    Raises:
        VOSError: the file is missing or is not an image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    except FileNotFoundError as error:
        raise VOSError(f"frame {path}: {no_such_file(path)}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VOSError(f"frame {path}: cannot be read as an image ({error}); replace or remove the file") from error
    return (width, height) if turned else (height, width)


def _quickly(path: Path, flags: int) -> Frame | None:
    """Read a complete JPEG by OpenCV, uint8 RGB ``(H, W, 3)``; None for other and truncated files."""
    import cv2

    if path.suffix.lower() not in {".jpg", ".jpeg"}:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if (
        not content.startswith(JPEG_START) or JPEG_END not in content[-TAIL:]
    ):  # OpenCV would fill the missing part with grey
        return None
    try:
        picture = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags)
    except cv2.error:  # more pixels than OpenCV allows
        return None
    return None if picture is None else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def is_deep(path: str | Path) -> bool:
    """Whether an image has more than 8 bits per channel, by its header; False for other files."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return _is_deep(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def _is_deep(image: Image) -> bool:
    """Whether a file stores more than 8 bits per channel."""
    tile = (getattr(image, "tile", None) or [None])[0]
    arguments = None if tile is None else tile[3]
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return image.mode.startswith(("I", "F")) or (isinstance(raw, str) and _DEEP.search(raw) is not None)


def _scaled(image: Image, path: str | Path) -> Image:
    """An image of more than 8 bits scaled to 8 bits, before its EXIF rotation."""
    from PIL import Image as Pictures

    values = np.array(image) if image.mode.startswith(("I", "F")) else _stored_channels(path)
    scaled = Pictures.fromarray(_eight_bits(values, path))
    scaled.getexif()[_EXIF_ORIENTATION] = image.getexif().get(_EXIF_ORIENTATION, 1)
    return scaled


def _stored_channels(path: str | Path) -> NDArray[np.uint16]:
    """Colour channels with all their bits, ``(H, W, 3)``: Pillow keeps the upper byte only."""
    import cv2

    content = np.fromfile(path, dtype=np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None or picture.dtype != np.uint16:
        raise ValueError("16-bit channels that cannot be decoded")
    return np.asarray(picture[..., ::-1], dtype=np.uint16)


def _eight_bits(values: NDArray[np.generic], path: str | Path) -> NDArray[np.uint8]:
    """16-bit values as 8 bits, of the same shape; the whole range is mapped to the whole range.

    Raises:
        VOSError: values of another kind, or too small a range to keep the image's content.
    """
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" or low < 0 or high > 65535:
        raise VOSError(
            f"frame {path}: has values of type {values.dtype} from {low:g} to {high:g}; frames have 8 or 16 bits: "
            "save the frames with 8 bits, with one range of values for the whole video"
        )
    if low != high and (high < MIN_VALUE or high - low < MIN_RANGE):
        raise VOSError(
            f"frame {path}: its 16-bit values, {low} to {high}, are a small part of 0 to 65535, which becomes 0 to "
            "255, so its content would be lost; save the frames with 8 bits, with one range for the whole video, for "
            f"example: magick IN.png -level {low},{high} -depth 8 OUT.png"
        )
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
