"""Batches of pseudo-labeled images, from memory if they fit, else streamed.

The images are in the records, or an index refers to images of a set. Both give the same batches.
"""

import dataclasses
import os
from collections.abc import Sequence

import tensorflow as tf

from data import preprocess, record_schema, tfrecord_file
from data.examples import Examples
from data.pipeline.augmentation import Augmentation
from data.pipeline.decoded import DecodedCache, Request
from data.pipeline.order import BLOCK, SELECTED, SHARDS, Columns, Order, batch_order, permutation
from data.pipeline.selected_index import SelectedIndex
from data.pipeline.table import Batches, Read, Table
from data.preprocess import PreprocessSpec

IN_MEMORY_BYTES = 2 << 30  # files up to this total size are kept in memory
BLOCK_RECORDS = 8192  # streamed records are shuffled in blocks of this length,
_OPEN_SHARDS = 16  # read from this number of shards at once
_READ_RECORDS = 1024


@dataclasses.dataclass(frozen=True)
class Selected:
    """Pseudo-labeled images of a training."""

    # TFRecord files, or those of an index (`data.pipeline.selected_index`, .parquet).
    files: Sequence[str | os.PathLike[str]]
    batch_size: int  # images per batch of all hosts (U)
    examples: Examples | None = None  # images that an index refers to; None: files are records
    augmentation: Augmentation | None = None  # noise of the images; None: that of the labeled ones
    # Size (T) and interpolation of a clean copy of the images; None: no copies. Small images allow
    # only the size of the noised ones.
    clean_spec: PreprocessSpec | None = None


def record_batches(
    selected: Selected,
    spec: PreprocessSpec,
    num_classes: int,
    order: Order,
    cache: DecodedCache | None = None,
) -> Batches:
    """Makes an endless stream of batches, in which every pass has every record once.

    Records in memory are permuted again in every pass. Streamed records are shuffled in blocks,
    from permuted shards, several of which are read in parallel. Every host reads all records, but
    yields only its own rows.

    Args:
        selected: the images.
        spec: preprocessing of cached decoded images.
        num_classes: length of the distributions (C).
        order: seed, first batch and rows of this host (u of them).
        cache: keeps decoded images if they fit: those of records in memory, and all images that an
            index refers to; None: no cache.

    Returns:
        Batches of what `record_schema.parse` returns except "encoded", of "pass" int64, and of the
        images or their places, with a leading u.

    Raises:
        ValueError: there are no records, they have another number of classes, or one is damaged
            (the message names file and offset). A damaged streamed record is a DataLossError in the
            stream, which `tfrecord_file.verify` explains.
    """
    if selected.batch_size < 1:
        raise ValueError(f"unlabeled_batch_size must be at least 1, not {selected.batch_size}.")
    if not selected.files:
        raise ValueError("No records: the list of selected files is empty.")
    files = [os.fspath(file) for file in selected.files]
    source: _Records | SelectedIndex
    if files[0].endswith(".parquet"):
        source = SelectedIndex(files, selected.examples, spec, cache)
    else:
        source = _Records(files, spec, cache)
    if source.num_classes != num_classes:
        raise ValueError(
            f"The records of {files[0]} have {source.num_classes} probabilities for "
            f"{num_classes} classes."
        )
    if source.num_bytes > IN_MEMORY_BYTES:
        rows = Batches(_streamed(source, files, selected.batch_size, order), source.read)
    else:
        table = source.read_all()
        rows = table.gather(
            batch_order(len(table.columns["copy"]), selected.batch_size, order, SELECTED)
        )
    return source.join(rows)


class _Records:
    """Records with their images; the first one determines the number of classes.

    `SelectedIndex` has the same methods.
    """

    def __init__(self, files: Sequence[str], spec: PreprocessSpec, cache: DecodedCache | None):
        self._files, self._spec, self._cache = files, spec, cache
        self.num_bytes = sum(os.path.getsize(file) for file in files)
        serialized = next(iter(tf.data.TFRecordDataset(files)), None)
        if serialized is None:
            raise ValueError(f"No records in the selected files {files}.")
        record = tf.train.Example.FromString(serialized.numpy())
        self.num_classes = len(record.features.feature["probabilities"].float_list.value)
        self.read: Read | None = _decode

    def count(self) -> int:
        """Returns the number of records."""
        return record_schema.count_records(self._files)

    def read_file(self, file: tf.Tensor) -> tf.data.Dataset:
        """Reads the records of one file (string scalar, a path), in their order."""
        return record_schema.read_file(file, self.num_classes)

    def read_all(self) -> Table:
        """Reads all records; raises a ValueError that names a damaged file."""
        with tfrecord_file.damage_named(self._files), tf.device("CPU:0"):
            held = self._held()
            records = self._records()
            if held is not None:
                records = records.map(
                    lambda record: {
                        name: value
                        for name, value in record.items()
                        if name not in ("encoded", "place")
                    }
                )
            parts = list(records.batch(_READ_RECORDS))
            columns = {name: tf.concat([part[name] for part in parts], 0) for name in parts[0]}
            if held is None:
                return Table(columns, _decode)
            return Table(columns | {"images": held}, None)

    def _records(self) -> tf.data.Dataset:
        files = tf.data.Dataset.from_tensor_slices(list(self._files))
        return files.flat_map(self.read_file)

    def _held(self) -> tf.Tensor | None:
        """Returns the images as in evaluation, uint8 [N, S, S, 3], if they are cached."""
        if self._cache is None:
            return None

        def image(record: Columns) -> tf.Tensor:
            return preprocess.eval_image(_decode(record), self._spec)

        request = Request(
            "selected",
            (tuple(self._files), self._spec),
            count=self.count(),
            side=self._spec.image_size,
            images=lambda: self._records().map(image, num_parallel_calls=preprocess.PARALLEL),
        )
        return self._cache.hold(request)

    def join(self, batches: Batches) -> Batches:
        """Returns the batches unchanged, since records contain their images."""
        return batches


def _decode(row: Columns) -> tf.Tensor:
    return preprocess.decode_named(row["encoded"], row["place"])


def _streamed(
    source: _Records | SelectedIndex, files: Sequence[str], batch_size: int, order: Order
) -> tf.data.Dataset:
    """Makes batches of records that do not fit in memory."""
    first_pass, offset = 0, 0
    if order.start_step:
        first_pass, offset = divmod(order.start_step * batch_size, source.count())

    def one_pass(position: tf.Tensor) -> tf.data.Dataset:
        shards = tf.gather(files, permutation(len(files), order.seed, SHARDS, position))
        records = tf.data.Dataset.from_tensor_slices(shards).interleave(
            source.read_file, cycle_length=_OPEN_SHARDS, num_parallel_calls=tf.data.AUTOTUNE
        )

        def shuffle(block: tf.Tensor, batch: Columns) -> Columns:
            count = tf.shape(batch["copy"])[0]
            shuffled = permutation(count, order.seed, BLOCK, position, block)
            batch = {name: tf.gather(column, shuffled) for name, column in batch.items()}
            return batch | {"pass": tf.fill(tf.shape(shuffled), position)}

        return records.batch(BLOCK_RECORDS).enumerate().map(shuffle).prefetch(1).unbatch()

    records = tf.data.Dataset.counter(first_pass).flat_map(one_pass).skip(offset)
    rows = order.shard.rows(batch_size)
    if len(rows) < batch_size:
        numbered = records.enumerate().filter(
            lambda number, _: (
                (number % batch_size >= rows.start) & (number % batch_size < rows.stop)
            )
        )
        records = numbered.map(lambda _, record: record)
    return records.batch(len(rows), drop_remainder=True)
