"""Whether confidence is honest, and the temperature that makes it so.

Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (ICML 2017):
temperature scaling, fitted to validation images by their likelihood, and reliability diagrams.
"""

from typing import Any

import numpy as np
from scipy import optimize, special

_EDGES = np.linspace(0.0, 1.0, 11)
_LARGEST = 20.0  # temperatures are sought from 1 / 20 to 20
_DIGITS = 4  # kept of one, so that machines which round differently agree


class Reliability:
    """Confidence beside accuracy in tenths of confidence, gathered piece by piece."""

    def __init__(self):
        """Starts without predictions."""
        bins = len(_EDGES) - 1
        self._count, self._right = np.zeros(bins, np.int64), np.zeros(bins, np.int64)
        self._confidence = np.zeros(bins)

    def add(self, confidences: np.ndarray, right: np.ndarray) -> None:
        """Counts predictions: confidences float [N], 0..1, and whether they are right, bool [N]."""
        bins = np.digitize(confidences, _EDGES[1:-1])
        size = len(self._count)
        self._count += np.bincount(bins, minlength=size)
        self._right += np.bincount(bins[right], minlength=size)
        self._confidence += np.bincount(bins, confidences, minlength=size)

    @property
    def accuracy(self) -> float | None:
        """Of all predictions, 0..1; None: there are none."""
        return float(self._right.sum() / self._count.sum()) if self._count.any() else None

    def rows(self) -> list[dict[str, float]]:
        """Mean confidence beside accuracy, both 0..1, for each tenth that has predictions."""
        return [
            {
                "low": round(float(_EDGES[i]), 6),
                "high": round(float(_EDGES[i + 1]), 6),
                "count": int(self._count[i]),
                "accuracy": float(self._right[i] / self._count[i]),
                "confidence": float(self._confidence[i] / self._count[i]),
            }
            for i in np.flatnonzero(self._count)
        ]


def error(rows: list[dict[str, Any]]) -> float | None:
    """Mean distance of accuracy and confidence over the images; None where it is not known.

    Args:
        rows: of `Reliability.rows`.
    """
    bins = [row for row in rows if row["count"]]
    if not bins or any(row["accuracy"] is None for row in bins):
        return None
    total = sum(row["count"] for row in bins)
    distance = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in bins)
    return round(distance / total, 4)


def expected_calibration_error(
    confidences: np.ndarray, correct: np.ndarray, num_bins: int = 15
) -> float:
    """ECE: how far confidence and accuracy lie apart, over bins of equal width.

    Args:
        confidences: float [N], the probability of the predicted class, 0..1.
        correct: bool [N], whether it is the true one.
        num_bins: bins (a, b] of confidence; 15 as in Guo et al.

    Returns:
        0..1: the mean of |accuracy - mean confidence| over bins, weighted by their images.

    Raises:
        ValueError: columns that do not fit together, none at all, a confidence out of range, or
            num_bins below 1.
    """
    confidences, correct = np.asarray(confidences, np.float64), np.asarray(correct)
    if confidences.ndim != 1 or confidences.shape != correct.shape or not len(confidences):
        raise ValueError(
            f"confidences and correct must be of one length, not {confidences.shape} and "
            f"{correct.shape}."
        )
    outside = confidences[~((confidences >= 0) & (confidences <= 1))]
    if len(outside):
        raise ValueError(f"confidences must be in 0..1, not {outside[0]:g}.")
    if correct.dtype != bool:
        raise ValueError(f"correct must be bool, not {correct.dtype}.")
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, not {num_bins}.")
    bins = np.searchsorted(np.arange(1, num_bins) / num_bins, confidences)
    gaps = np.bincount(bins, weights=correct - confidences, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(confidences))


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean cross entropy of softmax(logits / temperature).

    Args:
        logits: float [N, C].
        labels: int [N], 0..C-1.
        temperature: above 0.
    """
    scaled = logits.astype(np.float64) / temperature
    chosen = np.take_along_axis(scaled, labels[:, None].astype(np.int64), axis=1)[:, 0]
    return float(np.mean(special.logsumexp(scaled, axis=1) - chosen))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of the largest likelihood, to four digits, in 0.05..20.

    The likelihood has one maximum in 1 / temperature, being log-concave in it.

    Args:
        logits: float [N, C].
        labels: int [N], 0..C-1.

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
    """The fitted temperature, and what it changes: JSON-like.

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
            "calibration_error": error(curve.rows()),
            "reliability": curve.rows(),
        }
    return content
