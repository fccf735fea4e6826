"""The decision of a selection: how often each class, confidence and id is taken.

`noisy_student.selection` finds it; `decision.json` stores it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Decision:
    """How often a record is taken, as a function of its class, confidence and id alone.

    Attributes:
        min_confidence: records below it are not taken.
        images_per_class: N, which every class with any record is brought to; None: none is, and
            every record that reaches the confidence is taken once.
        before: int64 [C], records of each class.
        above: int64 [C], those which reach min_confidence: n.
        copies: int32 [C], floor(N / n), at most max_copies: how often each of these is taken; 0 for
            an empty class.
        cut_confidence: float64 [C], of the last record taken once more; inf: none is.
        cut_id: uint64 [C], its id.
        max_copies: how often an image may be taken at most; None: as often as need be.
    """

    min_confidence: float
    images_per_class: int | None
    before: np.ndarray
    above: np.ndarray
    copies: np.ndarray
    cut_confidence: np.ndarray
    cut_id: np.ndarray
    max_copies: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The decision as what JSON can hold; `from_dict` gives it back exactly."""
        content = dataclasses.asdict(self)
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in content.items()
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Decision:
        """The decision of `to_dict`."""
        types = {"copies": np.int32, "cut_confidence": np.float64, "cut_id": np.uint64}
        arrays = {
            name: np.array(value, types.get(name, np.int64))
            for name, value in content.items()
            if isinstance(value, list)
        }
        return cls(**{**content, **arrays})

    @property
    def distinct(self) -> np.ndarray:
        """int64 [C]: different images taken of each class."""
        if self.images_per_class is None:
            return self.above
        return np.minimum(self.above, self.images_per_class)

    @property
    def after(self) -> np.ndarray:
        """int64 [C]: images taken of each class, duplicates counted."""
        if self.images_per_class is None:
            return self.above
        most = self.above * (self.max_copies or self.images_per_class)
        return np.minimum(most, self.images_per_class)

    @property
    def empty_classes(self) -> np.ndarray:
        """int64 [E]: classes without a record that reaches min_confidence; they stay empty."""
        return np.flatnonzero(self.above == 0)


def check_columns(
    labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray | None, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The columns as arrays of integers, floats and uint64, all in range; ids may be left out.

    Raises:
        ValueError: a value out of range (NaN too), or columns that do not fit together.
    """
    columns = {"labels": np.asarray(labels), "confidences": np.asarray(confidences)}
    if ids is not None:
        columns["ids"] = np.asarray(ids)
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) != 1 or columns["labels"].ndim != 1:
        raise ValueError(f"the columns must have one length, but their shapes are {shapes}")
    kinds = {name: column.dtype.kind for name, column in columns.items()}
    if any(kind not in ("f" if name == "confidences" else "iu") for name, kind in kinds.items()):
        types = ", ".join(f"{name} {column.dtype}" for name, column in columns.items())
        raise ValueError(f"labels and ids must be integers, confidences floats, not {types}")
    for name, low, high in (
        ("labels", 0, num_classes - 1),
        ("confidences", 0, 1),
        ("ids", 0, None),
    ):
        _check_range(name, columns, low, high)
    if columns["labels"].dtype.itemsize > 4:
        columns["labels"] = columns["labels"].astype(np.int32)
    if ids is not None:
        columns["ids"] = columns["ids"].astype(np.uint64, copy=False)
    return columns["labels"], columns["confidences"], columns.get("ids")


def _check_range(name: str, columns: dict[str, np.ndarray], low: float, high: float | None) -> None:
    """Refuses a column, if it is there, with a value outside low..high, naming the first one."""
    values = columns.get(name)
    if values is None or not len(values):
        return
    if values.min() >= low and (high is None or values.max() <= high):
        return
    bad = np.argmin((values >= low) if high is None else (values >= low) & (values <= high))
    where = f"of id {columns['ids'][bad]}" if "ids" in columns else f"in row {bad}"
    valid = f"{low} .. {'2^64 - 1' if high is None else high}"
    raise ValueError(f"{name.removesuffix('s')} {values[bad]} {where}; it must be in {valid}")
