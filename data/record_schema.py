"""The record schema: an encoded image with its label and the teacher's probabilities.

The fields are those of the published code (the paper's TF1 release): `image/encoded`, `label`,
`prob`, `probabilities`. Two optional ones, `image/id` and `image/copy`, give duplicates of an image
different noise. The published code only reads files named `train*` and `extra*`.
"""

import contextlib
import os
import pathlib
import platform
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from data import tfrecord_file

PUBLISHED_PREFIX = "train-0"  # of the published code's student files: train-TASK-SHARD-of-SHARDS


def serialize(
    encoded: bytes,
    label: int,
    prob: float,
    probabilities: np.ndarray,
    example_id: str | None = None,
    copy: int | None = None,
) -> bytes:
    """Serializes one record.

    Args:
        encoded: JPEG or PNG bytes.
        label: the pseudo label.
        prob: the teacher's confidence in the label, 0..1.
        probabilities: float32 [num_classes], the teacher's distribution.
        example_id: stable id of the image.
        copy: index of this duplicate of the image, from 0.

    Returns:
        A serialized tf.train.Example.
    """
    feature = {
        "image/encoded": _bytes(encoded),
        "label": _int64(label),
        "prob": _floats([prob]),
        "probabilities": _floats(np.asarray(probabilities, np.float32).tolist()),
    }
    if example_id is not None:
        feature["image/id"] = _bytes(example_id.encode())
    if copy is not None:
        feature["image/copy"] = _int64(copy)
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(
        deterministic=True
    )  # otherwise the order would change with the process


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int64(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _floats(values: Sequence[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def parse(
    serialized: tf.Tensor, num_classes: int, fallback_id: tf.Tensor | str = ""
) -> dict[str, tf.Tensor]:
    """Reads one record.

    Args:
        serialized: string scalar, a tf.train.Example.
        num_classes: length of its probabilities; another length is an InvalidArgumentError.
        fallback_id: string scalar, id for a record without one.

    Returns:
        "encoded" string, "label" int32, "prob" float32, "probabilities" float32 [num_classes],
        "id_hash" int64 (FarmHash of the id: TensorFlow has no BLAKE2), "copy" int32 (0 if absent).
    """
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "prob": tf.io.FixedLenFeature([], tf.float32),
        "probabilities": tf.io.FixedLenFeature([num_classes], tf.float32),
        "image/id": tf.io.FixedLenFeature([], tf.string, default_value=""),
        "image/copy": tf.io.FixedLenFeature([], tf.int64, default_value=0),
    }
    record = tf.io.parse_single_example(serialized, features)
    image_id = record["image/id"]
    image_id = tf.where(tf.strings.length(image_id) > 0, image_id, fallback_id)
    return {
        "encoded": record["image/encoded"],
        "label": tf.cast(record["label"], tf.int32),
        "prob": record["prob"],
        "probabilities": record["probabilities"],
        "id_hash": hash_ids(image_id),
        "copy": tf.cast(record["image/copy"], tf.int32),
    }


def hash_ids(ids: tf.Tensor) -> tf.Tensor:
    """Hashes the ids of records, on which their noise depends: string [...] to int64 [...]."""
    return tf.strings.to_hash_bucket_fast(ids, np.iinfo(np.int64).max)


def read_file(file: tf.Tensor, num_classes: int) -> tf.data.Dataset:
    """Reads and parses the records of one file (string scalar, a path), in their order.

    A record without an id gets the file name and its position as id. "place" is file and position,
    for messages.
    """
    name = tf.strings.split(file, "/")[-1]

    def parse_numbered(position: tf.Tensor, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        fallback_id = tf.strings.join([name, tf.strings.as_string(position)], "/")
        place = tf.strings.join([file, ", record ", tf.strings.as_string(position)])
        return parse(serialized, num_classes, fallback_id) | {"place": place}

    return tf.data.TFRecordDataset(file).enumerate().map(parse_numbered)


def shard_lengths(num_records: int, num_shards: int) -> list[int]:
    """Returns the number of records of each shard: nearly equal.

    Raises:
        ValueError: `num_shards` is below 1.
    """
    if num_shards < 1:
        raise ValueError(f"num_shards must be at least 1, not {num_shards}.")
    return np.diff(np.linspace(0, num_records, num_shards + 1).astype(int)).tolist()


def shard_paths(
    directory: str | os.PathLike[str], num_shards: int, prefix: str, suffix: str
) -> list[pathlib.Path]:
    """Returns the paths of shards, PREFIX-00000-of-00004SUFFIX ...; creates the directory."""
    folder = pathlib.Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    return [folder / f"{prefix}-{i:05d}-of-{num_shards:05d}{suffix}" for i in range(num_shards)]


@contextlib.contextmanager
def appearing(path: pathlib.Path) -> Iterator[str]:
    """Yields a file to write that is renamed to `path` if the context ends without an error."""
    # `noisy_student.artifacts.files` removes such a file of a killed process at the next start.
    partial = path.with_name(f".{path.name}.tmp-{platform.node()}-{os.getpid()}")
    try:
        yield os.fspath(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_shards(
    records: Iterable[bytes],
    directory: str | os.PathLike[str],
    num_records: int,
    num_shards: int,
    published_names: bool = False,
) -> list[pathlib.Path]:
    """Writes records, in their order, to shards of nearly equal length.

    Each file gets its name, such as records-00000-of-00004.tfrecord, when it is complete.

    Args:
        records: serialized records.
        directory: created if it is missing.
        num_records: number of records.
        num_shards: number of files to write, at least 1.
        published_names: whether to name files like the published code: train-0-00000-of-00004.

    Returns:
        The paths of the shards.

    Raises:
        ValueError: `num_shards` is below 1, or there are not exactly `num_records` records.
    """
    lengths = shard_lengths(num_records, num_shards)
    names = (PUBLISHED_PREFIX, "") if published_names else ("records", ".tfrecord")
    paths = shard_paths(directory, num_shards, *names)
    stream = iter(records)
    for path, length in zip(paths, lengths, strict=True):
        with appearing(path) as partial, tf.io.TFRecordWriter(partial) as writer:
            for _ in range(length):
                record = next(stream, None)
                if record is None:
                    raise ValueError(f"{directory} needs {num_records} records, got fewer.")
                writer.write(record)
    if next(stream, None) is not None:
        raise ValueError(f"{directory} needs {num_records} records, got more.")
    return paths


def count_records(files: Iterable[str | os.PathLike[str]]) -> int:
    """Returns the number of records in TFRecord files, from their headers alone.

    Raises:
        ValueError: names a file that is cut short or damaged, and where.
    """
    return sum(1 for file in files for _ in tfrecord_file.spans(file))
