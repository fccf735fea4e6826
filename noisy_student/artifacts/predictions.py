"""The files between pseudo-labeling and selection: Parquet shards with one row per image.

| column | type | meaning |
| --- | --- | --- |
| `id`, `id_hash` | string, uint64 | name of the image, and its hash |
| `index` | int64 | position among the examples |
| `source_shard` | string | TFRecord file that holds the image, or "" |
| `label`, `confidence` | int32, float32 | argmax and maximum of the float32 probabilities |
| `probabilities` | float16 or float32 [C or k] | all, or the k largest |
| `classes` | int32 [k] | classes of these; only with k |
| `true_label` | int32 | -1: unknown |

The schema's metadata carries a card: JSON, see `json_files.PredictionsCard`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data import distributions
from noisy_student.artifacts import shapes
from noisy_student.artifacts.decision import check_columns
from noisy_student.artifacts.files import atomic_write, damaged
from noisy_student.artifacts.json_files import PredictionsCard

_CARD = b"noisy_student"
_NAME = re.compile(r"predictions-(\d{5})-of-(\d{5})\.parquet")
ROWS_AT_ONCE = 2**16  # in memory, with probabilities
NARROW_ROWS_AT_ONCE = 2**21  # in memory, without

Columns = dict[str, np.ndarray]  # name -> array [n] or [n, k]


def shard_path(directory: str | Path, shard: int, num_shards: int) -> Path:
    """Returns the path of shard `shard`, from 0, of `num_shards`."""
    return Path(directory) / f"predictions-{shard:05d}-of-{num_shards:05d}.parquet"


def shard_files(directory: str | Path) -> list[Path]:
    """Returns the paths of all shards, in order.

    Raises:
        ValueError: there are no shards, some are missing, or their names differ in the number of
            shards.
    """
    found = {path: _NAME.fullmatch(path.name) for path in sorted(Path(directory).glob("*.parquet"))}
    totals = {int(match[2]) for match in found.values() if match}
    if not totals:
        raise ValueError(f"{directory} has no predictions-*-of-*.parquet files")
    if len(totals) > 1:
        raise ValueError(f"{directory} mixes sets of {sorted(totals)} shards: keep one of them")
    files = [shard_path(directory, shard, max(totals)) for shard in range(max(totals))]
    missing = [file.name for file in files if file not in found]
    if missing:
        raise ValueError(f"{directory} is missing {', '.join(missing[:5])} ({len(missing)} files)")
    return files


def write(path: Path, card: PredictionsCard, pieces: Iterable[Columns]) -> None:
    """Writes one shard atomically.

    The card decides which probabilities are stored; `pieces` are columns of some rows each, with
    all C probabilities.
    """
    schema = _schema(card)
    with (
        atomic_write(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for columns in pieces:
            if top_k := card.get("store_top_k"):
                values, classes = distributions.keep_top(columns["probabilities"], top_k)
                columns = columns | {"probabilities": values, "classes": classes}
            writer.write_table(_table(columns, schema))


def read(files: Iterable[Path], columns: Sequence[str]) -> Iterator[Columns]:
    """Yields some columns of all rows, in the files' order and some rows at a time.

    At most `ROWS_AT_ONCE` rows are read at once with probabilities, else `NARROW_ROWS_AT_ONCE`.
    """
    for path in files:
        yield from _read(path, columns)


def decision_columns(
    files: Iterable[Path], num_classes: int, with_ids: bool = True, highest: float = 1.0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Reads the columns that decide a selection, some rows at a time.

    Args:
        files: shards.
        num_classes: C.
        with_ids: whether to read the hashes.
        highest: largest confidence of the rows to return.

    Yields:
        labels int [n], confidences float32 [n], and ids uint64 [n] or None.

    Raises:
        ValueError: a label or confidence is out of range or NaN; the message names the shard.
    """
    names = ["label", "confidence", "id_hash"] if with_ids else ["label", "confidence"]
    for path in files:
        for piece in _read(path, names):
            columns = piece["label"], piece["confidence"], piece.get("id_hash")
            try:
                checked = check_columns(*columns, num_classes)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            if highest < 1:
                (labels, confidences, ids), kept = checked, checked[1] <= np.float32(highest)
                checked = labels[kept], confidences[kept], None if ids is None else ids[kept]
            yield checked


def _read(path: Path, columns: Sequence[str]) -> Iterator[Columns]:
    rows = ROWS_AT_ONCE if "probabilities" in columns else NARROW_ROWS_AT_ONCE
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(rows, columns=columns):
                yield {name: _array(batch.column(name)) for name in columns}
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, f"cannot be read as Parquet ({error})") from None


def read_card(path: Path) -> PredictionsCard:
    """Returns the card of a shard.

    Raises:
        ValueError: the file is damaged or has no card.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(path, f"cannot be read as Parquet ({error})") from None
    if _CARD not in metadata:
        raise ValueError(f"{path} was not written by noisy_student.pseudo_label")
    card: PredictionsCard = json.loads(metadata[_CARD])
    if problem := shapes.problem(card, PredictionsCard):
        raise damaged(path, f"has another card: {problem}")
    return card


def are_noised(path: Path) -> bool:
    """Returns True if the teacher of a shard was noised."""
    return "noise" in read_card(path)


def _schema(card: PredictionsCard) -> pa.Schema:
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
