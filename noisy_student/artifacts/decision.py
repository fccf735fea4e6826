"""The decision of a selection (`decision.json`), and the columns that it is a function of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, overload

import numpy as np

from noisy_student.artifacts.files import StrPath, damaged, read_json


@dataclasses.dataclass(frozen=True, eq=False)
class Decision:
    """The number of copies of a record, as a function of only its class, confidence and id.

    A record is selected if its confidence is within `min_confidence` and `max_confidence`. It has
    `copies` of its class, and one more if it does not rank behind the cut: by falling confidence,
    then rising id.
    """

    min_confidence: float  # 0..1
    # N, the target for every class that is not empty; None: no balancing.
    images_per_class: int | None
    before: np.ndarray  # int64 [C], records of each class
    above: np.ndarray  # int64 [C], records that reach min_confidence: n
    copies: np.ndarray  # int32 [C], floor(N / n), at most max_copies; 0 for an empty class
    # float64 [C], confidence of the last record with one more copy; inf: none.
    cut_confidence: np.ndarray
    cut_id: np.ndarray  # uint64 [C], id of that record
    max_copies: int | None = None  # largest number of copies of an image; None: no limit
    max_confidence: float = 1.0  # 0..1; records above it are in none of the counts

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `decision.json`; `from_dict` restores the decision exactly."""
        content = dataclasses.asdict(self)
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in content.items()
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Decision:
        """Restores the decision from the content of `decision.json`."""
        types: dict[str, type] = {
            "copies": np.int32,
            "cut_confidence": np.float64,
            "cut_id": np.uint64,
        }
        arrays: dict[str, Any] = {
            name: np.array(value, types.get(name, np.int64))
            for name, value in content.items()
            if isinstance(value, list)
        }
        return cls(**{**content, **arrays})

    @classmethod
    def read(cls, path: StrPath) -> Decision:
        """Reads `decision.json`; raises a ValueError if it is damaged."""
        try:
            return cls.from_dict(read_json(path, dict[str, Any]))
        except (TypeError, OverflowError) as error:
            raise damaged(path, f"is not the decision of a selection ({error})") from None

    @property
    def distinct(self) -> np.ndarray:
        """Number of distinct images selected of each class: int64 [C]."""
        if self.images_per_class is None:
            return self.above
        return np.minimum(self.above, self.images_per_class)

    @property
    def after(self) -> np.ndarray:
        """Number of records of each class in the student set, including copies: int64 [C]."""
        if self.images_per_class is None:
            return self.above
        most = self.above * (self.max_copies or self.images_per_class)
        return np.minimum(most, self.images_per_class)

    @property
    def empty_classes(self) -> np.ndarray:
        """Classes without a record that reaches min_confidence; they stay empty: int64 [E]."""
        return np.flatnonzero(self.above == 0)


def reaches(confidences: np.ndarray, min_confidence: float) -> np.ndarray:
    """Returns which confidences, float [N], are at least min_confidence: bool [N].

    The comparison is in the type of the column, so that a float32 0.3 reaches 0.3.
    """
    return confidences >= confidences.dtype.type(min_confidence)


@overload
def check_columns(
    labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


@overload
def check_columns(
    labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray | None, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]: ...


def check_columns(
    labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray | None, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns the columns as arrays of the right types, and checks that their values are in range.

    Args:
        labels: int [N], 0 .. num_classes - 1.
        confidences: float [N], 0..1.
        ids: int [N], 0 .. 2^64 - 1; or None.
        num_classes: C.

    Returns:
        int [N] of at most 32 bits, float [N], and uint64 [N] or None.

    Raises:
        ValueError: a value is out of range or NaN, or the columns differ in length or have other
            types.
    """
    given = {"labels": labels, "confidences": confidences, "ids": ids}
    columns = {name: np.asarray(values) for name, values in given.items() if values is not None}
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or columns["labels"].ndim != 1:
        raise ValueError(f"the columns must have equal lengths, but their shapes are {shapes}")
    kinds = {name: column.dtype.kind for name, column in columns.items()}
    if any(kind not in ("f" if name == "confidences" else "iu") for name, kind in kinds.items()):
        types = ", ".join(f"{name} {column.dtype}" for name, column in columns.items())
        raise ValueError(f"labels and ids must be integers, confidences floats, not {types}")
    _check_range("labels", columns, 0, num_classes - 1)
    _check_range("confidences", columns, 0, 1)
    if ids is not None:
        _check_range("ids", columns, 0, None)
    if columns["labels"].dtype.itemsize > 4:
        columns["labels"] = columns["labels"].astype(np.int32)
    if ids is not None:
        columns["ids"] = columns["ids"].astype(np.uint64, copy=False)
    return columns["labels"], columns["confidences"], columns.get("ids")


def _check_range(name: str, columns: dict[str, np.ndarray], low: float, high: float | None) -> None:
    """Raises ValueError if a column has a value outside low..high, and names the first one."""
    values = columns[name]
    if not len(values):
        return
    if values.min() >= low and (high is None or values.max() <= high):
        return
    bad = np.argmin((values >= low) if high is None else (values >= low) & (values <= high))
    where = f"of id {columns['ids'][bad]}" if "ids" in columns else f"in row {bad}"
    valid = f"{low} .. {'2^64 - 1' if high is None else high}"
    raise ValueError(f"{name.removesuffix('s')} {values[bad]} {where}; it must be in {valid}")
