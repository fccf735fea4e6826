"""Which pseudo labels a student learns from, and how often: a pure decision over three columns.

Paper, section 3.1: drop pseudo labels below a confidence; of a class with too many images keep the
most confident, of one with too few duplicate them, so that all classes count the same. The
published code does so roughly (thresholds in bins of 0.01, random duplication); here, a named
deviation, a class of n images is brought to exactly N by floor(N / n) copies of each and one more
for the N mod n first by falling confidence, then rising id. With n > N that is the top N.

The work is split as a distributed job needs it: statistics that are mergeable in any order, a
small decision, and a function of single records.
"""

import dataclasses

import numpy as np

_SORTED_AT_ONCE = 2**20  # records; fewer, larger pieces make `decide` faster


class ClassStatistics:
    """What `decide` must know of the records, gathered piece by piece in any order.

    Keeps confidence and id of every record that reaches `min_confidence`: 12 bytes a record with
    float32 confidences, 3.4 GiB at 300 million. Classes far above their target could be cut back to
    their best images_per_class records, if that number were known here.

    Attributes:
        num_classes: C.
        min_confidence: records below it are only counted.
        before: int64 [C], records of each class.
        above: int64 [C], those which reach min_confidence.
    """

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
            ValueError: a value out of range (NaN too), or columns that do not fit together.
        """
        labels, confidences, ids = _checked(labels, confidences, ids, self.num_classes)
        kept = _is_kept(confidences, self.min_confidence)
        self.before += np.bincount(labels, minlength=self.num_classes)
        self.above += np.bincount(labels[kept], minlength=self.num_classes)
        self._pending.append((labels[kept], confidences[kept], ids[kept]))
        self._num_pending += np.count_nonzero(kept)
        if self._num_pending >= _SORTED_AT_ONCE:
            self._sort_pending()

    def merge(self, other: "ClassStatistics") -> None:
        """Adds the records of `other`, which stays as it is.

        Raises:
            ValueError: the two differ in num_classes or min_confidence.
        """
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


@dataclasses.dataclass(frozen=True, eq=False)
class Decision:
    """How often a record is taken, as a function of its class, confidence and id alone.

    Attributes:
        min_confidence: records below it are not taken.
        images_per_class: N, which every class with any record is brought to.
        before: int64 [C], records of each class.
        above: int64 [C], those which reach min_confidence: n.
        copies: int32 [C], floor(N / n): how often each of these is taken; 0 for an empty class.
        cut_confidence: float64 [C], of the last record taken once more; inf: none is.
        cut_id: uint64 [C], its id.
    """

    min_confidence: float
    images_per_class: int
    before: np.ndarray
    above: np.ndarray
    copies: np.ndarray
    cut_confidence: np.ndarray
    cut_id: np.ndarray

    @property
    def distinct(self) -> np.ndarray:
        """int64 [C]: different images taken of each class."""
        return np.minimum(self.above, self.images_per_class)

    @property
    def after(self) -> np.ndarray:
        """int64 [C]: images taken of each class, duplicates counted."""
        return np.where(self.above > 0, self.images_per_class, 0)

    @property
    def empty_classes(self) -> np.ndarray:
        """int64 [E]: classes without a record that reaches min_confidence; they stay empty."""
        return np.flatnonzero(self.above == 0)


def decide(statistics: ClassStatistics, images_per_class: int | str) -> Decision:
    """Brings every class that is not empty to `images_per_class` images.

    Args:
        statistics: of all records.
        images_per_class: N (130 000 in the paper), or "auto": that of the largest class, so that
            nothing above min_confidence is lost.

    Raises:
        ValueError: images_per_class is neither, or two records share class, confidence and id just
            where one of them would be taken and the other not.
    """
    target = _target(images_per_class, statistics)
    copies = np.zeros(statistics.num_classes, np.int32)
    cut_confidence = np.full(statistics.num_classes, np.inf)
    cut_id = np.zeros(statistics.num_classes, np.uint64)
    for label in np.flatnonzero(statistics.above):
        copies[label], extra = divmod(target, int(statistics.above[label]))
        if extra:
            cut_confidence[label], cut_id[label] = _nth(*statistics.records(label), extra)
    return Decision(
        statistics.min_confidence,
        target,
        statistics.before.copy(),
        statistics.above.copy(),
        copies,
        cut_confidence,
        cut_id,
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
    labels, confidences, ids = _checked(labels, confidences, ids, len(decision.above))
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


def _target(images_per_class: int | str, statistics: ClassStatistics) -> int:
    if images_per_class == "auto":
        return max(1, int(statistics.above.max()))
    is_integer = isinstance(images_per_class, int | np.integer)
    if not is_integer or not 1 <= images_per_class < 2**31:
        raise ValueError(
            f"images_per_class = {images_per_class!r}; it must be a whole number from 1, or 'auto'"
        )
    return int(images_per_class)


def _nth(confidences: np.ndarray, ids: np.ndarray, count: int) -> tuple[float, int]:
    """Confidence and id of the count-th record by falling confidence, then rising id."""
    position = len(confidences) - count
    confidence = np.partition(confidences, position)[position]
    tied = np.sort(ids[confidences == confidence])
    last = count - np.count_nonzero(confidences > confidence) - 1
    if last + 1 < len(tied) and tied[last] == tied[last + 1]:
        raise ValueError(f"id {tied[last]} occurs more than once; ids must be unique")
    return confidence, tied[last]


def _checked(
    labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The columns as arrays of int32, floats and uint64, all in range."""
    labels, confidences, ids = np.asarray(labels), np.asarray(confidences), np.asarray(ids)
    shapes = {"labels": labels.shape, "confidences": confidences.shape, "ids": ids.shape}
    if len(set(shapes.values())) != 1 or labels.ndim != 1:
        raise ValueError(f"the columns must have one length, but their shapes are {shapes}")
    wrong_type = {
        "labels": labels.dtype.kind not in "iu",
        "confidences": confidences.dtype.kind != "f",
        "ids": ids.dtype.kind not in "iu",
    }
    if any(wrong_type.values()):
        raise ValueError(
            f"labels and ids must be integers, confidences floats, not {labels.dtype}, "
            f"{ids.dtype} and {confidences.dtype}"
        )
    for name, values, fine, valid in (
        ("label", labels, (labels >= 0) & (labels < num_classes), f"0 .. {num_classes - 1}"),
        ("confidence", confidences, (confidences >= 0) & (confidences <= 1), "0..1"),
        ("id", ids, ids >= 0, "0 .. 2^64 - 1"),
    ):
        if not fine.all():
            bad = np.argmin(fine)
            raise ValueError(f"{name} {values[bad]} of id {ids[bad]}; it must be in {valid}")
    return labels.astype(np.int32, copy=False), confidences, ids.astype(np.uint64, copy=False)
