"""A student's training set in its random order: records with images, or an index of images.

Pseudo labels come in the order of the predictions and leave in that of the set. They are sorted on
disk by their position in the set, without images: 24 bytes and the stored probabilities per record.
An image is read from its source when its record is written. Memory holds 4 bytes per example and 16
per record.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from data import distributions, record_schema
from data.examples import Examples
from data.pipeline import selected_index
from data.sources import image_check, record_index
from noisy_student.artifacts import external_sort, predictions
from noisy_student.artifacts.files import read_json
from noisy_student.artifacts.json_files import PredictionsCard, SelectionReport
from noisy_student.runtime import notebook

_SORTED_BYTES = 2**26  # of rows, in memory at once
_DENSE_ROWS = 1024  # distributions over all classes in memory at once
_COUNTED_BYTES = 2**32  # of images; training with an index needs no larger number


@dataclasses.dataclass(frozen=True)
class Form:
    """Storage format of a student set."""

    num_shards: int  # number of files
    # Whether to write an index (`data.pipeline.selected_index`) without images.
    index_only: bool = False
    hard_labels: bool = False  # whether to store one-hot probabilities in place of the teacher's
    published_names: bool = False  # whether records have the published code's file names


@dataclasses.dataclass(frozen=True, eq=False)
class SelectedSet:
    """The images of a selected set, their copies and their order."""

    images: np.ndarray  # int64 [n], indices of the images among the examples, ascending
    labels: np.ndarray  # int32 [n], their pseudo labels
    copies: np.ndarray  # int32 [n], how often each image is in the set
    positions: np.ndarray  # int64 [copies.sum()], see `random_positions`


def random_positions(copies: np.ndarray, seed: int) -> np.ndarray:
    """Returns the position of each copy of each image in the set: int64 [copies.sum()].

    Args:
        copies: int [N], how often each image is taken. The copies of an image are neighbors in the
            result.
        seed: decides the order, together with the number of records.
    """
    order = np.random.default_rng(seed).permutation(int(copies.sum()))
    positions = np.empty_like(order)
    positions[order] = np.arange(len(order))
    return positions


def write(
    prediction_files: Sequence[Path],
    examples: Examples,
    copies: np.ndarray,
    positions: np.ndarray,
    directory: str | Path,
    form: Form,
    within: tuple[Examples, np.ndarray] | None = None,
) -> list[Path]:
    """Writes the pseudo labels of all copies of all selected images in the order of the set.

    Args:
        prediction_files: all shards of predictions of `examples`.
        examples: the images, [N].
        copies: int32 [N], how often each image is in the set.
        positions: int64 [copies.sum()], the order, see `random_positions`.
        directory: receives the files, and temporary ones.
        form: records or index, and number of files.
        within: if `examples` are a part of the images that training will have: all of these, and
            the indices of `examples` among them, int64 [N]. Only an index needs it.

    Returns:
        The files.

    Raises:
        ValueError: the predictions are of other images.
    """
    card = predictions.read_card(prediction_files[0])
    num_classes, total = len(card["class_names"]), int(copies.sum())
    rows = _ordered_rows(
        prediction_files, examples, copies, positions, Path(directory), form.hard_labels
    )
    if form.index_only:
        whole, indices = within or (examples, None)
        index_card: selected_index.Card = {
            "num_classes": num_classes,
            "examples": whole.fingerprint(),
            "image_bytes": _image_bytes(examples, copies),
        }
        if indices is not None:
            rows = _with_indices(rows, indices)
        return selected_index.write_shards(rows, directory, total, form.num_shards, index_card)
    serialized = _serialized(rows, examples, num_classes)
    hides = notebook.hides_bars()
    shown = tqdm(serialized, "selected", total, unit="image", leave=False, disable=hides)
    return record_schema.write_shards(
        shown, directory, total, form.num_shards, form.published_names
    )


def _ordered_rows(
    prediction_files: Sequence[Path],
    examples: Examples,
    copies: np.ndarray,
    positions: np.ndarray,
    directory: Path,
    hard_labels: bool,
) -> Iterator[np.ndarray]:
    """Yields structured arrays, the columns of `data.pipeline.selected_index`, in the set's order.

    Arguments are those of `write`.
    """
    first = np.cumsum(copies, dtype=np.int64) - copies
    card = predictions.read_card(prediction_files[0])
    dtype, fields = _row_type(card, hard_labels)
    shift = (_SORTED_BYTES // dtype.itemsize).bit_length() - 1
    buckets = external_sort.Buckets(directory / ".arranged", dtype, "position", shift)
    stored = ["probabilities", *(["classes"] if card.get("store_top_k") else [])]
    names = ["id", "index", "label", "confidence", *([] if hard_labels else stored)]
    for columns in predictions.read(prediction_files, names):
        taken = copies[columns["index"]]
        _check_ids(columns["id"][taken > 0], columns["index"][taken > 0], examples)
        columns["prob"] = columns.pop("confidence")
        if hard_labels:
            columns["classes"] = columns["label"][:, None]
            columns["probabilities"] = np.ones((len(taken), 1), np.float16)
        rows = np.empty(taken.sum(), dtype)
        source = np.repeat(np.arange(len(taken)), taken)
        rows["copy"] = np.arange(len(source)) - np.repeat(np.cumsum(taken) - taken, taken)
        for name in set(fields) - {"copy"}:
            rows[name] = columns[name][source]
        rows["position"] = positions[first[rows["index"]] + rows["copy"]]
        buckets.add(rows)
    yield from (rows[fields] for rows in buckets.rows())
    buckets.close()


def _row_type(card: PredictionsCard, hard_labels: bool) -> tuple[np.dtype, list[str]]:
    """Returns the type of the sorted rows, and the names of the columns to write."""
    width = 1 if hard_labels else card.get("store_top_k") or len(card["class_names"])
    number = "float16" if hard_labels else card.get("probabilities_dtype", "float16")
    fields: list[tuple] = [
        ("index", np.int64),
        ("copy", np.int32),
        ("label", np.int32),
        ("prob", np.float32),
        ("probabilities", number, (width,)),
    ]
    if hard_labels or card.get("store_top_k"):
        fields.append(("classes", np.int32, (width,)))
    return np.dtype([("position", np.int64), *fields]), [name for name, *_ in fields]


def _check_ids(ids: np.ndarray, indices: np.ndarray, examples: Examples) -> None:
    wrong = np.flatnonzero(examples.ids[indices] != ids)
    if len(wrong):
        index = indices[wrong[0]]
        raise ValueError(
            f"the prediction of image {index} is of {ids[wrong[0]]!r}, "
            f"but that image is {examples.ids[index]!r}"
        )


def _with_indices(pieces: Iterable[np.ndarray], indices: np.ndarray) -> Iterator[np.ndarray]:
    """Replaces indices within a part by those within all images."""
    for rows in pieces:
        rows["index"] = indices[rows["index"]]
        yield rows


def _serialized(
    pieces: Iterable[np.ndarray], examples: Examples, num_classes: int
) -> Iterator[bytes]:
    for piece in pieces:
        has_classes = "classes" in (piece.dtype.names or ())
        for start in range(0, len(piece), _DENSE_ROWS):
            rows = piece[start : start + _DENSE_ROWS]
            classes = rows["classes"] if has_classes else None
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
    """Returns the records of a selected set, or the files of its index."""
    published = f"{record_schema.PUBLISHED_PREFIX}-?????-of-?????"
    found = (sorted(Path(directory).glob(n)) for n in ("*.tfrecord", published, "index-*.parquet"))
    return [str(file) for file in next(filter(None, found), [])]


def check_classes(directory: str | Path, class_names: Sequence[str]) -> None:
    """Refuses a selected set whose labels count other classes, or in another order.

    Raises:
        ValueError: names the directory and the classes.
    """
    path = Path(directory) / "selection.json"
    if not path.exists():
        return
    names = read_json(path, SelectionReport)["per_class"]["names"]
    if names != list(class_names):
        before, now = (image_check.abbreviated(each) for each in (names, class_names))
        raise ValueError(
            f"{directory} holds labels of the classes {before}, but the data has {now}: label and "
            "select again with this data."
        )


def form_of(files: Sequence[str], hard_labels: bool) -> Form:
    """Returns the form of the set that `files_of` found, with other labels."""
    published = Path(files[0]).name.startswith(record_schema.PUBLISHED_PREFIX) if files else False
    return Form(len(files), is_index(files), hard_labels, published)


def is_index(files: Sequence[str] | None) -> bool:
    """Returns True if `files_of` found an index, whose images are stored elsewhere."""
    return files is not None and len(files) > 0 and files[0].endswith(".parquet")


def read_set(files: Sequence[str], examples: Examples) -> SelectedSet:
    """Reads which images a selected set has, without their pixels.

    Args:
        files: from `files_of`.
        examples: the images that the set was selected from.

    Raises:
        ValueError: there are no files, or the set has an image that is not among the examples.
    """
    if not files:
        raise ValueError("no records and no index of selected images")
    if is_index(files):
        selected_index.check(files[0], examples)
        table = pq.read_table(files, columns=["index", "copy", "label"])
        index, copy, labels = (column.to_numpy() for column in table.columns)
    else:
        index, copy, labels = _read_records(files, examples)
    order = np.lexsort((copy, index))
    images, first, copies = np.unique(index[order], return_index=True, return_counts=True)
    return SelectedSet(images, labels[order][first], copies.astype(np.int32), order)


def _read_records(files: Sequence[str], examples: Examples) -> tuple[np.ndarray, ...]:
    """Returns index, copy and label of all records, each int64 [n]."""
    position = {name: index for index, name in enumerate(examples.ids)}
    entries = [entry for file in files for entry in record_index.index(file)]
    for entry in entries:
        if entry.image_id not in position:
            raise ValueError(f"{entry.place}: {entry.image_id!r} is not among the unlabeled images")
    rows = [(position[entry.image_id], entry.copy, entry.label) for entry in entries]
    return tuple(np.array(rows, np.int64).T)


def _image_bytes(examples: Examples, copies: np.ndarray) -> int:
    """Returns the bytes of all copies of all images, or somewhat more than `_COUNTED_BYTES`."""
    total = 0
    for index in np.flatnonzero(copies):
        total += int(copies[index]) * examples.num_bytes(int(index))
        if total > _COUNTED_BYTES:
            break
    return total
