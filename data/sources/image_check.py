"""Checks that encoded images are whole, and that training can decode them."""

import concurrent.futures
import contextlib
import io
import mmap
import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import PIL.Image
import tensorflow as tf

from data import preprocess
from data.examples import EncodedExamples, Examples

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # what `preprocess.decode_image` reads
MAX_PIXELS = 178_956_970  # of Pillow, too; more would take over half a GB for a single image
VERIFIED_BYTES = 1 << 30  # sets up to this total size are read in full when they are indexed
_UNREADABLE = (  # what Pillow raises on damaged files
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
)
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_BEGIN, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_RARE_BEGINS = (b"GIF8", b"BM", b"RIFF")
_FRAMES, _OTHER_FRAMES = (0xC0, 0xC1, 0xC2), (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xD0))
_TABLES, _SCAN = 0xC4, 0xDA
_LARGE, _ONE_LARGE = 1 << 24, threading.Lock()  # images of more pixels are decoded one at a time


def file_problem(path: str | os.PathLike[str]) -> str:
    """Returns what keeps a file from being a readable image, or "" (also see `problem`)."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file"  # a pipe, say, which would keep its reader waiting
        if not status.st_size:
            return "is not a readable image (empty)"
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return problem(data)
    except OSError as error:
        return f"cannot be read ({type(error).__name__})"


def problem(encoded: mmap.mmap | memoryview, skim: bool = False) -> str:
    """Returns what keeps an encoded image from being read, or "".

    A JPEG of a usual kind that ends with its end-of-image marker passes by its header, whatever is
    between (see `refuse_undecodable`). All others are decoded as for training.

    Args:
        encoded: the bytes of the image, such as a memory map of its file.
        skim: a PNG that begins and ends as it should passes, too, without being decoded.
    """
    begin, end = bytes(encoded[:24]), bytes(encoded[-8:])
    size, passes = (0, 0), False
    if begin.startswith(_JPEG_BEGIN):
        size, is_usual = _jpeg_header(encoded)
        passes = is_usual and end.endswith(_JPEG_END)
    elif begin.startswith(_PNG_BEGIN):
        width, height = struct.unpack(">2I", begin[16:].ljust(8, b"\0"))
        size, passes = (width, height), skim and end == _PNG_END
    elif begin.startswith(_RARE_BEGINS):
        return _rare_problem(bytes(encoded[:]))
    else:
        return "is not a readable image (unknown format)"
    if size[0] * size[1] > MAX_PIXELS:
        return _too_large(*size)
    if passes:
        return ""
    with _ONE_LARGE if size[0] * size[1] > _LARGE else contextlib.nullcontext():
        return _decoding_problem(bytes(encoded[:]))


def refuse_undecodable(sets: Mapping[str, Examples]) -> None:
    """Decodes the images that `problem` passes by their header, if all are at most VERIFIED_BYTES.

    Those of larger sets are named when a pipeline decodes them.

    Raises:
        ValueError: names the files (and the bytes of the records) of images that are damaged.
    """
    places = [
        (examples, index)
        for examples in sets.values()
        if isinstance(examples, EncodedExamples)
        for index in range(len(examples))
    ]
    left = VERIFIED_BYTES
    for examples, index in places:
        left -= examples.num_bytes(index)
        if left < 0:
            return

    def check(place: tuple[EncodedExamples, int]) -> str:
        encoded = place[0].encoded(place[1])
        return _decoding_problem(encoded) if encoded.startswith(_JPEG_BEGIN) else ""

    with concurrent.futures.ThreadPoolExecutor(preprocess.PARALLEL) as pool:
        problems = zip(places, pool.map(check, places), strict=True)
        damaged = [f"{examples.place(row)} {bad}" for (examples, row), bad in problems if bad]
    if damaged:
        raise ValueError(f"{listed(damaged)}.")


def _decoding_problem(encoded: bytes) -> str:
    """Decodes an image as for training; returns TensorFlow's error, or ""."""
    try:
        if encoded.startswith(b"RIFF"):
            preprocess.decode_image(encoded)
        else:  # the same, ten times as fast outside of a graph
            tf.raw_ops.DecodeImage(contents=encoded, channels=3, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        reason = str(error).split("}} ")[-1].split(" [Op:")[0].split(".")[0]
        return f"is not a readable image ({reason})"
    return ""


def _rare_problem(encoded: bytes) -> str:
    """Does what `problem` does for GIF, BMP and WebP, of which TensorFlow misreads some kinds."""
    try:
        with PIL.Image.open(io.BytesIO(encoded), formats=FORMATS[2:]) as image:
            if image.format == "BMP" and image.mode not in ("L", "RGB", "RGBA"):
                return "is a BMP with a palette, which TensorFlow ignores"
            if image.format == "WEBP" and getattr(image, "is_animated", False):
                return "is an animated WebP, which TensorFlow cannot read"
            if image.format == "GIF" and image.tile[0][1] != (0, 0, *image.size):
                return (
                    "is a GIF whose first frame is smaller than its canvas, which TensorFlow crops"
                )
            if image.width * image.height > MAX_PIXELS:
                return _too_large(*image.size)
            pixels = np.asarray(image.convert("RGB")) if image.format != "WEBP" else None
    except PIL.Image.DecompressionBombError:
        return f"has over {MAX_PIXELS:,} pixels: scale it down"
    except _UNREADABLE as error:
        return f"is not a readable image ({type(error).__name__})"
    if found := _decoding_problem(encoded):
        return found
    if pixels is not None and not np.array_equal(preprocess.decode_image(encoded), pixels):
        return f"is a kind of {image.format} that TensorFlow decodes with wrong colors"
    return ""


def _jpeg_header(encoded: mmap.mmap | memoryview) -> tuple[tuple[int, int], bool]:
    """Returns width and height of a JPEG, and whether it is sequential or progressive with 8 bits.

    It also has tables and a scan with some data then.
    """
    position, size, usual, tables = 2, (0, 0), False, False
    while position + 4 <= len(encoded) and encoded[position] == 0xFF:
        marker = encoded[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        length = int.from_bytes(encoded[position + 2 : position + 4], "big")
        if marker in _FRAMES or marker in _OTHER_FRAMES:
            frame = bytes(encoded[position + 4 : position + 10]).ljust(6, b"\0")
            bits, height, width, components = struct.unpack(">B2HB", frame)
            size = width, height
            usual = marker in _FRAMES and bits == 8 and components in (1, 3, 4)
        tables |= marker == _TABLES
        position += 2 + length
        if marker == _SCAN:
            return size, usual and tables and min(size) > 0 and position + 2 < len(encoded)
    return size, False


def _too_large(width: int, height: int) -> str:
    return f"has {width} x {height} pixels, over the limit of {MAX_PIXELS:,}: scale it down"


def listed(problems: list[str], limit: int = 50) -> str:
    """Returns the problems of files, their number where there are several, in one line."""
    count = f"{len(problems)} files: " if len(problems) > 1 else ""
    more = f"; and {len(problems) - limit} more" if len(problems) > limit else ""
    return count + "; ".join(problems[:limit]) + more


def abbreviated(names: Iterable[object], limit: int = 10) -> str:
    """Returns the first few names, and how many more there are."""
    listed = list(map(str, names))
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more
