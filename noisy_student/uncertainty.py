"""How far a measured accuracy may be off because the test images are so many and no more."""

import math

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


def paired_standard_error(fixed: int, broken: int, count: int) -> float:
    """Of the difference of two accuracies on the same ``count`` images, in points.

    Args:
        fixed: images only the second model gets right.
        broken: images only the first model gets right.
        count: all images.
    """
    return 100 * math.sqrt(fixed + broken - (fixed - broken) ** 2 / count) / count
