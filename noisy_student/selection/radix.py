"""The decision of `rule` for any number of records, in memory that does not grow with them.

A radix selection finds the cuts of all classes at once. The records of a class are ranked by a key
of 94 bits: 30 bits that rise as the float32 confidence falls, then the 64 bits of the id. Each pass
over the records counts, per class, how many have each value of the next bits of the key: a
histogram. Its cumulative counts show which bin contains the cut; so these bits of the cut's key are
known, and the next pass counts the records of that bin alone. Once the bins of all classes together
fit in memory, a last pass keeps their records and sorts them. With real confidences that is the
second pass. Only if very many are equal does it take another one, over bits of the id.

Histograms can be merged: those of several machines are summed, and all continue with the same bins.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import numpy as np

from noisy_student.artifacts.decision import Decision, check_columns, reaches
from noisy_student.selection import rule

IN_MEMORY = 2**25  # records that the last pass may keep: 12 bytes each, 400 MB
TABLE_SIZE = 2**22  # counts of a pass: 32 MiB
_ONE = np.float32(1).view(np.uint32)
_MAGNITUDE = np.uint32(0x7FFFFFFF)  # all bits but the sign: there is a -0.0
_NO_KEY = np.uint32(0xFFFFFFFF)  # larger than any key of a confidence

Piece = tuple[np.ndarray, np.ndarray, Any]  # labels, confidences, and ids or None


_S = TypeVar("_S", "Histogram", "CutStatistics")


class GatherAll(Protocol):
    """A function that returns the statistics of all records."""

    def __call__(self, empty: Callable[[], _S], /) -> _S:
        """Adds all records to `empty()`; or parts of them to several of these, and merges them."""


@dataclasses.dataclass(frozen=True, eq=False)
class CutBins:
    """For each class, the records whose key begins like that of the class's cut."""

    rank: np.ndarray  # int64 [C], rank of the cut in its class, from 1; 0: the class has no cut
    before: np.ndarray  # int64 [C], records that rank before the bin
    count: np.ndarray  # int64 [C], records in the bin
    # Uint32 [C], known leading bits of the cut's confidence key, then zeros.
    confidence_prefix: np.ndarray
    confidence_bits: int  # number of unknown bits of the confidence key, the same in all classes
    id_prefix: np.ndarray  # uint64 [C], known leading bits of the cut's id, then zeros
    # Number of unknown bits of the id; 64 while any of the confidence key is unknown.
    id_bits: int = 64

    def contains(
        self, labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray | None
    ) -> np.ndarray:
        """Returns which records are in the bin of their class: bool [N].

        Takes int, float32 and uint64 [N]; ids may be None if all their bits are unknown.
        """
        shift = np.uint32(self.confidence_bits)
        prefix = np.where(self.rank > 0, self.confidence_prefix >> shift, _NO_KEY)
        inside = confidence_key(confidences) >> shift == prefix[labels]
        if self.id_bits < 64 and ids is not None:
            id_shift = np.uint64(self.id_bits)
            inside &= ids >> id_shift == (self.id_prefix >> id_shift)[labels]
        return inside

    def equals(self, other: CutBins) -> bool:
        """Returns True if both have the same bins, as copies on several machines do."""
        fields = [field.name for field in dataclasses.fields(self)]
        return all(np.array_equal(getattr(self, n), getattr(other, n)) for n in fields)


def confidence_key(confidences: np.ndarray) -> np.ndarray:
    """Returns keys that rise by 1 as confidence falls to the next lower float32: uint32 [N].

    The bit patterns of confidences, float32 [N], 0..1, have their order.
    """
    return _ONE - (confidences.view(np.uint32) & _MAGNITUDE)


def all_records(num_classes: int, min_confidence: float) -> CutBins:
    """Returns bins that contain every record that reaches `min_confidence`."""
    largest = int(confidence_key(np.array([min_confidence], np.float32))[0])
    anywhere, none = np.ones(num_classes, np.int64), np.zeros(num_classes, np.int64)
    return CutBins(
        rank=anywhere,
        before=none,
        count=none,
        confidence_prefix=np.zeros(num_classes, np.uint32),
        confidence_bits=max(1, largest.bit_length()),
        id_prefix=np.zeros(num_classes, np.uint64),
    )


