"""TFRecord files as places to read from: where records begin, and what lies there.

A file is a sequence of records, each a header (length of the data and its checksum), the data, and
the data's checksum. Headers alone tell where every record begins, so that an index of a file costs
a few bytes of it per record, and any record can be read by itself afterwards.

Source: the format as TensorFlow documents it at `tf.data.TFRecordDataset` (tutorial "TFRecord and
tf.train.Example"); RFC 3720, appendix B.4, for CRC-32C.
"""

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import tensorflow as tf

HEADER = struct.Struct("<QI")  # length of the data, its masked checksum
FOOTER_BYTES = 4  # masked checksum of the data
# The image of a record: the published layout, and that of tensorflow-datasets.
IMAGE_KEYS = ("image/encoded", "image")
_POLYNOMIAL = 0x82F63B78  # of CRC-32C, its bits reversed


def spans(path: str | os.PathLike) -> Iterator[tuple[int, int]]:
    """Where the records of a file lie, from their headers.

    Args:
        path: an uncompressed TFRecord file.

    Yields:
        The byte at which a record begins, and the length of its data in bytes.

    Raises:
        ValueError: naming the file and the byte at which it is damaged or cut short.
    """
    size, offset, count = os.path.getsize(path), 0, 0
    with open(path, "rb", buffering=0) as file:
        while offset < size:
            file.seek(offset)
            header = file.read(HEADER.size)
            complete = len(header) == HEADER.size
            if complete and _masked_checksum(header[:8]) != HEADER.unpack(header)[1]:
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


def verify(files: Iterable[str | os.PathLike]) -> None:
    """Reads files in full, at the speed of the disk, and compares all checksums.

    Raises:
        ValueError: naming the file, and the byte at which a damaged record begins.
    """
    for path in map(os.fspath, files):
        try:
            for _ in tf.data.TFRecordDataset(path).batch(64):
                pass
        except tf.errors.DataLossError as error:
            offset = _first_damaged(path)
            raise ValueError(f"{path} is damaged: the record at byte {offset}.") from error


@contextlib.contextmanager
def damage_named(files: Iterable[str | os.PathLike]) -> Iterator[None]:
    """Where a DataLossError arises within, the file and byte of the damage are named.

    Args:
        files: those that are being read.

    Raises:
        ValueError: see `verify`.
    """
    try:
        yield
    except tf.errors.DataLossError:
        verify(files)
        raise


def _first_damaged(path: str) -> int:
    """The byte at which the first record begins that is not as it was written."""
    offsets = [offset for offset, _ in spans(path)]
    sound = 0
    try:
        for _ in tf.data.TFRecordDataset(path):
            sound += 1
    except tf.errors.DataLossError:
        pass
    return offsets[sound]


def length_at(path: str, offset: int) -> int:
    """Length in bytes of the data of the record that begins at byte `offset` of a file.

    Raises:
        ValueError: naming file and offset, where no record begins there.
    """
    with open(path, "rb") as file:
        return _length_at(file, offset)


def _length_at(file: BinaryIO, offset: int) -> int:
    """Reads the header of a record, and leaves the file where its data begin."""
    file.seek(offset)
    header = file.read(HEADER.size)
    if len(header) < HEADER.size or _masked_checksum(header[:8]) != HEADER.unpack(header)[1]:
        raise ValueError(f"{file.name} has no record at byte {offset}: was it written anew?")
    return HEADER.unpack(header)[0]


def encoded_at(path: str, offset: int) -> bytes:
    """The bytes of the encoded image in the record that begins at byte `offset` of a file.

    Raises:
        ValueError: naming file and offset, where no record with an image begins there.
    """
    with open(path, "rb") as file:
        length = _length_at(file, offset)
        features = tf.train.Example.FromString(file.read(length)).features.feature
    for key in IMAGE_KEYS:
        if key in features:
            return features[key].bytes_list.value[0]
    raise ValueError(f"{path} has no image in the record at byte {offset}.")


def read_encoded(path: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """`encoded_at` as an operation on tensors, which compares the record's checksums.

    Args:
        path: string scalar.
        offset: int64 scalar.

    Returns:
        String scalar. A damaged record is a DataLossError with the offset in its message, which
        `verify` turns into one that names the file.
    """
    # TFRecordDataset itself offers no offset. Unbuffered: a buffer would be filled with neighbors.
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


def _checksum_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _checksum_table()


def _masked_checksum(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord files store it."""
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum = _TABLE[(checksum ^ byte) & 0xFF] ^ checksum >> 8
    checksum ^= 0xFFFFFFFF
    return (checksum >> 15 | checksum << 17) + 0xA282EAD8 & 0xFFFFFFFF
