"""Calibration of confidences, and the temperature that improves it.

Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (ICML 2017):
reliability diagrams, the expected calibration error, and temperature scaling, which maximizes the
likelihood of validation images.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy import optimize, special

_LARGEST = 20.0  # temperatures are sought from 1 / 20 to 20
_DIGITS = 4  # significant digits of a temperature, so that machines that round differently agree


class Reliability:
    """Confidence and accuracy by bins of confidence, accumulated over batches.

    Args:
        num_bins: number of bins [a, b) of equal width, at least 1; the last one holds 1, too.
    """

    def __init__(self, num_bins: int = 10) -> None:
        if num_bins < 1:
            raise ValueError(f"num_bins must be at least 1, not {num_bins}.")
        self._edges = np.linspace(0.0, 1.0, num_bins + 1)
        self._count, self._right = np.zeros(num_bins, np.int64), np.zeros(num_bins, np.int64)
        self._confidence = np.zeros(num_bins)

    def add(self, confidences: np.ndarray, correct: np.ndarray) -> None:
        """Adds predictions.

        Takes the probability of the predicted class, float [N], 0..1, and whether it is right, [N].
        """
        bins = np.digitize(confidences, self._edges[1:-1])
        size = len(self._count)
        self._count += np.bincount(bins, minlength=size)
        self._right += np.bincount(bins[correct], minlength=size)
        self._confidence += np.bincount(bins, confidences, minlength=size)

    @property
    def accuracy(self) -> float | None:
        """Accuracy of all predictions, 0..1; None if there are none."""
        return float(self._right.sum() / self._count.sum()) if self._count.any() else None

    def rows(self) -> list[dict[str, Any]]:
        """Returns mean confidence and accuracy, both 0..1, of each bin that has predictions."""
        return [
            {
                "low": round(float(self._edges[i]), 6),
                "high": round(float(self._edges[i + 1]), 6),
                "count": int(self._count[i]),
                "accuracy": float(self._right[i] / self._count[i]),
                "confidence": float(self._confidence[i] / self._count[i]),
            }
            for i in np.flatnonzero(self._count)
        ]


def error(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """Returns the expected calibration error (ECE), 0..1; None if accuracies are not known.

    It is the mean of |accuracy - mean confidence| over the bins of `Reliability.rows`, weighted by
    their predictions.
    """
    bins = [row for row in rows if row["count"]]
    if not bins or any(row["accuracy"] is None for row in bins):
        return None
    total = sum(row["count"] for row in bins)
    return sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / total


def expected_calibration_error(
    confidences: np.ndarray, correct: np.ndarray, num_bins: int = 15
) -> float:
    """Returns the ECE of predictions.

    Args:
        confidences: float [N], the probability of the predicted class, 0..1.
        correct: bool [N], whether the predicted class is the true one.
        num_bins: bins of confidence; 15 as in Guo et al.

    Raises:
        ValueError: arrays of different or no length, a confidence out of range, ``correct`` not
            bool, or ``num_bins`` below 1.
    """
    confidences, correct = np.asarray(confidences, np.float64), np.asarray(correct)
    if confidences.ndim != 1 or confidences.shape != correct.shape or not len(confidences):
        raise ValueError(
            f"confidences {confidences.shape} and correct {correct.shape} must have one common "
            "length, at least 1."
        )
    outside = confidences[~((confidences >= 0) & (confidences <= 1))]
    if len(outside):
        raise ValueError(f"confidences must be in 0..1, not {outside[0]:g}.")
    if correct.dtype != bool:
        raise ValueError(f"correct must be bool, not {correct.dtype}.")
    curve = Reliability(num_bins)
    curve.add(confidences, correct)
    found = error(curve.rows())
    assert found is not None  # there is a prediction
    return found


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Returns the mean cross entropy of softmax(logits / temperature).

    Takes logits float [N, C] and labels int [N], 0..C-1.
    """
    scaled = logits.astype(np.float64) / temperature
    true = np.take_along_axis(scaled, labels[:, None].astype(np.int64), axis=1)[:, 0]
    return float(np.mean(special.logsumexp(scaled, axis=1) - true))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature of the largest likelihood, to four digits, in 0.05..20.

    The likelihood is log-concave in 1 / temperature, so it has one maximum. Takes logits float
    [N, C] and labels int [N], 0..C-1.

    Raises:
        ValueError: there are no labeled images.
    """
    if not len(labels):
        raise ValueError("--calibrate needs validation images, and there are none.")
    found = optimize.minimize_scalar(
        lambda log: negative_log_likelihood(logits, labels, np.exp(log)),
        bounds=(-np.log(_LARGEST), np.log(_LARGEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.format_float_positional(np.exp(found.x), _DIGITS, fractional=False))


def describe(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Fits a temperature and measures the calibration before and after.

    Returns:
        "temperature", "num_examples", and "before" and "after" with "loss" (mean cross entropy),
        "calibration_error" and "reliability".
    """
    temperature = fit_temperature(logits, labels)
    content: dict[str, Any] = {"temperature": temperature, "num_examples": len(labels)}
    for name, value in (("before", 1.0), ("after", temperature)):
        probabilities = special.softmax(logits.astype(np.float64) / value, axis=1)
        curve = Reliability()
        curve.add(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
        content[name] = {
            "loss": negative_log_likelihood(logits, labels, value),
            "calibration_error": _rounded(error(curve.rows())),
            "reliability": curve.rows(),
        }
    return content


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