class Histogram:
    """Numbers of records per class and value of the next bits of the key, within bins.

    Attributes:
        bins: records outside of them are not counted.
        min_confidence: records below it are not counted.
        counts: int64 [C, 2^bits].
    """

    def __init__(self, bins: CutBins, min_confidence: float):
        """Starts without records."""
        self.bins, self.min_confidence = bins, min_confidence
        num_classes = len(bins.rank)
        unknown = bins.confidence_bits or bins.id_bits
        self._bits = min(unknown, max(1, (TABLE_SIZE // num_classes).bit_length() - 1))
        self.counts = np.zeros((num_classes, 2**self._bits), np.int64)

    @property
    def needs_ids(self) -> bool:
        """True if `update` uses ids: all bits of the confidence are known."""
        return not self.bins.confidence_bits

    def update(
        self, labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray | None = None
    ) -> None:
        """Adds records.

        Args:
            labels: int [N], 0 .. C - 1.
            confidences: float32 [N], 0..1.
            ids: uint64 [N]; may be None unless `needs_ids`.

        Raises:
            ValueError: see `rule.ClassStatistics.update`.
        """
        bins = self.bins
        labels, confidences, ids = check_columns(labels, confidences, ids, len(self.counts))
        inside = reaches(confidences, self.min_confidence)
        inside &= bins.contains(labels, confidences, ids)
        labels, confidences = labels[inside], confidences[inside]
        if ids is not None and self.needs_ids:
            keys, unknown = ids[inside], bins.id_bits
        else:
            keys, unknown = confidence_key(confidences), bins.confidence_bits
        kind = keys.dtype.type
        digits = keys >> kind(unknown - self._bits) & kind(2**self._bits - 1)
        cells = labels.astype(np.int64) << self._bits | digits.astype(np.int64)
        counts = np.bincount(cells, minlength=self.counts.size)
        self.counts += counts.reshape(self.counts.shape)

    def merge(self, other: Histogram) -> None:
        """Adds the counts of other records over the same bins."""
        self.counts += other.counts

    def narrow(self, rank: np.ndarray) -> CutBins:
        """Returns the finer bins that hold the cuts.

        Takes the rank of each cut in its class, from 1, int64 [C]; 0: none.
        """
        bins = self.bins
        sums = bins.before[:, None] + np.cumsum(self.counts, axis=1)
        digit = np.minimum((sums < rank[:, None]).sum(axis=1), self.counts.shape[1] - 1)
        count = np.take_along_axis(self.counts, digit[:, None], axis=1)[:, 0]
        before = np.take_along_axis(sums, digit[:, None], axis=1)[:, 0] - count
        narrower = dataclasses.replace(
            bins, rank=rank, before=before, count=np.where(rank > 0, count, 0)
        )
        if self.needs_ids:
            bits = bins.id_bits - self._bits
            prefix = bins.id_prefix | digit.astype(np.uint64) << np.uint64(bits)
            return dataclasses.replace(narrower, id_prefix=prefix, id_bits=bits)
        bits = bins.confidence_bits - self._bits
        prefix = bins.confidence_prefix | digit.astype(np.uint32) << np.uint32(bits)
        return dataclasses.replace(narrower, confidence_prefix=prefix, confidence_bits=bits)


class CutStatistics(rule.ClassStatistics):
    """Statistics that keep only the records in the bins of the cuts; the others are counted."""

    def __init__(self, bins: CutBins, min_confidence: float):
        """Starts without records."""
        super().__init__(len(bins.rank), min_confidence)
        self.bins = bins

    def merge(self, other: rule.ClassStatistics) -> None:
        """Adds the records of `other`.

        Raises:
            ValueError: the two differ in kind, bins or min_confidence.
        """
        if isinstance(other, CutStatistics) and not self.bins.equals(other.bins):
            raise ValueError("statistics of different bins cannot be merged")
        super().merge(other)

    def record_at(self, label: int, rank: int) -> tuple[float, int]:
        """Returns confidence and id of the record of a class at `rank`, which must be its cut.

        Raises:
            ValueError: the bins are those of another cut, or ids are not unique.
        """
        if self.bins.rank[label] != rank:
            raise ValueError(
                f"the cut of class {label} is at {rank}, that of the bins at "
                f"{self.bins.rank[label]}"
            )
        return super().record_at(label, rank - int(self.bins.before[label]))

    def _kept(
        self, above: np.ndarray, labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray
    ) -> np.ndarray:
        return above & self.bins.contains(labels, confidences, ids)


def decide(
    read: Callable[[bool], Iterable[Piece]],
    num_classes: int,
    min_confidence: float,
    images_per_class: int | str,
    max_copies: int | None = None,
) -> Decision:
    """Returns `rule.decide` of records that are read as often as needed.

    Args:
        read: yields all records, some at a time, as labels int [N], confidences float32 [N]
            and ids uint64 [N]; called with False, ids may be None.
        num_classes: C.
        min_confidence: see `rule.ClassStatistics`.
        images_per_class: see `rule.decide`.
        max_copies: see `rule.decide`.

    Raises:
        ValueError: see `rule.ClassStatistics.update` and `rule.decide`.
    """

    def gather_all(empty: Callable[[], _S]) -> _S:
        return gather(read, empty)

    return decide_merged(gather_all, num_classes, min_confidence, images_per_class, max_copies)


def decide_merged(
    gather_all: GatherAll,
    num_classes: int,
    min_confidence: float,
    images_per_class: int | str,
    max_copies: int | None = None,
) -> Decision:
    """Returns `decide` where the caller reads the records, on several machines for example.

    `gather_all` returns the merged statistics of all records.
    """
    bins = all_records(num_classes, min_confidence)
    histogram = gather_all(functools.partial(Histogram, bins, min_confidence))
    above = histogram.counts.sum(axis=1)
    target = rule.target_of(images_per_class, above)
    _, rank = rule.copies_and_extra(above, target, max_copies)
    bins = histogram.narrow(rank)
    while bins.count.sum() > IN_MEMORY and bins.id_bits:
        histogram = gather_all(functools.partial(Histogram, bins, min_confidence))
        bins = histogram.narrow(rank)
    statistics = gather_all(functools.partial(CutStatistics, bins, min_confidence))
    return rule.decide(statistics, images_per_class, max_copies)


def gather(read: Callable[[bool], Iterable[Piece]], empty: Callable[[], _S]) -> _S:
    """Returns the statistics of all records that `read` yields, see `decide`."""
    statistics = empty()
    for piece in read(statistics.needs_ids):
        statistics.update(*piece)
    return statistics
