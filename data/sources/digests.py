"""Short digests of stored images, which show whether a file or record was replaced.

They need no whole file: of an image file its size and 4 KiB at either end count, of a record its
length and the checksum that it has. Times do not count, so that copies are equal.
"""

import concurrent.futures
import hashlib
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from data import tfrecord_file
from data.examples import WHOLE_FILE, DecodedExamples, EncodedExamples, Examples

LENGTH = 8  # hexadecimal digits of a digest
NONE = "-" * LENGTH  # for an image that is not on disk
_BLOCK = 4096
_contents: weakref.WeakKeyDictionary[EncodedExamples, str] = weakref.WeakKeyDictionary()


def by_id(sets: Iterable[Examples]) -> dict[str, str]:
    """Returns the digests of all images on disk, by id."""
    found: dict[str, str] = {}
    with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
        for examples in sets:
            if isinstance(examples, EncodedExamples):
                for digests in pool.map(_of_file, *_by_file(examples), chunksize=64):
                    found.update((examples.ids[row], digest) for row, digest in digests)
    return found


def of_pixels(sets: Iterable[Examples]) -> dict[str, str]:
    """Returns a digest of the pixels of every image in memory, by its id."""
    return {
        name: hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).hexdigest()
        for examples in sets
        if isinstance(examples, DecodedExamples)
        for name, image in zip(examples.ids, examples.images, strict=True)
    }


def content(examples: Examples, known: Mapping[str, str] | None = None) -> str:
    """Returns a hash of images on disk, in 16 hexadecimal digits; "" of none, or of others.

    Image files count as in `by_id`, TFRecord files with their sizes and the places of the records.
    The hash is kept as long as `examples`. `known` are digests of at least these images, which
    are then not read again.
    """
    if not isinstance(examples, EncodedExamples) or not len(examples):
        return ""
    if examples not in _contents:
        found = hashlib.blake2b(np.ascontiguousarray(examples.offsets).data, digest_size=8)
        files = examples.take(np.flatnonzero(examples.offsets == WHOLE_FILE))
        marks = by_id([files]) if known is None else known
        found.update("".join(marks[name] for name in files.ids).encode())
        for file in examples.record_files():
            found.update(f"{os.path.getsize(file)} ".encode())
        _contents[examples] = found.hexdigest()
    return _contents[examples]


def contents(**sets: Examples) -> dict[str, str]:
    """Returns the `content` of sets of images by name; those in memory are left out."""
    found = {name: content(examples) for name, examples in sets.items()}
    return {name: digest for name, digest in found.items() if digest}


def _by_file(examples: EncodedExamples) -> tuple[Iterable[str], Iterable[list[tuple[int, int]]]]:
    """Returns the files, and for each of them the rows and offsets of its images."""
    rows: dict[str, list[tuple[int, int]]] = {}
    for row, file in enumerate(examples.files):
        rows.setdefault(file, []).append((row, int(examples.offsets[row])))
    return rows.keys(), rows.values()


def _of_file(path: str, rows: list[tuple[int, int]]) -> list[tuple[int, str]]:
    """Returns the row and digest of the images in a file."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        return [(row, _digest(file.fileno(), size, offset)) for row, offset in rows]


def _digest(descriptor: int, size: int, offset: int) -> str:
    if offset == WHOLE_FILE:
        parts = [str(size).encode(), os.pread(descriptor, _BLOCK, 0)]
        parts.append(os.pread(descriptor, _BLOCK, max(size - _BLOCK, 0)))
    else:
        header = os.pread(descriptor, tfrecord_file.HEADER.size, offset)
        length = tfrecord_file.HEADER.unpack(header)[0]
        end = offset + len(header) + length
        parts = [header, os.pread(descriptor, tfrecord_file.FOOTER_BYTES, end)]
    return hashlib.blake2b(b"".join(parts), digest_size=LENGTH // 2).hexdigest()


def changed(ids: Iterable[str], stored: str, now: Mapping[str, str]) -> Iterator[str]:
    """Yields the ids of images whose digest differs from the stored one.

    Args:
        ids: N ids.
        stored: their digests, joined.
        now: id -> digest.
    """
    for number, name in enumerate(ids):
        before = stored[LENGTH * number : LENGTH * (number + 1)]
        if now.get(name, before) != before:
            yield name
