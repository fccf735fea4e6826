"""Checks that encoded images are whole, and of a kind that training can decode."""

import io
import os
import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

import PIL.Image

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # what tf.io.decode_image reads
_UNREADABLE = (  # what Pillow raises on damaged files
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    PIL.Image.DecompressionBombError,
)
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def file_problem(path: str | os.PathLike[str]) -> str:
    """Returns what keeps a file from being a readable image, or "" (also see `problem`)."""
    try:
        with open(path, "rb") as file:
            return problem(file)
    except OSError as error:
        return f"cannot be read ({type(error).__name__})"


def problem(file: BinaryIO) -> str:
    """Returns what keeps the content of a file from being a readable image, or "".

    Reads the header, and the end of the file. A PNG is verified by its checksums. A JPEG must end
    with its end-of-image marker or else is decoded in full, as are the rarer formats.
    """
    try:
        with PIL.Image.open(file, formats=FORMATS) as image:
            if image.format == "BMP" and image.mode not in ("L", "RGB", "RGBA"):
                return "is a BMP with a palette, which TensorFlow ignores"
            if image.format == "WEBP" and getattr(image, "is_animated", False):
                return "is an animated WebP, which TensorFlow cannot read"
            if image.format == "GIF" and image.tile[0][1] != (0, 0, *image.size):
                return (
                    "is a GIF whose first frame is smaller than its canvas, which TensorFlow cuts"
                )
            if image.format == "PNG":
                image.verify()
            elif image.format != "JPEG" or not _ends_like_jpeg(file):
                image.load()
    except _UNREADABLE as error:
        return f"is not a readable image ({type(error).__name__})"
    return ""


def bytes_problem(encoded: memoryview) -> str:
    """Returns what keeps encoded bytes from being a readable image, or "".

    A JPEG or PNG that begins and ends as it should passes. Its middle is not touched, which for a
    memory map means not read.
    """
    begin, end = bytes(encoded[:8]), bytes(encoded[-8:])
    if begin.startswith(_JPEG_BEGIN) and end.endswith(_JPEG_END):
        return ""
    if begin == _PNG_BEGIN and end == _PNG_END:
        return ""
    return problem(io.BytesIO(encoded))


def _ends_like_jpeg(file: BinaryIO) -> bool:
    """Returns True if the last two bytes are the end-of-image marker."""
    position = file.tell()
    file.seek(-2, os.SEEK_END)
    marker = file.read()
    file.seek(position)
    return marker == _JPEG_END


def abbreviated(names: Iterable[object], limit: int = 10) -> str:
    """Returns the first few names, and how many more there are."""
    listed = list(map(str, names))
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
