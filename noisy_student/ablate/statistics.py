"""Means over seeds, paired differences and the verdicts on claims that follow from them."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

MIN_SEEDS = 3  # for a verdict
SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"
NOT_REFUTED = "not refuted"  # of a claim that there is no difference, which no test can prove
TOO_FEW = "too few seeds"
VERDICTS = (SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_REFUTED, TOO_FEW)


@dataclass(frozen=True)
class Difference:
    """The difference of two arms on the same seeds.

    Attributes:
        mean: of first - second, in the unit of the metric.
        sd: standard deviation over seeds; NaN for one seed.
        low: lower end of the 95% interval of the mean; NaN for one seed.
        high: upper end.
        seeds: seeds that both arms have.
        verdict: one of `VERDICTS`.
    """

    mean: float
    sd: float
    low: float
    high: float
    seeds: tuple[int, ...]
    verdict: str


def mean_sd(values: Mapping[int, float]) -> tuple[float, float]:
    """Returns mean and standard deviation (n - 1) over seeds; NaN where there are too few."""
    numbers = list(values.values())
    mean = float(np.mean(numbers)) if numbers else math.nan
    return mean, float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan


def paired(first: Mapping[int, float], second: Mapping[int, float], sign: int) -> Difference | None:
    """Compares two arms seed by seed, with Student's 95% interval over the seeds.

    A pair shares its seed, hence the split and usually the teacher. Effects of these on both arms
    cancel and are not part of the interval.

    Args:
        first: seed -> value.
        second: seed -> value.
        sign: 1 claims a positive difference, -1 a negative one, 0 none.

    Returns:
        The difference, or None if the arms share no seed.
    """
    seeds = tuple(sorted(first.keys() & second.keys()))
    if not seeds:
        return None
    mean, sd = mean_sd({seed: first[seed] - second[seed] for seed in seeds})
    low = high = math.nan
    if len(seeds) > 1:
        with warnings.catch_warnings():  # equal differences have no variance: a t of infinity
            warnings.simplefilter("ignore", RuntimeWarning)
            test = stats.ttest_rel([first[s] for s in seeds], [second[s] for s in seeds])
            low, high = map(float, test.confidence_interval(0.95))
    return Difference(mean, sd, low, high, seeds, _verdict(low, high, sign, len(seeds)))


def _verdict(low: float, high: float, sign: int, count: int) -> str:
    """Returns the verdict on a claim of `sign` from an interval over `count` seeds."""
    if count < MIN_SEEDS:
        return TOO_FEW
    if low > 0 or high < 0:
        return SUPPORTED if sign and (low > 0) == (sign > 0) else CONTRADICTED
    return INCONCLUSIVE if sign else NOT_REFUTED
