"""The report of a selection: counts, confidences, and accuracy where true labels are known."""

from collections.abc import Sequence

import numpy as np

from noisy_student.artifacts.json_files import SelectionReport
from noisy_student.metrics.calibration import Reliability

COLUMNS = ("label", "confidence", "id_hash", "index", "true_label")  # of predictions, for a report
_HISTOGRAM_EDGES = np.linspace(0.0, 1.0, 21)


class ReportBuilder:
    """Counts predictions and the selected ones among them, piece by piece in any order."""

    def __init__(self, num_classes: int, min_confidence: float):
        """Starts without predictions of `num_classes` classes."""
        self._min_confidence = min_confidence
        self._reliability = Reliability()
        self._histograms = np.zeros((2, len(_HISTOGRAM_EDGES) - 1), np.int64)  # all, kept
        # Per class: predictions, those that reach min_confidence, kept images, written records.
        self._counts = np.zeros((4, num_classes), np.int64)
        # Per class, of the kept images and the written records: true label known, label correct.
        self._known = np.zeros((2, num_classes))
        self._correct = np.zeros((2, num_classes))

    def add(self, columns: dict[str, np.ndarray], copies: np.ndarray) -> None:
        """Counts predictions.

        Args:
            columns: label int [N]; confidence float32 [N], 0..1; true_label int [N], -1: unknown.
            copies: int [N], how often each image is in the student's set.
        """
        labels, confidences = columns["label"], columns["confidence"]
        known, correct = columns["true_label"] >= 0, columns["true_label"] == labels
        kept = copies > 0
        above = confidences >= confidences.dtype.type(self._min_confidence)
        self._reliability.add(confidences[known], correct[known])
        self._histograms[0] += np.histogram(confidences, _HISTOGRAM_EDGES)[0]
        self._histograms[1] += np.histogram(confidences[kept], _HISTOGRAM_EDGES)[0]
        size = self._counts.shape[1]
        for row, weights in enumerate((np.ones_like(copies), above, kept, copies)):
            self._counts[row] += np.bincount(labels, weights, size).astype(np.int64)
        for row, weights in enumerate((kept, copies)):
            self._known[row] += np.bincount(labels, weights * known, size)
            self._correct[row] += np.bincount(labels, weights * (known & correct), size)

    def build(self, class_names: Sequence[str], images_per_class: int | None) -> SelectionReport:
        """Returns the content of `selection.json`; accuracies are None without true labels.

        `images_per_class` is the target of the selection; None: classes were not balanced.
        """
        before, above, distinct, after = self._counts.tolist()
        pairs = zip(self._correct[0], self._known[0], strict=True)
        return {
            "num_records": sum(before),
            "num_kept": sum(distinct),
            "num_written": sum(after),
            "num_duplicates": sum(after) - sum(distinct),
            "min_confidence": self._min_confidence,
            "images_per_class": images_per_class,
            "per_class": {
                "names": list(class_names),
                "before": before,
                "above_threshold": above,
                "distinct": distinct,
                "after": after,
                "accuracy": [_ratio(correct, known) for correct, known in pairs],
            },
            "confidence_histogram": {
                "edges": _HISTOGRAM_EDGES.round(6).tolist(),
                "all": self._histograms[0].tolist(),
                "kept": self._histograms[1].tolist(),
            },
            "accuracy_all": self._reliability.accuracy,
            "accuracy_kept": _ratio(self._correct[0].sum(), self._known[0].sum()),
            "accuracy_written": _ratio(self._correct[1].sum(), self._known[1].sum()),
            "empty_classes": [
                name for name, count in zip(class_names, above, strict=True) if not count
            ],
            "reliability": self._reliability.rows(),
        }


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
