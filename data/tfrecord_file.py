"""Random access to TFRecord files: positions of the records and their contents.

A file is a sequence of records, each a header (length of the data and its checksum), the data, and
the data's checksum. The headers alone give the position of every record, so that indexing a file
reads only a few bytes per record, and any record can then be read on its own.

Source: the format as TensorFlow documents it at `tf.data.TFRecordDataset` (tutorial "TFRecord and
tf.train.Example").
"""

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import google_crc32c
import tensorflow as tf

HEADER = struct.Struct("<QI")  # length of the data, its masked checksum
FOOTER_BYTES = 4  # masked checksum of the data
# The image of a record: the published layout, and that of tensorflow-datasets.
IMAGE_KEYS = ("image/encoded", "image")


def spans(path: str | os.PathLike[str]) -> Iterator[tuple[int, int]]:
    """Finds the records of a file from their headers.

    Args:
        path: an uncompressed TFRecord file.

    Yields:
        The byte at which a record begins, and the length of its data in bytes.

    Raises:
        ValueError: names the file and the byte at which it is damaged or cut short.
    """
    size, offset, count = os.path.getsize(path), 0, 0
    with open(path, "rb", buffering=0) as file:
        while offset < size:
            file.seek(offset)
            header = file.read(HEADER.size)
            complete = len(header) == HEADER.size
            if complete and not _is_sound(header):
                raise ValueError(
                    f"{path} is not an uncompressed TFRecord file, or is damaged: the record at "
                    f"byte {offset} has a wrong checksum."
                )
            length = HEADER.unpack(header)[0] if complete else 0
            end = offset + HEADER.size + length + FOOTER_BYTES
            if not complete or end > size:
                raise ValueError(
                    f"{path} is cut short after {count} records, in the one at byte {offset}."
                )
            yield offset, length
            offset, count = end, count + 1


def verify(files: Iterable[str | os.PathLike[str]]) -> None:
    """Reads files in full, at the speed of the disk, and compares all checksums.

    Raises:
        ValueError: names the file, and the byte at which a damaged record begins.
    """
    for file in files:
        path = os.fspath(file)
        try:
            for _ in tf.data.TFRecordDataset(path).batch(64):
                pass
        except tf.errors.DataLossError as error:
            offset = _first_damaged(path)
            raise ValueError(f"{path} is damaged: the record at byte {offset}.") from error


@contextlib.contextmanager
def damage_named(files: Iterable[str | os.PathLike[str]]) -> Iterator[None]:
    """Replaces a DataLossError by an error that names the file and byte of the damage.

    Args:
        files: the files that are read within the context.

    Raises:
        ValueError: see `verify`.
    """
    try:
        yield
    except tf.errors.DataLossError:
        verify(files)
        raise


def _first_damaged(path: str) -> int:
    """Returns the byte at which the first damaged record begins."""
    offsets = [offset for offset, _ in spans(path)]
    sound = 0
    try:
        for _ in tf.data.TFRecordDataset(path):
            sound += 1
    except tf.errors.DataLossError:
        pass
    return offsets[sound]


def length_at(path: str, offset: int) -> int:
    """Returns the length in bytes of the data of the record at byte `offset` of a file.

    Raises:
        ValueError: names file and offset where no record begins there.
    """
    with open(path, "rb") as file:
        return _length_at(file, offset)


def _length_at(file: BinaryIO, offset: int) -> int:
    """Reads the header of a record, up to the start of its data."""
    file.seek(offset)
    header = file.read(HEADER.size)
    if len(header) < HEADER.size or not _is_sound(header):
        raise ValueError(f"{file.name} has no record at byte {offset}: was the file rewritten?")
    return HEADER.unpack(header)[0]


def encoded_at(path: str, offset: int) -> bytes:
    """Returns the bytes of the encoded image in the record at byte `offset` of a file.

    Raises:
        ValueError: names file and offset where no record with an image begins there.
    """
    with open(path, "rb") as file:
        length = _length_at(file, offset)
        features = tf.train.Example.FromString(file.read(length)).features.feature
    for key in IMAGE_KEYS:
        if key in features:
            return features[key].bytes_list.value[0]
    raise ValueError(f"{path} has no image in the record at byte {offset}.")


def read_encoded(path: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Reads like `encoded_at`, as an operation on tensors, and verifies the checksums.

    Args:
        path: string scalar.
        offset: int64 scalar.

    Returns:
        String scalar. A damaged record is a DataLossError with the offset in its message, which
        `verify` turns into one that names the file.
    """
    # TFRecordDataset has no offset argument. Unbuffered: a buffer would be filled with neighbors.
    records = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path],
        compression_type="",
        buffer_size=tf.constant(0, tf.int64),
        byte_offsets=[offset],
    )
    element = {"output_types": [tf.string], "output_shapes": [[]]}
    first = tf.raw_ops.TakeDataset(input_dataset=records, count=tf.constant(1, tf.int64), **element)
    (serialized,) = tf.raw_ops.DatasetToSingleElement(dataset=first, **element)
    optional = tf.io.FixedLenFeature([], tf.string, default_value="")
    found = tf.io.parse_single_example(serialized, dict.fromkeys(IMAGE_KEYS, optional))
    return tf.strings.join([found[key] for key in IMAGE_KEYS])  # only one of them is there


def _is_sound(header: bytes) -> bool:
    """Returns whether a header's checksum, CRC-32C rotated and shifted, is that of its length."""
    checksum = google_crc32c.value(header[:8])
    masked = (checksum >> 15 | checksum << 17) + 0xA282EAD8 & 0xFFFFFFFF
    return masked == HEADER.unpack(header)[1]
