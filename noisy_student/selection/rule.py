"""The rule that selects pseudo labels for a student: a pure function of three columns.

The paper (Xie et al., arXiv v4, section 3.1) drops pseudo labels below a confidence threshold. It
keeps the most confident images of classes with too many images, and duplicates images of classes
with too few. The published code does this approximately, with confidence bins of 0.01 and random
duplication. Here, as a deliberate deviation, every class of n images is brought to exactly N:
floor(N / n) copies of each image, and one more of the first N mod n by falling confidence, then
rising id. For n > N these are the top N.

The work is split as a distributed job needs it: statistics that can be merged in any order, a small
decision, and a function of single records. `radix` finds the same decision in bounded memory.
"""

from __future__ import annotations

import numpy as np

from noisy_student.artifacts.decision import Decision, check_columns, reaches

SORTED_AT_ONCE = 2**20  # records; fewer, larger pieces make `decide` faster


class ClassStatistics:
    """Statistics of all records for `decide`, collected piece by piece in any order.

    Keeps confidence and id of every record that reaches `min_confidence` (12 bytes with float32
    confidences), so that the target can be chosen afterwards.

    Attributes:
        num_classes: C.
        min_confidence: records below it are only counted.
        before: int64 [C], records of each class.
        above: int64 [C], records that reach min_confidence.
    """

    needs_ids = True

    def __init__(self, num_classes: int, min_confidence: float):
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
            ValueError: a value is out of range or NaN, or the columns differ in length.
        """
        labels, confidences, ids = check_columns(labels, confidences, ids, self.num_classes)
        above = reaches(confidences, self.min_confidence)
        self.before += np.bincount(labels, minlength=self.num_classes)
        self.above += np.bincount(labels[above], minlength=self.num_classes)
        kept = self._kept(above, labels, confidences, ids)
        self._pending.append((labels[kept], confidences[kept], ids[kept]))
        self._num_pending += int(np.count_nonzero(kept))
        if self._num_pending >= SORTED_AT_ONCE:
            self._sort_pending()

    def merge(self, other: ClassStatistics) -> None:
        """Adds the records of `other`, which is not changed.

        Raises:
            ValueError: the two differ in kind, num_classes or min_confidence.
        """
        mine, others = (
            (type(statistics).__name__, statistics.num_classes, statistics.min_confidence)
            for statistics in (self, other)
        )
        if mine != others:
            raise ValueError(f"{mine} cannot be merged with {others}")
        self.before += other.before
        self.above += other.above
        self._pending += other._pending
        self._num_pending += other._num_pending
        self._pieces += other._pieces

    def records(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns confidences float [n] and ids uint64 [n] of a class, in no particular order."""
        self._sort_pending()
        if not self._pieces:
            return np.zeros(0, np.float32), np.zeros(0, np.uint64)
        slices = [
            (confidences[starts[label] : starts[label + 1]], ids[starts[label] : starts[label + 1]])
            for confidences, ids, starts in self._pieces
        ]
        confidences, ids = zip(*slices, strict=True)
        return np.concatenate(confidences), np.concatenate(ids)

    def record_at(self, label: int, rank: int) -> tuple[float, int]:
        """Returns confidence and id of the record of a class at `rank`, from 1.

        Raises:
            ValueError: the next record has the same confidence and id.
        """
        return _record_at(*self.records(label), rank)

    def _kept(
        self, above: np.ndarray, labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray
    ) -> np.ndarray:
        """Returns which records to keep, bool [N]; `above` says which reach min_confidence."""
        return above

    def _sort_pending(self) -> None:
        """Turns the pending records into one piece, sorted by class."""
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
    """Decides how to bring every non-empty class to `images_per_class` images.

    Args:
        statistics: of all records.
        images_per_class: N (130 000 in the paper); "auto": the size of the largest class, so that
            no image above min_confidence is lost; "none": no balancing, one copy of each.
        max_copies: maximum number of copies of an image, at the cost of balance; None: no limit.

    Raises:
        ValueError: images_per_class or max_copies is not valid, or two records share class,
            confidence and id exactly at the cut.
    """
    target = target_of(images_per_class, statistics.above)
    copies, extra = copies_and_extra(statistics.above, target, max_copies)
    cut_confidence = np.full(statistics.num_classes, np.inf)
    cut_id = np.zeros(statistics.num_classes, np.uint64)
    for label in np.flatnonzero(extra).tolist():
        cut_confidence[label], cut_id[label] = statistics.record_at(label, int(extra[label]))
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
    """Returns the number of copies of each record; works on any part of the records.

    Args:
        labels: int [N], as given to the statistics.
        confidences: float [N], as given to the statistics.
        ids: uint64 [N], as given to the statistics.
        decision: from `decide`.

    Returns:
        int32 [N]; 0: not selected.

    Raises:
        ValueError: see `ClassStatistics.update`.
    """
    labels, confidences, ids = check_columns(labels, confidences, ids, len(decision.above))
    cut = decision.cut_confidence[labels]
    once_more = (confidences > cut) | ((confidences == cut) & (ids <= decision.cut_id[labels]))
    copies = decision.copies[labels] + once_more.astype(np.int32)
    kept = reaches(confidences, decision.min_confidence)
    kept &= confidences <= confidences.dtype.type(decision.max_confidence)
    return np.where(kept, copies, np.int32(0))


