"""Student records without images: an index into a set of examples.

Parquet files `index-00000-of-00004.parquet` have a row for each record in the order of training:
`index` (int64) of the image in the examples, `copy` (int32), `label` (int32), `prob` (float32), and
`probabilities` (k floats) of all classes or, where there is a column `classes` (k int32), of these.
The schema's metadata identifies the examples and gives the size of their encoded images.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from data import distributions, record_schema
from data.examples import Examples
from data.pipeline.decoded import DecodedCache
from data.pipeline.order import Columns
from data.pipeline.table import Batches, Read, Table, image_table
from data.preprocess import PreprocessSpec

_CARD = b"selected_index"
_ROWS_AT_ONCE = 8192


class Card(TypedDict):
    """Metadata of an index."""

    num_classes: int  # length of the distributions
    examples: str  # fingerprint of the examples
    image_bytes: int  # total size of the encoded images


def write_shards(
    pieces: Iterable[np.ndarray],
    directory: str | os.PathLike[str],
    num_records: int,
    num_shards: int,
    card: Card,
) -> list[pathlib.Path]:
    """Writes rows, in their order, to shards, like `record_schema.write_shards`.

    Args:
        pieces: structured arrays [n] with the columns above.
        directory: created if it is missing.
        num_records: number of rows.
        num_shards: number of files to write.
        card: metadata of every file.

    Returns:
        The paths of the shards.

    Raises:
        ValueError: `num_shards` is below 1 or above the number of rows, or there are not exactly
            `num_records` rows.
    """
    if num_shards > num_records:
        raise ValueError(f"{num_records} selected images cannot fill {num_shards} shards.")
    paths = record_schema.shard_paths(directory, num_shards, "index", ".parquet")
    lengths = record_schema.shard_lengths(num_records, num_shards)
    stream = iter(pieces)
    rows: np.ndarray | None = None
    for path, length in zip(paths, lengths, strict=True):
        with record_schema.appearing(path) as partial:
            writer: Any = None
            while length:
                if rows is None or not len(rows):
                    rows = next(stream, None)
                if rows is None:
                    raise ValueError(f"{directory} needs {num_records} rows, got fewer.")
                table = _table(rows[:length], card)
                writer = writer or pq.ParquetWriter(partial, table.schema, compression="zstd")
                writer.write_table(table)
                length, rows = length - table.num_rows, rows[length:]
            writer.close()
    if (rows is not None and len(rows)) or next(stream, None) is not None:
        raise ValueError(f"{directory} needs {num_records} rows, got more.")
    return paths


def _table(rows: np.ndarray, card: Card) -> pa.Table:
    columns = {}
    for name in rows.dtype.names or ():
        column = np.ascontiguousarray(rows[name])
        columns[name] = pa.array(column.reshape(-1))
        if column.ndim == 2:
            columns[name] = pa.FixedSizeListArray.from_arrays(columns[name], column.shape[1])
    return pa.table(columns).replace_schema_metadata({_CARD: json.dumps(card, sort_keys=True)})


def read_card(file: str | os.PathLike[str]) -> Card:
    """Reads the metadata of a file; raises a ValueError if it is not an index."""
    metadata = pq.read_schema(file).metadata or {}
    if _CARD not in metadata:
        raise ValueError(f"{file} is not an index of selected images.")
    return cast(Card, json.loads(metadata[_CARD]))


def check(file: str | os.PathLike[str], examples: Examples | None) -> tuple[Card, Examples]:
    """Reads the metadata; raises a ValueError for an index of other images than `examples`."""
    card = read_card(file)
    if examples is None or examples.fingerprint() != card["examples"]:
        raise ValueError(f"{file} is an index of other unlabeled images than these.")
    return card, examples


class SelectedIndex:
    """An index joined with its images, used like records that contain them.

    Attributes:
        num_classes: length of the distributions (C).
        num_bytes: total size of the encoded images.
        read: None: rows have no images before `join`.
    """

    read: Read | None = None

    def __init__(
        self,
        files: Sequence[str],
        examples: Examples | None,
        spec: PreprocessSpec,
        cache: DecodedCache | None,
    ):
        """Opens the files.

        Args:
            files: files of one index.
            examples: the images that it was made from.
            spec: preprocessing; small images are resized once.
            cache: keeps the decoded images of the examples if they fit; None: no cache.

        Raises:
            ValueError: the index was made from other examples.
        """
        card, self._examples = check(files[0], examples)
        self.num_classes, self.num_bytes = card["num_classes"], card["image_bytes"]
        self._files, self._spec, self._cache = files, spec, cache

    def count(self) -> int:
        """Returns the number of records."""
        return sum(pq.read_metadata(file).num_rows for file in self._files)

    def read_all(self) -> Table:
        """Reads all rows: "row", "copy", "label", "prob" and "probabilities" float32 [N, C]."""
        pieces = [piece for file in self._files for piece in self._pieces(file)]
        columns = {
            name: tf.constant(np.concatenate([piece[name] for piece in pieces]))
            for name in pieces[0]
        }
        return Table(columns, None)

    def read_file(self, file: tf.Tensor) -> tf.data.Dataset:
        """Reads the rows of one file (string scalar, a path), in their order."""
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

    def join(self, batches: Batches) -> Batches:
        """Adds the images, or their places, and the hashes of their ids to batches of rows."""
        images = image_table(self._examples, self._spec, self._cache, "unlabeled")
        ids = tf.constant(self._examples.ids.tolist(), tf.string)
        columns = images.columns | {"id_hash": record_schema.hash_ids(ids)}

        def point(batch: Columns) -> Columns:
            rest = {name: column for name, column in batch.items() if name not in ("row", "index")}
            return rest | {"index": batch["row"]}

        return Table(columns, images.read).gather(batches.dataset.map(point))

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
