"""Index of TFRecord files: where the records begin, and the small features that they have.

Only ids, labels and offsets stay in memory. Indexing reads the headers of the records and the small
features in them, and skips the images by their lengths.

Source: the public ImageNet TFRecord layout, `image/encoded`, `image/class/label` (from 1),
`image/class/synset` and `image/class/text`; the wire format of Protocol Buffers, as documented
under "Encoding".
"""

import dataclasses
import mmap
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError

from data import tfrecord_file
from data.sources import folders, image_check

_NAMES = ("image/class/synset", "image/class/text")
_BYTES_LIST = 0x0A  # tag of a tf.train.Feature's bytes
_LENGTH_DELIMITED = 2  # wire type of everything in a tf.train.Example above its numbers


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A record of a TFRecord file, without its image."""

    path: str  # path of the file
    number: int  # position in the file, from 0
    offset: int  # byte at which the record begins
    # Class, counted from 0 if `image/class/label` counts from 1, as published; None where there is
    # none or several.
    label: int | None
    # True if the label is of the published layout, hence a true one; a student-ready record's is
    # the teacher's.
    published: bool
    class_name: str | None  # name of the class; None where there is none or several
    image_id: str | None  # id that the record itself has, or None
    copy: int  # number of this copy of the image, from 0
    problem: str  # what keeps the image from being readable, or ""

    @property
    def place(self) -> str:
        """File and offset, for messages."""
        return f"{self.path}, record at byte {self.offset}"


def index(path: str, skim: bool = True) -> Iterator[Entry]:
    """Indexes the records of a file, in their order.

    Args:
        path: an uncompressed TFRecord file of tf.train.Example.
        skim: see `image_check.problem`.

    Yields:
        The entries of its records.

    Raises:
        ValueError: names the file and the offset of a record that is damaged or of another kind.
    """
    if not os.path.getsize(path):
        return
    with open(path, "rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    for position, (offset, length) in enumerate(tfrecord_file.spans(path)):
        begin = offset + tfrecord_file.HEADER.size
        try:
            yield _entry(path, position, offset, data[begin : begin + length], skim)
        except _WrongFeatureError as error:
            raise ValueError(f"{path}, record at byte {offset}: feature {error}.") from error
        except (ValueError, IndexError, DecodeError) as error:
            raise ValueError(
                f"{path}, record at byte {offset}, is not a tf.train.Example: {error}."
            ) from error


def _entry(path: str, position: int, offset: int, data: memoryview, skim: bool) -> Entry:
    """Reads the small features of a record, and checks its image."""
    features = _features(data)

    def number(key: str) -> int | None:
        values = _values(features, key, "int64")
        return values[0] if len(values) == 1 else None  # several: of no single class

    def text(*keys: str) -> str | None:
        lists = [(key, _values(features, key, "bytes")) for key in keys]
        key, found = next(((key, values) for key, values in lists if values), ("", ()))
        try:
            name = found[0].decode("utf-8-sig") if len(found) == 1 else None
        except UnicodeDecodeError as error:
            raise _WrongFeatureError(f"{key} is {found[0][:40]!r}, which is not UTF-8") from error
        return name and folders.normal(name)

    published, name = number("image/class/label"), text(*_NAMES)
    return Entry(
        path=path,
        number=position,
        offset=offset,
        label=number("label") if published is None else published - 1,
        published=published is not None,
        class_name=None if name is None else sys.intern(name),
        image_id=text("image/id"),
        copy=number("image/copy") or 0,
        problem=_image_problem(features, skim),
    )


class _WrongFeatureError(ValueError):
    """A feature of a record has another type than its name promises."""


def _values(features: Mapping[str, memoryview], key: str, kind: str) -> Sequence[Any]:
    """Returns the values of a feature of a kind ("bytes", "int64"); none if it is missing."""
    feature = tf.train.Feature.FromString(bytes(features.get(key, b"")))
    found = feature.WhichOneof("kind")
    if found not in (None, f"{kind}_list"):
        raise _WrongFeatureError(f"{key} is {found.removesuffix('_list')}, but must be {kind}")
    return getattr(feature, f"{kind}_list").value


def without_label(entry: Entry) -> str:
    """Returns what a labeled record lacks, and what it has instead."""
    with open(entry.path, "rb") as file:
        file.seek(entry.offset)
        length = tfrecord_file.HEADER.unpack(file.read(tfrecord_file.HEADER.size))[0]
        features = tf.train.Example.FromString(file.read(length)).features.feature
    found = []
    for name, feature in sorted(features.items()):
        kind = feature.WhichOneof("kind")
        count = len(getattr(feature, kind).value) if kind else 0
        found.append(f"{name} ({count} {kind.removesuffix('_list') if kind else 'values'})")
    return (
        "needs exactly one label, as int64 in image/class/label (from 1) or label (from 0); "
        f"has {image_check.abbreviated(found)}"
    )


def _image_problem(features: dict[str, memoryview], skim: bool) -> str:
    """Returns what keeps the image of a record from being readable, or ""."""
    key = next((key for key in tfrecord_file.IMAGE_KEYS if key in features), None)
    if key is None:
        return f"has none of the features {', '.join(tfrecord_file.IMAGE_KEYS)}"
    if features[key] and features[key][0] != _BYTES_LIST:
        raise _WrongFeatureError(f"{key} is a list of numbers, but must be bytes")
    values = next(_fields(features[key]), None)  # the BytesList in the Feature,
    image, *more = _fields(values) if values else (None,)  # and the strings in that
    if more:
        return f"has {1 + len(more)} images in {key}"
    return image_check.problem(image, skim) if image else "has an empty image"


def _features(data: memoryview) -> dict[str, memoryview]:
    """Returns the serialized features of a serialized tf.train.Example, by name."""
    features = {}
    for collection in _fields(data):
        for entry in _fields(collection):
            key, feature = _fields(entry)
            features[bytes(key).decode()] = feature
    return features


def _fields(message: memoryview) -> Iterator[memoryview]:
    """Yields the fields of a serialized message that has only length-delimited ones."""
    position = 0
    while position < len(message):
        if message[position] & 7 != _LENGTH_DELIMITED:
            raise ValueError(f"field of wire type {message[position] & 7}")
        position, length, shift = position + 1, 0, 0
        while True:
            byte = message[position]
            length |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if byte < 0x80:
                break
        if position + length > len(message):
            raise ValueError("a field extends beyond its message")
        yield message[position : position + length]
        position += length
