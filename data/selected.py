"""Batches of pseudo-labeled records, from memory where they fit and streamed where not."""

import os
from collections.abc import Sequence

import tensorflow as tf

from data import preprocess, recordfile, tfrecord
from data.order import BLOCK, SELECTED, SHARDS, Columns, Shard, batch_order, gather, permutation
from data.preprocess import PreprocessSpec

IN_MEMORY_BYTES = 2 << 30  # files up to this size altogether are kept in memory
_READ_RECORDS = 1024
_BLOCK_RECORDS = 8192  # streamed records are shuffled in blocks of as many,
_OPEN_SHARDS = 16  # read from as many shards at once


def record_batches(
    files: Sequence[str],
    spec: PreprocessSpec,
    *,
    num_classes: int,
    batch_size: int,
    seed: int,
    start_step: int,
    shard: Shard,
) -> tf.data.Dataset:
    """An endless stream of batches, in which every pass holds every record once.

    Records in memory are permuted anew in every pass. Streamed ones are shuffled in blocks, out of
    shards that are permuted and read several at once; every host reads all of them, and passes on
    its own rows alone.

    Args:
        files: TFRecord files.
        spec: small images in memory are brought to its size, so as to be decoded only once.
        num_classes: length of the distributions (C).
        batch_size: records per batch (U).
        seed: the run's seed.
        start_step: number of the first batch.
        shard: which rows of every batch are returned (u of them).

    Returns:
        Dictionaries of what `tfrecord.parse` returns and "pass" int64, with a leading u; instead of
        "encoded" there may be "images" uint8 [u, S, S, 3].

    Raises:
        ValueError: if there are no records, or they are of another number of classes; naming file
            and offset of a damaged record. One that is streamed is a DataLossError in the stream,
            which `recordfile.verify` explains.
    """
    _check(files, num_classes, batch_size)
    if sum(os.path.getsize(file) for file in files) > IN_MEMORY_BYTES:
        return _streamed(files, num_classes, batch_size, seed, start_step, shard)
    try:
        columns = _read_all(files, spec, num_classes)
    except tf.errors.DataLossError:
        recordfile.verify(files)
        raise
    rows = shard.rows(batch_size)
    order = batch_order(len(columns["copy"]), batch_size, seed, SELECTED, start_step, rows)
    return gather(order, columns)


def _check(files: Sequence[str], num_classes: int, batch_size: int) -> None:
    """Refuses records that cannot be trained on, going by the first one."""
    if batch_size < 1:
        raise ValueError(f"unlabeled_batch_size must be at least 1, not {batch_size}.")
    serialized = next(iter(tf.data.TFRecordDataset(files)), None) if files else None
    if serialized is None:
        raise ValueError(f"There are no records in the selected files {files}.")
    record = tf.train.Example.FromString(serialized.numpy())
    found = len(record.features.feature["probabilities"].float_list.value)
    if found != num_classes:
        raise ValueError(
            f"The records of {files[0]} have {found} probabilities, but there are {num_classes} "
            "classes."
        )


def _read_all(files: Sequence[str], spec: PreprocessSpec, num_classes: int) -> Columns:
    """All records as tensors; small images decoded."""

    def decode(record: Columns) -> Columns:
        image = preprocess.decode_image(record.pop("encoded"))
        return record | {"images": preprocess.fit_small(image, spec.image_size)}

    with tf.device("CPU:0"):
        records = tf.data.Dataset.from_tensor_slices(list(files)).flat_map(
            lambda file: tfrecord.read_file(file, num_classes)
        )
        if spec.small_image:
            records = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        parts = list(records.batch(_READ_RECORDS))
        return {name: tf.concat([part[name] for part in parts], 0) for name in parts[0]}


def _streamed(
    files: Sequence[str],
    num_classes: int,
    batch_size: int,
    seed: int,
    start_step: int,
    shard: Shard,
) -> tf.data.Dataset:
    """Batches of records which do not fit in memory."""
    first_pass, offset = 0, 0
    if start_step:
        first_pass, offset = divmod(start_step * batch_size, tfrecord.count_records(files))

    def one_pass(position: tf.Tensor) -> tf.data.Dataset:
        shards = tf.gather(files, permutation(len(files), seed, SHARDS, position))
        records = tf.data.Dataset.from_tensor_slices(shards).interleave(
            lambda file: tfrecord.read_file(file, num_classes),
            cycle_length=_OPEN_SHARDS,
            num_parallel_calls=tf.data.AUTOTUNE,
        )

        def shuffle(block: tf.Tensor, batch: Columns) -> Columns:
            order = permutation(tf.shape(batch["copy"])[0], seed, BLOCK, position, block)
            batch = {name: tf.gather(column, order) for name, column in batch.items()}
            return batch | {"pass": tf.fill(tf.shape(order), position)}

        return records.batch(_BLOCK_RECORDS).enumerate().map(shuffle).prefetch(1).unbatch()

    records = tf.data.Dataset.counter(first_pass).flat_map(one_pass).skip(offset)
    rows = shard.rows(batch_size)
    if len(rows) < batch_size:
        numbered = records.enumerate().filter(
            lambda number, _: (
                (number % batch_size >= rows.start) & (number % batch_size < rows.stop)
            )
        )
        records = numbered.map(lambda _, record: record)
    return records.batch(len(rows), drop_remainder=True)
