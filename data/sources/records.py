"""Reader of TFRecord files: ImageNet in its published layout, student-ready records, and others.

Files are indexed, not loaded: only the id, the label and the offset of an image stay in memory.
Indexing reads the headers of the records and the small features in them, and skips the images by
their lengths.

Source: the public ImageNet TFRecord layout, `image/encoded`, `image/class/label` (from 1),
`image/class/synset` and `image/class/text`; the wire format of Protocol Buffers, as documented
under "Encoding".
"""

import collections
import dataclasses
import glob
import itertools
import mmap
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError

from data import tfrecord_file
from data.examples import UNKNOWN_LABEL, EncodedExamples
from data.sources import image_check

VERIFIED_BYTES = 1 << 30  # files up to this total size are read in full when they are indexed
_NAMES = ("image/class/synset", "image/class/text")
_LENGTH_DELIMITED = 2  # wire type of everything in a tf.train.Example above its numbers


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A record of a TFRecord file, without its image.

    Attributes:
        path: path of the file.
        number: position in the file, from 0.
        offset: byte at which the record begins.
        label: class, counted from 0; None where there is none or several.
        published: True if the label is of the published layout, hence a true one; a student-ready
            record's is the teacher's.
        class_name: name of the class; None where there is none or several.
        image_id: id that the record itself has, or None.
        copy: number of this copy of the image, from 0.
        problem: what keeps the image from being readable, or "".
    """

    path: str
    number: int
    offset: int
    label: int | None
    published: bool
    class_name: str | None
    image_id: str | None
    copy: int
    problem: str

    @property
    def place(self) -> str:
        """File and offset, for messages."""
        return f"{self.path}, record at byte {self.offset}"


def index(path: str) -> Iterator[Entry]:
    """Indexes the records of a file, in their order.

    Args:
        path: an uncompressed TFRecord file of tf.train.Example.

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
            yield _entry(path, position, offset, data[begin : begin + length])
        except (ValueError, IndexError, DecodeError) as error:
            raise ValueError(
                f"{path}, record at byte {offset}, is no tf.train.Example: {error}."
            ) from error


def _entry(path: str, position: int, offset: int, data: memoryview) -> Entry:
    """Reads the small features of a record, and the ends of its image."""
    features = _features(data)

    def number(key: str) -> int | None:
        values = parsed(key).int64_list.value
        return values[0] if len(values) == 1 else None  # several: of no single class

    def text(*keys: str) -> str | None:
        lists = [parsed(key).bytes_list.value for key in keys]
        found: Sequence[bytes] = next(filter(None, lists), ())
        return found[0].decode("utf-8-sig") if len(found) == 1 else None

    def parsed(key: str) -> tf.train.Feature:
        return tf.train.Feature.FromString(bytes(features.get(key, b"")))

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
        problem=_image_problem(features),
    )


def _image_problem(features: dict[str, memoryview]) -> str:
    """Returns what keeps the image of a record from being readable, or ""."""
    key = next((key for key in tfrecord_file.IMAGE_KEYS if key in features), None)
    if key is None:
        return f"has none of the features {', '.join(tfrecord_file.IMAGE_KEYS)}"
    values = next(_fields(features[key]), None)  # the BytesList in the Feature,
    image = values and next(_fields(values), None)  # and the first string in that
    return image_check.bytes_problem(image) if image else "has an empty image"


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


