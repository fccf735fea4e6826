"""Student-ready records without their images: an index into a set of examples.

Parquet files `index-00000-of-00004.parquet`, a row for each record in the order of training:
`index` (int64) of the image in the examples, `copy` (int32), `label` (int32), `prob` (float32), and
`probabilities` (k floats) of all classes or, where there is a column `classes` (k int32), of these.
The schema's metadata says which examples are meant, and how large their encoded images are.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from data import distributions, record_schema
from data.examples import Examples
from data.pipeline.decoded import DecodedCache
from data.pipeline.example_columns import example_columns
from data.pipeline.order import Columns, gather
from data.preprocess import PreprocessSpec

_CARD = b"selected_index"
_ROWS_AT_ONCE = 8192


def write_shards(
    pieces: Iterable[np.ndarray],
    directory: str | os.PathLike,
    num_records: int,
    num_shards: int,
    card: Mapping[str, Any],
) -> list[pathlib.Path]:
    """Writes rows, in their order, to shards as `tfrecord.write_shards` does.

    Args:
        pieces: structured arrays [n] with the columns above.
        directory: made if need be.
        num_records: how many rows there are.
        num_shards: how many files to write.
        card: "num_classes", "examples" (their fingerprint) and "image_bytes".

    Returns:
        The paths of the shards.

    Raises:
        ValueError: `num_shards` is below 1 or above the number of rows, or there are not exactly
            `num_records` rows.
    """
    if num_shards > num_records:
        raise ValueError(f"{num_records} selected images cannot fill {num_shards} shards.")
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    stream, rows, paths = iter(pieces), None, []
    for shard, length in enumerate(record_schema.shard_lengths(num_records, num_shards)):
        path = directory / f"index-{shard:05d}-of-{num_shards:05d}.parquet"
        partial = path.with_name(path.name + ".tmp")
        writer = None
        while length or writer is None:
            if rows is None or not len(rows):
                rows = next(stream, None)
            if rows is None:
                raise ValueError(f"{directory} was to get {num_records} rows, got fewer.")
            table = _table(rows[:length], card)
            writer = writer or pq.ParquetWriter(partial, table.schema, compression="zstd")
            writer.write_table(table)
            length, rows = length - table.num_rows, rows[length:]
        writer.close()
        os.replace(partial, path)
        paths.append(path)
    if len(rows) or next(stream, None) is not None:
        raise ValueError(f"{directory} was to get {num_records} rows, got more.")
    return paths


def _table(rows: np.ndarray, card: Mapping[str, Any]) -> pa.Table:
    columns = {}
    for name in rows.dtype.names:
        column = np.ascontiguousarray(rows[name])
        columns[name] = pa.array(column.reshape(-1))
        if column.ndim == 2:
            columns[name] = pa.FixedSizeListArray.from_arrays(columns[name], column.shape[1])
    return pa.table(columns).replace_schema_metadata({_CARD: json.dumps(card, sort_keys=True)})


def read_card(file: str | os.PathLike) -> dict[str, Any]:
    """What a file says of all: "num_classes", "examples" and "image_bytes"."""
    metadata = pq.read_schema(file).metadata or {}
    if _CARD not in metadata:
        raise ValueError(f"{file} is no index of selected images.")
    return json.loads(metadata[_CARD])


def check(file: str | os.PathLike, examples: Examples | None) -> dict[str, Any]:
    """`read_card`; ValueError where there are no examples, or others than the index is of."""
    card = read_card(file)
    if examples is None or examples.fingerprint() != card["examples"]:
        raise ValueError(f"{file} is an index of other images than these unlabeled ones.")
    return card


class SelectedIndex:
    """An index joined with its images; what `data.pipeline.selected` reads in place of records."""

    def __init__(
        self,
        files: Sequence[str],
        examples: Examples | None,
        spec: PreprocessSpec,
        cache: DecodedCache | None = None,
    ):
        """Opens the files.

        Args:
            files: of one index.
            examples: the images it was made of.
            spec: small images are brought to its size once.
            cache: holds the decoded images of the examples where they fit; None: none are held.

        Raises:
            ValueError: there are no examples, or others than the index was made of.
        """
        card = check(files[0], examples)
        self.num_classes: int = card["num_classes"]
        self.num_bytes: int = card["image_bytes"]
        self._files, self._examples, self._spec, self._cache = files, examples, spec, cache

    def count(self) -> int:
        """The number of records."""
        return sum(pq.read_metadata(file).num_rows for file in self._files)

    def read_all(self) -> Columns:
        """All rows: "index", "copy", "label", "prob" and "probabilities" float32 [N, C]."""
        pieces = [piece for file in self._files for piece in self._pieces(file)]
        return {
            name: tf.constant(np.concatenate([piece[name] for piece in pieces]))
            for name in pieces[0]
        }

    def read_file(self, file: tf.Tensor) -> tf.data.Dataset:
        """The rows of one file (string scalar, a path), in their order."""
        signature = {
            "row": tf.TensorSpec([None], tf.int64),
            "copy": tf.TensorSpec([None], tf.int32),
            "label": tf.TensorSpec([None], tf.int32),
            "prob": tf.TensorSpec([None], tf.float32),
            "probabilities": tf.TensorSpec([None, self.num_classes], tf.float32),
        }
        pieces = tf.data.Dataset.from_generator(
            lambda path: self._pieces(path.decode()), output_signature=signature, args=(file,)
        )
        return pieces.unbatch()

    def join(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Adds the images, or their places, and the hashes of their ids to batches of rows."""
        columns = example_columns(self._examples, self._spec, self._cache, "unlabeled")
        images = {name: columns[name] for name in columns.keys() - {"labels", "id_hash", "copy"}}
        images["id_hash"] = record_schema.hash_ids(
            tf.constant(self._examples.ids.tolist(), tf.string)
        )

        def point(batch: Columns) -> Columns:
            return {
                ("index" if name == "row" else name): batch[name]
                for name in batch
                if name != "index"
            }

        return gather(batches.map(point), images)

    def _pieces(self, path: str) -> Iterator[dict[str, np.ndarray]]:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                rows = {name: _array(batch.column(name)) for name in batch.schema.names}
                yield {
                    "row": rows["index"],
                    "copy": rows["copy"],
                    "label": rows["label"],
                    "prob": rows["prob"],
                    "probabilities": distributions.dense(
                        rows["probabilities"], rows.get("classes"), self.num_classes
                    ),
                }


def _array(column: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return column.to_numpy()
