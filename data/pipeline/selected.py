"""Batches of pseudo-labeled images, from memory where they fit and streamed where not.

They lie in records, or an index says which images of a set they are; batch k is the same.
"""

import os
from collections.abc import Sequence

import tensorflow as tf

from data import preprocess, record_schema, tfrecord_file
from data.examples import Examples
from data.pipeline.decoded import DecodedCache
from data.pipeline.order import (
    BLOCK,
    SELECTED,
    SHARDS,
    Columns,
    Shard,
    batch_order,
    gather,
    permutation,
)
from data.pipeline.selected_index import SelectedIndex
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
    examples: Examples | None = None,
    cache: DecodedCache | None = None,
) -> tf.data.Dataset:
    """An endless stream of batches, in which every pass holds every record once.

    Records in memory are permuted anew in every pass. Streamed ones are shuffled in blocks, out of
    shards that are permuted and read several at once; every host reads all of them, and passes on
    its own rows alone.

    Args:
        files: TFRecord files, or those of an index (.parquet).
        spec: images that are held decoded are brought to its size.
        num_classes: length of the distributions (C).
        batch_size: records per batch (U).
        seed: the run's seed.
        start_step: number of the first batch.
        shard: which rows of every batch are returned (u of them).
        examples: the images that an index is of.
        cache: holds images decoded where they fit: those of records that are in memory anyway, and
            all images that an index is of; None: none are held.

    Returns:
        Dictionaries of what `tfrecord.parse` returns and "pass" int64, with a leading u; instead of
        "encoded" there may be "images" uint8 [u, S, S, 3], or what else tells `data.pipeline` where
        an image is.

    Raises:
        ValueError: if there are no records, or they are of another number of classes; naming file
            and offset of a damaged record. One that is streamed is a DataLossError in the stream,
            which `recordfile.verify` explains.
    """
    if batch_size < 1:
        raise ValueError(f"unlabeled_batch_size must be at least 1, not {batch_size}.")
    if not files:
        raise ValueError("There are no records: the list of selected files is empty.")
    indexed = files[0].endswith(".parquet")
    if indexed:
        source = SelectedIndex(files, examples, spec, cache)
    else:
        source = _Records(files, spec, cache)
    if source.num_classes != num_classes:
        raise ValueError(
            f"The records of {files[0]} have {source.num_classes} probabilities, but there are "
            f"{num_classes} classes."
        )
    rows = shard.rows(batch_size)
    if source.num_bytes > IN_MEMORY_BYTES:
        batches = _streamed(source, files, batch_size, seed, start_step, rows)
    else:
        columns = source.read_all()
        order = batch_order(len(columns["copy"]), batch_size, seed, SELECTED, start_step, rows)
        batches = gather(order, columns)
    return source.join(batches)


class _Records:
    """Records with their images, of one number of classes, going by the first one."""

    def __init__(self, files: Sequence[str], spec: PreprocessSpec, cache: DecodedCache | None):
        self._files, self._spec, self._cache = files, spec, cache
        self.num_bytes = sum(os.path.getsize(file) for file in files)
        serialized = next(iter(tf.data.TFRecordDataset(files)), None)
        if serialized is None:
            raise ValueError(f"There are no records in the selected files {files}.")
        record = tf.train.Example.FromString(serialized.numpy())
        self.num_classes = len(record.features.feature["probabilities"].float_list.value)

    def count(self) -> int:
        return record_schema.count_records(self._files)

    def read_file(self, file: tf.Tensor) -> tf.data.Dataset:
        return record_schema.read_file(file, self.num_classes)

    def read_all(self) -> Columns:
        """All records as tensors; images decoded if held. A damaged file names itself."""
        with tfrecord_file.damage_named(self._files):
            return self._read_all()

    def _read_all(self) -> Columns:
        with tf.device("CPU:0"):
            held = self._held()
            records = tf.data.Dataset.from_tensor_slices(list(self._files)).flat_map(self.read_file)
            if held is not None:
                records = records.map(
                    lambda record: {k: v for k, v in record.items() if k != "encoded"}
                )
            parts = list(records.batch(_READ_RECORDS))
            columns = {name: tf.concat([part[name] for part in parts], 0) for name in parts[0]}
            return columns if held is None else columns | {"images": held}

    def _held(self) -> tf.Tensor | None:
        """The images as evaluation shows them, uint8 [N, S, S, 3], if the cache holds them."""
        if self._cache is None:
            return None

        def decode(record: Columns) -> tf.Tensor:
            return preprocess.eval_image(preprocess.decode_image(record["encoded"]), self._spec)

        def images() -> tf.data.Dataset:
            files = tf.data.Dataset.from_tensor_slices(list(self._files))
            return files.flat_map(self.read_file).map(
                decode, num_parallel_calls=preprocess.PARALLEL
            )

        return self._cache.hold(
            "selected",
            (tuple(self._files), self._spec),
            self.count(),
            self._spec.image_size,
            images,
            lambda number: f"Record {number} of those from {self._files[0]} on",
        )

    def join(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The batches as they are: records have their images."""
        return batches


def _streamed(
    source: _Records | SelectedIndex,
    files: Sequence[str],
    batch_size: int,
    seed: int,
    start_step: int,
    rows: range,
) -> tf.data.Dataset:
    """Batches of records which do not fit in memory."""
    first_pass, offset = 0, 0
    if start_step:
        first_pass, offset = divmod(start_step * batch_size, source.count())

    def one_pass(position: tf.Tensor) -> tf.data.Dataset:
        shards = tf.gather(files, permutation(len(files), seed, SHARDS, position))
        records = tf.data.Dataset.from_tensor_slices(shards).interleave(
            source.read_file, cycle_length=_OPEN_SHARDS, num_parallel_calls=tf.data.AUTOTUNE
        )

        def shuffle(block: tf.Tensor, batch: Columns) -> Columns:
            order = permutation(tf.shape(batch["copy"])[0], seed, BLOCK, position, block)
            batch = {name: tf.gather(column, order) for name, column in batch.items()}
            return batch | {"pass": tf.fill(tf.shape(order), position)}

        return records.batch(_BLOCK_RECORDS).enumerate().map(shuffle).prefetch(1).unbatch()

    records = tf.data.Dataset.counter(first_pass).flat_map(one_pass).skip(offset)
    if len(rows) < batch_size:
        numbered = records.enumerate().filter(
            lambda number, _: (
                (number % batch_size >= rows.start) & (number % batch_size < rows.stop)
            )
        )
        records = numbered.map(lambda _, record: record)
    return records.batch(len(rows), drop_remainder=True)
