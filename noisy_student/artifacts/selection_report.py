"""What a selection says of itself: counts, confidences, and accuracy where the truth is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisy_student.metrics.calibration import Reliability

_HISTOGRAM_EDGES = np.linspace(0.0, 1.0, 21)


class Tally:
    """Counts all predictions and those taken, piece by piece in any order."""

    def __init__(self, num_classes: int, min_confidence: float):
        """Starts without predictions of C classes."""
        self.min_confidence = min_confidence
        self.reliability = Reliability()
        self.all, self.kept = (np.zeros(len(_HISTOGRAM_EDGES) - 1, np.int64) for _ in range(2))
        # By class: all predictions, those that reach the confidence, those taken, and the records
        # written of them.
        self.counts = np.zeros((4, num_classes), np.int64)
        # Of the predictions taken whose truth is known, by class: images, and written records.
        self.known, self.right = np.zeros((2, num_classes)), np.zeros((2, num_classes))

    def add(
        self, labels: np.ndarray, confidences: np.ndarray, truth: np.ndarray, copies: np.ndarray
    ) -> None:
        """Counts predictions.

        Args:
            labels: int [N], the pseudo labels.
            confidences: float32 [N], 0..1.
            truth: int [N], the true labels; -1: unknown.
            copies: int [N], how often each is taken.
        """
        known, right, taken = truth >= 0, labels == truth, copies > 0
        self.reliability.add(confidences[known], right[known])
        self.all += np.histogram(confidences, _HISTOGRAM_EDGES)[0]
        self.kept += np.histogram(confidences[taken], _HISTOGRAM_EDGES)[0]
        size = self.known.shape[1]
        above = confidences >= confidences.dtype.type(self.min_confidence)
        for row, weights in enumerate((np.ones_like(copies), above, taken, copies)):
            self.counts[row] += np.bincount(labels, weights, size).astype(np.int64)
        for row, weights in enumerate((taken, copies)):
            self.known[row] += np.bincount(labels, weights * known, size)
            self.right[row] += np.bincount(labels, weights * (known & right), size)

    def report(self, class_names: Sequence[str], images_per_class: int | None) -> dict[str, Any]:
        """The content of `selection.json`; accuracies are 0..1, None where no truth is known.

        Args:
            class_names: C names.
            images_per_class: the target of the selection; None: it did not balance.
        """
        before, above, distinct, after = self.counts.tolist()
        pairs = zip(self.right[0], self.known[0], strict=True)
        return {
            "num_records": sum(before),
            "num_kept": sum(distinct),
            "num_written": sum(after),
            "num_duplicates": sum(after) - sum(distinct),
            "min_confidence": self.min_confidence,
            "images_per_class": images_per_class,
            "per_class": {
                "names": list(class_names),
                "before": before,
                "above_threshold": above,
                "distinct": distinct,
                "after": after,
                "accuracy": [_share(right, known) for right, known in pairs],
            },
            "confidence_histogram": {
                "edges": _HISTOGRAM_EDGES.round(6).tolist(),
                "all": self.all.tolist(),
                "kept": self.kept.tolist(),
            },
            "accuracy_all": self.reliability.accuracy,
            "accuracy_kept": _share(self.right[0].sum(), self.known[0].sum()),
            "accuracy_written": _share(self.right[1].sum(), self.known[1].sum()),
            "empty_classes": [
                name for name, count in zip(class_names, above, strict=True) if not count
            ],
            "reliability": self.reliability.rows(),
        }


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
