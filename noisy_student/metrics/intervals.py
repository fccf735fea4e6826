"""Confidence intervals that reflect the number of test images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from noisy_student.metrics import per_image

_LEVEL = 0.95
_DEVIATES = float(stats.norm.ppf((1 + _LEVEL) / 2))  # 1.96


def accuracy_interval(top1: float, count: int) -> tuple[float, float]:
    """Returns Wilson's 95% interval of an accuracy over `count` images, all in percent.

    It stays inside 0..100, also near the ends (Brown, Cai, DasGupta 2001).
    """
    correct = stats.binomtest(round(top1 * count / 100), count)
    low, high = correct.proportion_ci(_LEVEL, method="wilson")
    return round(100 * float(low), 4), round(100 * float(high), 4)


def standard_error(top1: float, count: int) -> float:
    """Returns the standard error of an accuracy in percent over ``count`` images, in points.

    It is an upper bound for a mean over several settings of the same images: no quantity in 0..100
    varies more between images than one that is either 0 or 100.
    """
    return math.sqrt(top1 * (100 - top1) / count)


def unpaired_interval(
    difference: float, percents: Sequence[float], counts: Sequence[int]
) -> tuple[float, float]:
    """Returns the 95% interval of the difference of two independent percentages, in points.

    `counts` are the numbers of images behind the percentages, 0..100.
    """
    half = _DEVIATES * math.hypot(*map(standard_error, percents, counts))
    return difference - half, difference + half


def accuracy_difference(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[float, tuple[float, float], bool]:
    """Compares the contents of two ``clean.json``, paired where both models saw the same images.

    Returns:
        Accuracy of the second minus that of the first in points, its 95% interval, and whether it
        is paired.
    """
    points = after["top1"] - before["top1"]
    interval = paired_interval(before.get("by_image", {}), after.get("by_image", {}), {"top1": 1.0})
    if interval is not None:
        return points, interval, True
    counts = before["num_examples"], after["num_examples"]
    return points, unpaired_interval(points, (before["top1"], after["top1"]), counts), False


def interval_error(bounds: tuple[float, float]) -> float:
    """Returns the standard error that belongs to a 95% interval."""
    low, high = bounds
    return (high - low) / 2 / _DEVIATES


def paired_interval(
    before: Mapping[str, per_image.Record],
    after: Mapping[str, per_image.Record],
    weights: Mapping[str, float],
) -> tuple[float, float] | None:
    """Returns the 95% interval of the points by which the second model errs less.

    Adds two images on which a single answer changed, one for the better and one for the worse, so
    that an interval is never empty. For one setting this is the adjusted Wald interval of Bonett
    and Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data" (2012).

    Records (`per_image.record`) and weights are by setting. Returns None if the images differ or
    were not recorded.
    """
    differences = per_image.differences(before, after, weights)
    if differences is None:
        return None
    step = per_image.smallest_step(before, weights)
    padded = 100 * np.append(differences, [step, -step])
    scale = padded.std() / math.sqrt(len(padded))
    low, high = stats.norm.interval(_LEVEL, padded.mean(), scale)
    return float(low), float(high)
