"""The files between pseudo-labeling and selection: Parquet shards with one row per image.

Columns: `id` (string) and `id_hash` (uint64) name the image, `index` (int64) is its position in the
set of examples, `source_shard` (string) the TFRecord file it lies in, if any; `label` (int32) and
`confidence` (float32) are argmax and maximum of the float32 probabilities; `probabilities` are what
is stored of these: float16 or float32, all C or the k largest, whose `classes` (int32) then stand
beside them; `true_label` (int32) is -1 where unknown. The schema's metadata carries a card (JSON):
class names, model, preprocessing, examples, what is stored of the probabilities, temperature, and
`noise` where the teacher was noised.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data import distributions
from noisy_student.artifacts.decision import check_columns
from noisy_student.artifacts.files import atomic_write

_CARD = b"noisy_student"
_NAME = re.compile(r"predictions-(\d{5})-of-(\d{5})\.parquet")
_ROWS_AT_ONCE, _NARROW_ROWS_AT_ONCE = 2**16, 2**21

Columns = dict[str, np.ndarray]


def shard_path(directory: str | Path, shard: int, num_shards: int) -> Path:
    """File of shard `shard` (from 0) of `num_shards`."""
    return Path(directory) / f"predictions-{shard:05d}-of-{num_shards:05d}.parquet"


def shard_files(directory: str | Path) -> list[Path]:
    """All shards, in order.

    Raises:
        ValueError: there are none, some are missing, or there are shards of different numbers.
    """
    found = {path: _NAME.fullmatch(path.name) for path in sorted(Path(directory).glob("*.parquet"))}
    totals = {int(match[2]) for match in found.values() if match}
    if not totals:
        raise ValueError(f"{directory} has no predictions-*-of-*.parquet")
    if len(totals) > 1:
        raise ValueError(f"{directory} mixes predictions of {sorted(totals)} shards; keep one set")
    files = [shard_path(directory, shard, max(totals)) for shard in range(max(totals))]
    missing = [file.name for file in files if file not in found]
    if missing:
        raise ValueError(f"{directory} lacks {', '.join(missing[:5])} ({len(missing)} files)")
    return files


def write(path: Path, card: dict[str, Any], pieces: Iterable[Columns]) -> None:
    """Writes one shard so that `path` either has all of it or is not touched.

    Args:
        path: of `shard_path`.
        card: JSON-like; "class_names", "store_top_k" (None: all) and "probabilities_dtype" decide
            what of the probabilities is stored.
        pieces: columns by name, some rows at a time; of all C probabilities.
    """
    schema = _schema(card)
    with (
        atomic_write(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for columns in pieces:
            writer.write_table(_table(_kept(columns, card), schema))


def read(files: Iterable[Path], columns: list[str]) -> Iterator[Columns]:
    """Reads some columns of all rows, in the files' order.

    At most 65 536 rows at a time with probabilities, 2^21 without.

    Yields:
        name -> array [n] ("probabilities": float [n, C or k], "classes": int32 [n, k]).
    """
    for path in files:
        yield from _read(path, columns)


def decision_columns(
    files: Iterable[Path], num_classes: int, with_ids: bool = True
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Reads what a decision of `balance` needs of all rows, at most 2^21 rows at a time.

    Args:
        files: shards.
        num_classes: C.
        with_ids: whether the hashes are read.

    Yields:
        labels int [n], confidences float32 [n], and ids uint64 [n] or None.

    Raises:
        ValueError: naming the shard with a label or confidence out of range (NaN too).
    """
    names = ["label", "confidence", "id_hash"] if with_ids else ["label", "confidence"]
    for path in files:
        for piece in _read(path, names):
            columns = piece["label"], piece["confidence"], piece.get("id_hash")
            try:
                columns = check_columns(*columns, num_classes)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            yield columns


def _read(path: Path, columns: list[str]) -> Iterator[Columns]:
    rows = _ROWS_AT_ONCE if "probabilities" in columns else _NARROW_ROWS_AT_ONCE
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(rows, columns=columns):
            yield {name: _array(batch.column(name)) for name in columns}


def read_card(path: Path) -> dict[str, Any]:
    """The card of a shard.

    Raises:
        ValueError: naming a file that is damaged or has no card.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None
    if _CARD not in metadata:
        raise ValueError(f"{path} was not written by noisy_student.pseudo_label")
    return json.loads(metadata[_CARD])


def are_noised(path: Path) -> bool:
    """Whether the teacher of a shard was noised."""
    return "noise" in read_card(path)


def columns_of(card: dict[str, Any]) -> list[str]:
    """Names of the columns that a shard with this card has."""
    return _schema(card).names


def _schema(card: dict[str, Any]) -> pa.Schema:
    top_k = card.get("store_top_k")
    number = {"float16": pa.float16(), "float32": pa.float32()}
    kind = number[card.get("probabilities_dtype", "float16")]
    fields = [
        ("id", pa.string()),
        ("id_hash", pa.uint64()),
        ("index", pa.int64()),
        ("source_shard", pa.dictionary(pa.int32(), pa.string())),
        ("label", pa.int32()),
        ("confidence", pa.float32()),
        ("probabilities", pa.list_(kind, top_k or len(card["class_names"]))),
        ("true_label", pa.int32()),
    ]
    if top_k:
        fields.append(("classes", pa.list_(pa.int32(), top_k)))
    return pa.schema(fields, metadata={_CARD: json.dumps(card, sort_keys=True)})


def _kept(columns: Columns, card: dict[str, Any]) -> Columns:
    """The columns with what is stored of the probabilities."""
    if not card.get("store_top_k"):
        return columns
    values, classes = distributions.keep_top(columns["probabilities"], card["store_top_k"])
    return columns | {"probabilities": values, "classes": classes}


def _table(columns: Columns, schema: pa.Schema) -> pa.Table:
    arrays = []
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            flat = columns[field.name].reshape(-1).astype(field.type.value_type.to_pandas_dtype())
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), type=field.type))
        else:
            arrays.append(pa.array(columns[field.name], type=field.type))
    return pa.table(arrays, schema=schema)


def _array(column: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.to_numpy(zero_copy_only=False)