def find_files(patterns: Sequence[str]) -> list[str]:
    """Finds TFRecord files by name.

    Args:
        patterns: files, globs such as "train-*", or folders, from which the files are taken whose
            names have "tfrecord" or "-of-" in them.

    Returns:
        Paths, those of a pattern sorted, without repetition.

    Raises:
        ValueError: names a pattern that no file matches.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        pattern = os.path.expanduser(pattern)
        if os.path.isdir(pattern):
            globs = [os.path.join(pattern, f"*{part}*") for part in ("tfrecord", "-of-")]
        else:
            globs = [pattern]
        matches = set(itertools.chain.from_iterable(map(glob.glob, globs)))
        files = sorted(filter(os.path.isfile, matches))
        if not files:
            raise ValueError(f"No TFRecord file matches {pattern!r}.")
        found.update(dict.fromkeys(files))
    return list(found)


def verify_if_small(files: Sequence[str]) -> None:
    """Compares the checksums of files of up to VERIFIED_BYTES; others are checked while training.

    Raises:
        ValueError: see `tfrecord_file.verify`.
    """
    if sum(map(os.path.getsize, files)) <= VERIFIED_BYTES:
        tfrecord_file.verify(files)


def read_labeled(
    patterns: Sequence[str], class_names: Sequence[str] | None = None, prefix: str = "records"
) -> EncodedExamples:
    """Indexes labeled TFRecord files.

    A record names its class (`image/class/synset`, else `image/class/text`). Where it names none,
    its number (`image/class/label` from 1, or `label` from 0 as in student-ready records) decides,
    and is the class's name.

    Args:
        patterns: see `find_files`.
        class_names: known classes, which need not all be present; None: those of the records.
        prefix: first part of the ids of records without `image/id`, as in
            "records/train-00000-of-01024/000017".

    Returns:
        The images in the order of the records, without further copies of an image (`image/copy`).

    Raises:
        ValueError: names file and offset of a record that is damaged, no image, without label or of
            another class; or a class without records.
    """
    entries = _originals(patterns)
    for entry in entries:
        problem = entry.problem or ("has no label, or several" if entry.label is None else "")
        if problem:
            raise ValueError(f"{entry.place}: {problem}.")
    if class_names is None:
        class_names = _class_names(entries)
    index_of = {name: number for number, name in enumerate(class_names)}
    labels = [_label(entry, index_of) for entry in entries]
    for entry, label in zip(entries, labels, strict=True):
        if label == UNKNOWN_LABEL:
            raise ValueError(
                f"{entry.place}: there is no class {entry.class_name or entry.label}. Valid: "
                f"{image_check.abbreviated(class_names)} ({len(class_names)} in all)."
            )
    return _examples(entries, labels, class_names, prefix)


def read_unlabeled(
    patterns: Sequence[str], class_names: Sequence[str], prefix: str = "unlabeled"
) -> tuple[EncodedExamples, list[str]]:
    """Indexes unlabeled TFRecord files.

    If all records name one of the known classes, or have a published number among them, these
    labels are kept (to measure pseudo labels, never to train on them). Otherwise all labels are -1.

    Args:
        patterns: see `find_files`.
        class_names: the known classes.
        prefix: see `read_labeled`.

    Returns:
        The images as `read_labeled` does, and the places of the records that were skipped because
        they are no images.

    Raises:
        ValueError: names file and offset of a damaged record; or no image is left.
    """
    entries = _originals(patterns)
    skipped = [f"{entry.place}: {entry.problem}" for entry in entries if entry.problem]
    if skipped:
        logging.warning(
            "%d records are no images: %s", len(skipped), image_check.abbreviated(skipped)
        )
        entries = [entry for entry in entries if not entry.problem]
    if not entries:
        raise ValueError(
            f"There is no image in the records of {image_check.abbreviated(patterns)}."
        )
    index_of = {name: number for number, name in enumerate(class_names)}
    known = [entry.published or entry.class_name is not None for entry in entries]
    labels = [_label(entry, index_of) for entry in entries]
    if UNKNOWN_LABEL in labels or not all(known):
        labels = [UNKNOWN_LABEL] * len(entries)
    return _examples(entries, labels, class_names, prefix), skipped


def _originals(patterns: Sequence[str]) -> list[Entry]:
    """Indexes all files, without further copies of an image."""
    files = find_files(patterns)
    verify_if_small(files)
    return [entry for path in files for entry in index(path) if not entry.copy]


def _class_names(entries: list[Entry]) -> tuple[str, ...]:
    """Returns the names of the classes 0, 1, ..., each the class of at least one record."""
    names: dict[int, str] = {}
    for entry in entries:
        label = UNKNOWN_LABEL if entry.label is None else entry.label
        name = entry.class_name or str(label)
        if label < 0 or names.setdefault(label, name) != name:
            raise ValueError(
                f"{entry.place}: class number {label} (counted from 0) is {name!r} here"
                + (f", but {names[label]!r} before." if label in names else ".")
            )
    missing = sorted(set(range(max(names, default=-1) + 1)) - set(names))
    if missing or not names:
        raise ValueError(
            f"No record is of class number {missing[0]} (counted from 0)."
            if missing
            else "There are no labeled records."
        )
    in_order = tuple(names[number] for number in sorted(names))
    if len(set(in_order)) < len(in_order):
        twice = next(name for name in in_order if in_order.count(name) > 1)
        raise ValueError(f"Two class numbers have the same name {twice!r}.")
    return in_order


def _label(entry: Entry, index_of: Mapping[str, int]) -> int:
    """Returns the class of a record among known ones, by name or else by number; or -1."""
    if entry.class_name is not None:
        return index_of.get(entry.class_name, UNKNOWN_LABEL)
    label = UNKNOWN_LABEL if entry.label is None else entry.label
    return label if 0 <= label < len(index_of) else UNKNOWN_LABEL


def _examples(
    entries: list[Entry], labels: list[int], class_names: Sequence[str], prefix: str
) -> EncodedExamples:
    """Returns records as examples."""
    folder = os.path.commonpath([os.path.dirname(path) for path in {e.path for e in entries}])

    def name(entry: Entry) -> str:
        file = pathlib.PurePath(entry.path).relative_to(folder).as_posix()
        return entry.image_id or f"{prefix}/{file}/{entry.number:06d}"

    ids = [name(entry) for entry in entries]
    if len(set(ids)) < len(ids):
        twice = next(name for name, count in collections.Counter(ids).items() if count > 1)
        raise ValueError(f"Several records have the id {twice!r}.")
    return EncodedExamples(
        ids=np.array(ids, object),
        labels=np.array(labels, np.int32),
        class_names=tuple(class_names),
        files=np.array([entry.path for entry in entries], object),
        offsets=np.array([entry.offset for entry in entries], np.int64),
    )
