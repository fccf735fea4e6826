"""How far a measured accuracy may be off because the test images are so many and no more."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from noisy_student.metrics import per_image

DEVIATES = 1.959964  # the 97.5% point of the normal distribution: intervals are of 95%


def interval(top1: float, count: int) -> tuple[float, float]:
    """Wilson's 95% interval of an accuracy, all in percent.

    It stays inside 0..100 and is right near the ends, where the normal one is not
    (Wilson 1927; Brown, Cai, DasGupta 2001).
    """
    p, spread = top1 / 100, DEVIATES**2 / count
    center = (p + spread / 2) / (1 + spread)
    half = math.sqrt(p * (1 - p) * spread + spread**2 / 4) / (1 + spread)
    return round(100 * (center - half), 4), round(100 * (center + half), 4)


def standard_error(top1: float, count: int) -> float:
    """Of an accuracy in percent over ``count`` images, in points.

    For the mean over several settings of one set of images it is an upper bound: no quantity in
    0..100 varies more from image to image than one that is either 0 or 100.
    """
    return math.sqrt(top1 * (100 - top1) / count)


def unpaired_interval(
    difference: float, percents: Sequence[float], counts: Sequence[int]
) -> tuple[float, float]:
    """95% interval of a difference of two figures, taken for independent, in points.

    Args:
        difference: in points.
        percents: the two figures, 0..100.
        counts: the images that each is over.
    """
    half = DEVIATES * math.hypot(*map(standard_error, percents, counts))
    return difference - half, difference + half


def paired_interval(
    before: Mapping[str, per_image.Record],
    after: Mapping[str, per_image.Record],
    weights: Mapping[str, float],
) -> tuple[float, float] | None:
    """95% interval of the points by which the second model errs less on the same images.

    Two images are added on which a single answer changed, for the better and for the worse, so that
    an interval is never empty: for one setting this is the adjusted Wald interval of Bonett and
    Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data" (2012).

    Args:
        before: setting -> record of the first model (`by_image.record`).
        after: the same of the second.
        weights: setting -> its weight in the average.

    Returns:
        Low and high, in points, or None where the images are not the same, or not recorded.
    """
    differences = per_image.differences(before, after, weights)
    if differences is None:
        return None
    step = per_image.smallest_step(before, weights)
    padded = 100 * np.append(differences, [step, -step])
    half = DEVIATES * padded.std() / math.sqrt(len(padded))
    return float(padded.mean() - half), float(padded.mean() + half)
