"""The decision of `balance` for any number of records, in memory that does not grow with them.

Radix selection, most significant bits first: a pass over the records counts, for each class, how
many there are with each value of the next bits of their place in its order. That tells in which of
these the cut lies, so that the next pass need look at fewer. Once those few fit in memory, a last
pass keeps and sorts them. With real confidences that is the second pass; only where very many are
equal does it take one more, over bits of the id.

Counts are mergeable: those of several machines are added, then each goes on with the same window.
"""

import functools
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from noisy_student.artifacts.decision import check_columns
from noisy_student.selection import rule
from noisy_student.selection.window import Window, fall_of, whole

IN_MEMORY = 2**25  # records that a last pass may keep: 12 bytes each, 400 MB
_TABLE = 2**22  # counts of a pass: 32 MiB

Piece = tuple[np.ndarray, np.ndarray, np.ndarray | None]
Statistics = TypeVar("Statistics", "Counts", rule.ClassStatistics)


class Counts:
    """How the records in a window are spread over the next bits of their places.

    Attributes:
        window: that narrows nothing at first (`whole`).
        min_confidence: records below it are not counted.
        table: int64 [C, 2^b].
    """

    def __init__(self, window: Window, min_confidence: float):
        """Starts without records."""
        self.window, self.min_confidence = window, min_confidence
        num_classes = len(window.cut)
        free = window.fall_bits or window.id_bits
        self.bits = min(free, max(1, (_TABLE // num_classes).bit_length() - 1))
        self.table = np.zeros((num_classes, 2**self.bits), np.int64)

    @property
    def needs_ids(self) -> bool:
        """Whether `update` looks at ids."""
        return not self.window.fall_bits

    def update(
        self, labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray | None = None
    ) -> None:
        """Adds records.

        Args:
            labels: int [N], 0 .. C - 1.
            confidences: float32 [N], 0..1.
            ids: uint64 [N]; None where `needs_ids` is not.

        Raises:
            ValueError: as `balance.ClassStatistics.update`.
        """
        window = self.window
        labels, confidences, ids = check_columns(labels, confidences, ids, len(self.table))
        inside = confidences >= np.float32(self.min_confidence)
        inside &= window.holds(labels, confidences, ids)
        labels, confidences = labels[inside], confidences[inside]
        if self.needs_ids:
            places, free = ids[inside], window.id_bits
        else:
            places, free = fall_of(confidences), window.fall_bits
        kind = places.dtype.type
        digits = places >> kind(free - self.bits) & kind(2**self.bits - 1)
        cells = labels.astype(np.int64) << self.bits | digits.astype(np.int64)
        self.table += np.bincount(cells, minlength=self.table.size).reshape(self.table.shape)

    def merge(self, other: "Counts") -> None:
        """Adds the counts of other records over the same window."""
        self.table += other.table

    def narrowed(self, cut: np.ndarray) -> Window:
        """The part of the window in which the cuts lie.

        Args:
            cut: int64 [C], places in the whole classes, from 1; 0: none.
        """
        window = self.window
        sums = window.ahead[:, None] + np.cumsum(self.table, axis=1)
        digit = np.minimum((sums < cut[:, None]).sum(axis=1), self.table.shape[1] - 1)
        count = np.take_along_axis(self.table, digit[:, None], axis=1)[:, 0]
        ahead = np.take_along_axis(sums, digit[:, None], axis=1)[:, 0] - count
        fall, first_id, fall_bits, id_bits = (
            window.fall,
            window.first_id,
            window.fall_bits,
            window.id_bits,
        )
        if self.needs_ids:
            id_bits -= self.bits
            first_id = first_id | digit.astype(np.uint64) << np.uint64(id_bits)
        else:
            fall_bits -= self.bits
            fall = fall | digit.astype(np.uint32) << np.uint32(fall_bits)
        count = np.where(cut > 0, count, 0)
        return Window(cut, ahead, count, fall, fall_bits, first_id, id_bits)


def decide(
    read: Callable[[bool], Iterable[Piece]],
    num_classes: int,
    min_confidence: float,
    images_per_class: int | str,
    max_copies: int | None = None,
) -> rule.Decision:
    """`balance.decide` of records that are read as often as need be.

    Args:
        read: gives all records anew, some at a time, as labels int [N], confidences float32 [N] and
            ids uint64 [N], or None in their place where it is called with False.
        num_classes: C.
        min_confidence: as of `balance.ClassStatistics`.
        images_per_class: as of `balance.decide`.
        max_copies: likewise.

    Raises:
        ValueError: as `balance.ClassStatistics.update` and `balance.decide`.
    """
    return decide_merged(
        functools.partial(gather, read), num_classes, min_confidence, images_per_class, max_copies
    )


def decide_merged(
    gather_all: Callable[[Callable[[], Statistics]], Statistics],
    num_classes: int,
    min_confidence: float,
    images_per_class: int | str,
    max_copies: int | None = None,
) -> rule.Decision:
    """`decide` where others read the records.

    Args:
        gather_all: takes a function that makes empty statistics, and returns such of all records,
            merged if need be.
        num_classes: as of `decide`, and so on.
        min_confidence: likewise.
        images_per_class: likewise.
        max_copies: likewise.
    """
    window = whole(num_classes, min_confidence)
    counts = gather_all(functools.partial(Counts, window, min_confidence))
    above = counts.table.sum(axis=1)
    target = rule.target_of(images_per_class, above)
    _, cut = rule.shares(above, target, max_copies)
    window = counts.narrowed(cut)
    while window.count.sum() > IN_MEMORY and window.id_bits:
        counts = gather_all(functools.partial(Counts, window, min_confidence))
        window = counts.narrowed(cut)
    empty = functools.partial(rule.ClassStatistics, num_classes, min_confidence, window)
    return rule.decide(gather_all(empty), images_per_class, max_copies)


def gather(read: Callable[[bool], Iterable[Piece]], empty: Callable[[], Statistics]) -> Statistics:
    """Statistics of all records that `read` gives, as of `decide`."""
    statistics = empty()
    for piece in read(statistics.needs_ids):
        statistics.update(*piece)
    return statistics