def select(
    labels: np.ndarray,
    confidences: np.ndarray,
    ids: np.ndarray,
    num_classes: int,
    images_per_class: int | str,
    min_confidence: float,
) -> np.ndarray:
    """Returns the number of copies of each record of in-memory columns: int32 [N].

    Args:
        labels: int [N], 0 .. num_classes - 1.
        confidences: float [N], 0..1.
        ids: uint64 [N], unique.
        num_classes: C.
        images_per_class: see `decide`.
        min_confidence: 0..1; records below it are dropped.

    Raises:
        ValueError: see `decide` and `ClassStatistics.update`.
    """
    statistics = ClassStatistics(num_classes, min_confidence)
    statistics.update(labels, confidences, ids)
    return copies_for(labels, confidences, ids, decide(statistics, images_per_class))


def target_of(images_per_class: int | str, above: np.ndarray) -> int | None:
    """Returns the number of images that classes are brought to, see `decide`; None: no balancing.

    `above` are the records of each class that reach min_confidence, int64 [C].

    Raises:
        ValueError: images_per_class is not valid.
    """
    if images_per_class == "none":
        return None
    if images_per_class == "auto":
        return max(1, int(above.max()))
    if not isinstance(images_per_class, int | np.integer) or not 1 <= images_per_class < 2**31:
        raise ValueError(
            f"images_per_class = {images_per_class!r}; it must be a whole number from 1, 'auto' "
            "or 'none'"
        )
    return int(images_per_class)


def copies_and_extra(
    above: np.ndarray, target: int | None, max_copies: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Splits the target of every class into copies of all its images and extra copies of the first.

    Args:
        above: int64 [C], images of each class: n.
        target: N; None: each image once.
        max_copies: maximum number of copies; None: no limit.

    Returns:
        int32 [C], copies of each image, and int64 [C], images with one more copy.

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


def _record_at(confidences: np.ndarray, ids: np.ndarray, rank: int) -> tuple[float, int]:
    """Returns confidence and id at `rank`, from 1, by falling confidence, then rising id."""
    position = len(confidences) - rank
    confidence = np.partition(confidences, position)[position]
    tied = np.sort(ids[confidences == confidence])
    last = rank - np.count_nonzero(confidences > confidence) - 1
    if last + 1 < len(tied) and tied[last] == tied[last + 1]:
        raise ValueError(f"id {tied[last]} occurs more than once; ids must be unique")
    return confidence, tied[last]
