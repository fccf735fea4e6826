"""A stretch of the order of each class, in which its cut lies."""

import dataclasses

import numpy as np

_ONE = np.float32(1).view(np.uint32)
_MAGNITUDE = np.uint32(0x7FFFFFFF)  # all bits but the sign: there is a -0.0
_NOWHERE = np.uint32(0xFFFFFFFF)  # larger than any fall


@dataclasses.dataclass(frozen=True, eq=False)
class Window:
    """The records of each class whose place in its order begins like that of the class's cut.

    A record's place is 94 bits: 30 that rise as its float32 confidence falls (`fall_of`), and its
    id. Of these, the leading ones of the cut are known, as many in all classes.

    Attributes:
        cut: int64 [C], how many records come up to the cut, itself included; 0: there is no cut.
        ahead: int64 [C], how many come before the window.
        count: int64 [C], how many are in it.
        fall: uint32 [C], the cut's known bits of confidence, zeros after them.
        fall_bits: how many are not known.
        first_id: uint64 [C], its known bits of id, likewise.
        id_bits: how many are not known; 64 as long as any of confidence is not.
    """

    cut: np.ndarray
    ahead: np.ndarray
    count: np.ndarray
    fall: np.ndarray
    fall_bits: int
    first_id: np.ndarray
    id_bits: int = 64

    def holds(
        self, labels: np.ndarray, confidences: np.ndarray, ids: np.ndarray | None
    ) -> np.ndarray:
        """Whether records are in the window of their class: bool [N].

        Args:
            labels: int [N].
            confidences: float32 [N].
            ids: uint64 [N]; not needed before bits of it are known.
        """
        shift = np.uint32(self.fall_bits)
        known = np.where(self.cut > 0, self.fall >> shift, _NOWHERE)
        inside = fall_of(confidences) >> shift == known[labels]
        if self.id_bits < 64:
            shift = np.uint64(self.id_bits)
            inside &= ids >> shift == (self.first_id >> shift)[labels]
        return inside

    def place(self, label: int, extra: int) -> int:
        """The cut's place within the window, from 1.

        Raises:
            ValueError: the window was made for another target.
        """
        if self.cut[label] != extra:
            raise ValueError(f"class {label} is cut after {extra}, the window's {self.cut[label]}")
        return extra - int(self.ahead[label])


def same(first: Window | None, second: Window | None) -> bool:
    """Whether two windows hold the same records, as copies of one on several machines do."""
    if first is None or second is None:
        return first is second
    pairs = ((getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(Window))
    return all(np.array_equal(*pair) for pair in pairs)


def fall_of(confidences: np.ndarray) -> np.ndarray:
    """Numbers that rise by 1 as confidence falls to the next float32 below: uint32 [N].

    Args:
        confidences: float32 [N], 0..1, whose bit patterns are ordered as they are.
    """
    return _ONE - (confidences.view(np.uint32) & _MAGNITUDE)


def whole(num_classes: int, min_confidence: float) -> Window:
    """A window that holds every record which reaches `min_confidence`."""
    largest = int(fall_of(np.array([min_confidence], np.float32))[0])
    anywhere, none = np.ones(num_classes, np.int64), np.zeros(num_classes, np.int64)
    return Window(
        anywhere,
        none,
        none,
        np.zeros(num_classes, np.uint32),
        max(1, largest.bit_length()),
        np.zeros(num_classes, np.uint64),
    )
