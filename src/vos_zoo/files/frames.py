"""Pictures as frames: every reader of the package gets the same pixels of a file.

Frames have 8 bits per channel. 16-bit pictures, grey or colour, are scaled by their whole range: 65535 becomes 255. One
that uses a small part of the range (a thermal camera's 14 bits) would lose its content and is refused: which values are
black and white must be the same for all frames of a video, and no single frame can tell.
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
"""The first and the last bytes of a whole JPEG."""
TAIL = 4096
"""Where the last ones are looked for: some cameras write a few bytes behind the end of the picture."""
MIN_VALUE, MIN_RANGE = 1 << 14, 1 << 12
"""A 16-bit picture is scaled if its highest value and its range reach these (or if it is of one value)."""
_EXIF_ORIENTATION = 0x0112
_DEEP = re.compile(r";16[BLNS]")
"""How Pillow names stored 16-bit channels that it would cut to their upper byte."""


def read_frame(path: str | Path, *, upright: bool = True) -> Frame:
    """Read a picture as uint8 RGB ``(H, W, 3)``; grey and CMYK become RGB, 16 bits are scaled (see the module's text).

    Args:
        path: the file.
        upright: apply the EXIF rotation.

    Raises:
        VOSError: the file is missing, is no readable picture, or has values that 8 bits cannot show.
    """
    import cv2

    picture = _quickly(Path(path), cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return read_frame_strictly(path, upright=upright) if picture is None else picture


def read_reduced(path: str | Path, reduction: int) -> Frame:
    """As `read_frame`, of a JPEG with its size divided by 2, 4 or 8 (rounded up) in the decoder, in a part of the time.

    The decoder leaves out high frequencies of every block; the picture is that of shrinking by area to a few of 255.
    Other pictures are read at full size.
    """
    import cv2

    flags = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    picture = _quickly(Path(path), flags[reduction]) if reduction in flags else None
    return read_frame(path) if picture is None else picture


def read_frame_strictly(path: str | Path, *, upright: bool = True) -> Frame:
    """As `read_frame`, with Pillow: slower, but a file that ends too early is an error instead of a grey bar."""
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
    """Height and width of a picture after its EXIF rotation, read from the header.

    Raises:
        VOSError: the file is missing or is no picture.
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
    """A whole JPEG by OpenCV, uint8 RGB ``(H, W, 3)``; None for anything else, and for what ends too early."""
    import cv2

    if path.suffix.lower() not in {".jpg", ".jpeg"}:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not content.startswith(JPEG_START) or JPEG_END not in content[-TAIL:]:  # OpenCV would show grey where it ends
        return None
    try:
        picture = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags)
    except cv2.error:  # more pixels than OpenCV allows
        return None
    return None if picture is None else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def is_deep(path: str | Path) -> bool:
    """Whether a picture has more than 8 bits per channel, as its header says; False for what is no picture."""
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
    """A picture of more than 8 bits as one of 8 bits, with its EXIF rotation still to be applied."""
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
    """16-bit values as 8 bits, of the same shape; the whole range becomes the whole range.

    Raises:
        VOSError: values of another kind, or too few of the range to keep the picture's content.
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
