"""A student's training set in its order: records with images, or an index of images.

Pseudo labels come in the order of the predictions and leave in a random one. They are sorted on
disk by their place in that order, without images: 24 bytes and the stored probabilities for each.
Images are read where they are, when their record is written. In memory stay 4 bytes for every image
and 16 for every record.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from data import distributions, record_schema
from data.examples import Examples
from data.pipeline import selected_index
from data.sources import records
from noisy_student.artifacts import external_sort, predictions

_SORTED_BYTES = 2**26  # of rows, in memory at once
_DENSE_ROWS = 1024  # distributions made whole at once
_COUNTED_BYTES = 2**32  # of images; an index need not know what is more


def random_places(copies: np.ndarray, seed: int) -> np.ndarray:
    """Where in the training set each copy of each image stands: int64 [copies.sum()].

    Args:
        copies: int [N], how often each image is taken; their copies stand one after the other.
        seed: of the order, which depends on nothing else.
    """
    order = np.random.default_rng(seed).permutation(int(copies.sum()))
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


def arranged(
    files: Sequence[Path],
    examples: Examples,
    copies: np.ndarray,
    places: np.ndarray,
    directory: str | Path,
    *,
    hard_labels: bool = False,
) -> Iterator[np.ndarray]:
    """The pseudo labels of all copies of all images that are taken, in the order asked for.

    Args:
        files: shards of predictions.
        examples: the images that they are of.
        copies: int32 [N], how often each of these is taken.
        places: where each copy shall stand, as of `random_places`.
        directory: of temporary files.
        hard_labels: one-hot probabilities in place of the teacher's.

    Yields:
        Structured arrays: the columns of `data.pipeline.selected_index`, some rows at a time.

    Raises:
        ValueError: predictions of other images.
    """
    first = np.cumsum(copies, dtype=np.int64) - copies
    card = predictions.read_card(files[0])
    dtype = _row_type(card, hard_labels)
    shift = (_SORTED_BYTES // dtype.itemsize).bit_length() - 1
    buckets = external_sort.Buckets(Path(directory) / ".arranged", dtype, "position", shift)
    stored = ["probabilities", *(["classes"] if card.get("store_top_k") else [])]
    names = ["id", "index", "label", "confidence", *([] if hard_labels else stored)]
    for columns in predictions.read(files, names):
        taken = copies[columns["index"]]
        _check_ids(columns["id"][taken > 0], columns["index"][taken > 0], examples)
        columns["prob"] = columns.pop("confidence")
        if hard_labels:
            columns["classes"] = columns["label"][:, None]
            columns["probabilities"] = np.ones((len(taken), 1), np.float16)
        rows = np.empty(taken.sum(), dtype)
        source = np.repeat(np.arange(len(taken)), taken)
        rows["copy"] = np.arange(len(source)) - np.repeat(np.cumsum(taken) - taken, taken)
        for name in set(dtype.names) - {"position", "copy"}:
            rows[name] = columns[name][source]
        rows["position"] = places[first[rows["index"]] + rows["copy"]]
        buckets.add(rows)
    fields = [name for name in dtype.names if name != "position"]
    yield from (rows[fields] for rows in buckets.rows())
    buckets.close()


def _row_type(card: dict[str, Any], hard_labels: bool) -> np.dtype:
    width = 1 if hard_labels else card.get("store_top_k") or len(card["class_names"])
    number = "float16" if hard_labels else card.get("probabilities_dtype", "float16")
    fields = [
        ("position", np.int64),
        ("index", np.int64),
        ("copy", np.int32),
        ("label", np.int32),
        ("prob", np.float32),
        ("probabilities", number, (width,)),
    ]
    if hard_labels or card.get("store_top_k"):
        fields.append(("classes", np.int32, (width,)))
    return np.dtype(fields)


def _check_ids(ids: np.ndarray, indices: np.ndarray, examples: Examples) -> None:
    wrong = np.flatnonzero(examples.ids[indices] != ids)
    if len(wrong):
        index = indices[wrong[0]]
        raise ValueError(
            f"the prediction of image {index} is of {ids[wrong[0]]!r}, "
            f"but that image is {examples.ids[index]!r}"
        )


def write(
    pieces: Iterable[np.ndarray],
    examples: Examples,
    copies: np.ndarray,
    num_classes: int,
    directory: str | Path,
    num_shards: int,
    index_only: bool = False,
    part_of: tuple[Examples, np.ndarray] | None = None,
) -> list[Path]:
    """Writes rows of `arranged` as records with their images, or as an index without.

    Args:
        pieces: the rows.
        examples: the images.
        copies: int32 [N], how often each of these is taken.
        num_classes: C.
        directory: of the files.
        num_shards: how many files.
        index_only: an index it is.
        part_of: where the images are only a part of those that training will be given: these, and
            the positions of the former among them, int64 [N].

    Returns:
        The files.
    """
    total = int(copies.sum())
    if index_only:
        whole, positions = part_of or (examples, None)
        card = {
            "num_classes": num_classes,
            "examples": whole.fingerprint(),
            "image_bytes": _image_bytes(examples, copies),
        }
        if positions is not None:
            pieces = (_moved(rows, positions) for rows in pieces)
        return selected_index.write_shards(pieces, directory, total, num_shards, card)
    serialized = _serialized(pieces, examples, num_classes)
    shown = tqdm(serialized, "selected", total, unit="image", leave=False, disable=None)
    return record_schema.write_shards(shown, directory, total, num_shards)


def _moved(rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    rows["index"] = positions[rows["index"]]
    return rows


def _serialized(
    pieces: Iterable[np.ndarray], examples: Examples, num_classes: int
) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), _DENSE_ROWS):
            rows = piece[start : start + _DENSE_ROWS]
            classes = rows["classes"] if "classes" in rows.dtype.names else None
            whole = distributions.dense(rows["probabilities"], classes, num_classes)
            for row, probabilities in zip(rows, whole, strict=True):
                yield record_schema.serialize(
                    examples.encoded(int(row["index"])),
                    int(row["label"]),
                    float(row["prob"]),
                    probabilities,
                    examples.ids[row["index"]],
                    int(row["copy"]),
                )


def files_of(directory: str | Path) -> list[str]:
    """The records of a selected set, or its index."""
    directory = Path(directory)
    found = sorted(directory.glob("*.tfrecord")) or sorted(directory.glob("index-*.parquet"))
    return [str(file) for file in found]


def is_index(files: Sequence[str] | None) -> bool:
    """Whether files of `files_of` are an index, and the images lie elsewhere."""
    return bool(files) and files[0].endswith(".parquet")


@dataclasses.dataclass(frozen=True, eq=False)
class SelectedSet:
    """What is in a selected set, and where.

    Attributes:
        images: int64 [n], positions of its images in the examples, in their order.
        labels: int32 [n], their pseudo labels.
        copies: int32 [n], how often each is in the set.
        places: int64 [copies.sum()], where each copy stands, as of `random_places`.
    """

    images: np.ndarray
    labels: np.ndarray
    copies: np.ndarray
    places: np.ndarray


def read_set(files: Sequence[str], examples: Examples) -> SelectedSet:
    """Reads which images a selected set has, without the images.

    Args:
        files: of `files_of`.
        examples: the images that the set was selected from.

    Raises:
        ValueError: there are no files; naming an image that is none of the examples.
    """
    if not files:
        raise ValueError("there are neither records nor an index of selected images")
    if is_index(files):
        selected_index.check(files[0], examples)
        table = pq.read_table(files, columns=["index", "copy", "label"])
        index, copy, labels = (column.to_numpy() for column in table.columns)
    else:
        index, copy, labels = _entries(files, examples)
    order = np.lexsort((copy, index))
    images, first, copies = np.unique(index[order], return_index=True, return_counts=True)
    return SelectedSet(images, labels[order][first], copies.astype(np.int32), order)


def _entries(files: Sequence[str], examples: Examples) -> tuple[np.ndarray, ...]:
    position = {name: index for index, name in enumerate(examples.ids)}
    entries = [entry for file in files for entry in records.index(file)]
    for entry in entries:
        if entry.image_id not in position:
            raise ValueError(f"{entry.place}: {entry.image_id!r} is no unlabeled image here")
    rows = [(position[entry.image_id], entry.copy, entry.label) for entry in entries]
    return tuple(np.array(rows, np.int64).T)


def _image_bytes(examples: Examples, copies: np.ndarray) -> int:
    """What records would take for images, counted as far as it may matter to training."""
    total = 0
    for index in np.flatnonzero(copies):
        total += int(copies[index]) * examples.num_bytes(index)
        if total > _COUNTED_BYTES:
            break
    return total
