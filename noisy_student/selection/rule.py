"""Which pseudo labels a student learns from, and how often: a pure decision over three columns.

Paper, section 3.1: drop pseudo labels below a confidence; of a class with too many images keep the
most confident, of one with too few duplicate them, so that all classes count the same. The
published code does so roughly (thresholds in bins of 0.01, random duplication); here, a named
deviation, a class of n images is brought to exactly N by floor(N / n) copies of each and one more
for the N mod n first by falling confidence, then rising id. With n > N that is the top N.

The work is split as a distributed job needs it: statistics that are mergeable in any order, a
small decision, and a function of single records. `narrowing` finds the same decision in memory that
does not grow with the number of records.
"""

from __future__ import annotations

import numpy as np

from noisy_student.artifacts.decision import Decision, check_columns
from noisy_student.selection.window import Window, same

_SORTED_AT_ONCE = 2**20  # records; fewer, larger pieces make `decide` faster


class ClassStatistics:
    """What `decide` must know of the records, gathered piece by piece in any order.

    Keeps confidence and id of every record that reaches `min_confidence`, 12 bytes with float32
    confidences, so that any target may be asked for afterwards. With a `window` (of `narrowing`,
    for one target) it keeps only the records among which the cuts lie.

    Attributes:
        num_classes: C.
        min_confidence: records below it are only counted.
        window: outside of which records are only counted, or None.
        before: int64 [C], records of each class.
        above: int64 [C], those which reach min_confidence.
    """

    needs_ids = True

    def __init__(self, num_classes: int, min_confidence: float, window: Window | None = None):
        """Starts without records.

        Raises:
            ValueError: num_classes is below 1, or min_confidence is outside 0..1.
        """
        if num_classes < 1:
            raise ValueError(f"num_classes = {num_classes}; it must be 1 or more")
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence = {min_confidence}; it must be in 0..1")
        self.num_classes = num_classes
        self.min_confidence = min_confidence
        self.window = window
        self.before = np.zeros(num_classes, np.int64)
        self.above = np.zeros(num_classes, np.int64)
        self._pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._num_pending = 0
        # Each piece: confidences and ids sorted by class, and where each class starts: [C + 1].
        self._pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def update(self, labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray) -> None:
        """Adds records.

        Args:
            labels: int [N], 0 .. num_classes - 1.
            confidences: float [N], 0..1.
            ids: uint64 [N], hashes of the stable ids, unique over all records.

        Raises:
            ValueError: a value out of range (NaN too), or columns that do not fit together.
        """
        labels, confidences, ids = check_columns(labels, confidences, ids, self.num_classes)
        kept = _is_kept(confidences, self.min_confidence)
        self.before += np.bincount(labels, minlength=self.num_classes)
        self.above += np.bincount(labels[kept], minlength=self.num_classes)
        if self.window is not None:
            kept &= self.window.holds(labels, confidences, ids)
        self._pending.append((labels[kept], confidences[kept], ids[kept]))
        self._num_pending += np.count_nonzero(kept)
        if self._num_pending >= _SORTED_AT_ONCE:
            self._sort_pending()

    def merge(self, other: ClassStatistics) -> None:
        """Adds the records of `other`, which stays as it is.

        Raises:
            ValueError: the two differ in num_classes, min_confidence or window.
        """
        if not same(self.window, other.window):
            raise ValueError("statistics of different windows cannot be merged")
        mine, others = (
            (statistics.num_classes, statistics.min_confidence) for statistics in (self, other)
        )
        if mine != others:
            raise ValueError(
                f"(num_classes, min_confidence) = {mine} cannot be merged with {others}"
            )
        self.before += other.before
        self.above += other.above
        self._pending += other._pending
        self._num_pending += other._num_pending
        self._pieces += other._pieces

    def records(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Confidences float [n] and ids uint64 [n] of a class, in no particular order."""
        self._sort_pending()
        if not self._pieces:
            return np.zeros(0, np.float32), np.zeros(0, np.uint64)
        slices = [
            (confidences[starts[label] : starts[label + 1]], ids[starts[label] : starts[label + 1]])
            for confidences, ids, starts in self._pieces
        ]
        confidences, ids = zip(*slices, strict=True)
        return np.concatenate(confidences), np.concatenate(ids)

    def _sort_pending(self) -> None:
        """Turns the pending records into one piece."""
        if not self._num_pending:
            return
        labels, confidences, ids = (
            np.concatenate(column) for column in zip(*self._pending, strict=True)
        )
        order = np.argsort(labels, kind="stable")
        starts = np.searchsorted(labels[order], np.arange(self.num_classes + 1))
        self._pieces.append((confidences[order], ids[order], starts))
        self._pending, self._num_pending = [], 0


def decide(
    statistics: ClassStatistics, images_per_class: int | str, max_copies: int | None = None
) -> Decision:
    """Brings every class that is not empty to `images_per_class` images, or as near as it may.

    Args:
        statistics: of all records.
        images_per_class: N (130 000 in the paper), or "auto": that of the largest class, so that
            nothing above min_confidence is lost, or "none": no balance, each of these once.
        max_copies: how often an image may be taken at most, at the price of balance; None: as
            often as need be.

    Raises:
        ValueError: images_per_class or max_copies is not valid, or two records share class,
            confidence and id just where one of them would be taken and the other not.
    """
    target = target_of(images_per_class, statistics.above)
    copies, extra = shares(statistics.above, target, max_copies)
    cut_confidence = np.full(statistics.num_classes, np.inf)
    cut_id = np.zeros(statistics.num_classes, np.uint64)
    window = statistics.window
    for label in np.flatnonzero(extra):
        place = int(extra[label] if window is None else window.place(label, extra[label]))
        cut_confidence[label], cut_id[label] = _nth(*statistics.records(label), place)
    return Decision(
        statistics.min_confidence,
        target,
        statistics.before.copy(),
        statistics.above.copy(),
        copies,
        cut_confidence,
        cut_id,
        max_copies,
    )


def copies_for(
    labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray, decision: Decision
) -> np.ndarray:
    """How often each record is taken; any part of the records may be asked for, in any order.

    Args:
        labels: int [N], as given to the statistics.
        confidences: float [N], likewise.
        ids: uint64 [N], likewise.
        decision: of `decide`.

    Returns:
        int32 [N], 0: not taken.

    Raises:
        ValueError: as `ClassStatistics.update`.
    """
    labels, confidences, ids = check_columns(labels, confidences, ids, len(decision.above))
    cut = decision.cut_confidence[labels]
    once_more = (confidences > cut) | ((confidences == cut) & (ids <= decision.cut_id[labels]))
    copies = decision.copies[labels] + once_more.astype(np.int32)
    return np.where(_is_kept(confidences, decision.min_confidence), copies, np.int32(0))


def select(
    labels: np.ndarray,
    confidences: np.ndarray,
    ids: np.ndarray,
    num_classes: int,
    images_per_class: int | str,
    min_confidence: float,
) -> np.ndarray:
    """`copies_for` of columns that are in memory as a whole: int32 [N]; arguments as above."""
    statistics = ClassStatistics(num_classes, min_confidence)
    statistics.update(labels, confidences, ids)
    return copies_for(labels, confidences, ids, decide(statistics, images_per_class))


def _is_kept(confidences: np.ndarray, min_confidence: float) -> np.ndarray:
    # In the type of the column, so that a float32 0.3 reaches 0.3.
    return confidences >= confidences.dtype.type(min_confidence)


def target_of(images_per_class: int | str, above: np.ndarray) -> int | None:
    """The number that every class is brought to; None: classes stay as they are.

    Args:
        images_per_class: that number, or "auto", or "none".
        above: int64 [C], records of each class that reach the confidence.

    Raises:
        ValueError: images_per_class is neither.
    """
    if images_per_class == "none":
        return None
    if images_per_class == "auto":
        return max(1, int(above.max()))
    is_integer = isinstance(images_per_class, int | np.integer)
    if not is_integer or not 1 <= images_per_class < 2**31:
        raise ValueError(
            f"images_per_class = {images_per_class!r}; it must be a whole number from 1, 'auto' "
            "or 'none'"
        )
    return int(images_per_class)


def shares(
    above: np.ndarray, target: int | None, max_copies: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What brings a class of n images to N: copies of each, and how many of the first once more.

    Args:
        above: int64 [C], n.
        target: N; None: each image once.
        max_copies: as of `decide`.

    Returns:
        int32 [C] and int64 [C].

    Raises:
        ValueError: max_copies is below 1.
    """
    if max_copies is not None and max_copies < 1:
        raise ValueError(f"max_copies = {max_copies}; it must be 1 or more")
    wanted = above if target is None else np.where(above > 0, target, 0)
    copies, extra = np.divmod(wanted, np.maximum(above, 1))
    if max_copies is not None:
        extra = np.where(copies >= max_copies, 0, extra)
        copies = np.minimum(copies, max_copies)
    return copies.astype(np.int32), extra


def _nth(confidences: np.ndarray, ids: np.ndarray, count: int) -> tuple[float, int]:
    """Confidence and id of the count-th record by falling confidence, then rising id."""
    position = len(confidences) - count
    confidence = np.partition(confidences, position)[position]
    tied = np.sort(ids[confidences == confidence])
    last = count - np.count_nonzero(confidences > confidence) - 1
    if last + 1 < len(tied) and tied[last] == tied[last + 1]:
        raise ValueError(f"id {tied[last]} occurs more than once; ids must be unique")
    return confidence, tied[last]
