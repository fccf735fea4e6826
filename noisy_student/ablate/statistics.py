"""Means over seeds, paired differences and verdicts on claims."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

MIN_SEEDS = 3  # for a verdict
SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"
NOT_REFUTED = "not refuted"  # of a claim that there is no difference, which no test can prove
TOO_FEW = "too few seeds"
VERDICTS = (SUPPORTED, CONTRADICTED, INCONCLUSIVE, NOT_REFUTED, TOO_FEW)


@dataclass(frozen=True)
class Difference:
    """The difference of two arms on the same seeds."""

    mean: float  # of first - second, in the unit of the metric
    sd: float  # standard deviation over seeds; NaN for one seed
    low: float  # lower end of the 95% interval of the mean; NaN for one seed
    high: float  # upper end
    p_value: float  # of the two-sided paired t-test that the mean is 0; NaN for one seed
    seeds: tuple[int, ...]  # seeds that both arms have
    verdict: str  # one of `VERDICTS`


def mean_sd(values: Mapping[int, float]) -> tuple[float, float]:
    """Returns mean and standard deviation (n - 1) over seeds; NaN where there are too few."""
    numbers = list(values.values())
    mean = float(np.mean(numbers)) if numbers else math.nan
    return mean, float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan


def paired(first: Mapping[int, float], second: Mapping[int, float], sign: int) -> Difference | None:
    """Compares two arms, each seed -> value, with Student's 95% interval over the seeds.

    A pair shares its seed, hence the split and usually the teacher. Effects of these on both arms
    cancel and are not part of the interval. `sign` is that of a `spec.Comparison`. Returns None if
    the arms share no seed.
    """
    seeds = tuple(sorted(first.keys() & second.keys()))
    if not seeds:
        return None
    mean, sd = mean_sd({seed: first[seed] - second[seed] for seed in seeds})
    low = high = p_value = math.nan
    if len(seeds) > 1:
        with warnings.catch_warnings():  # equal differences have no variance: a t of infinity
            warnings.simplefilter("ignore", RuntimeWarning)
            test = stats.ttest_rel([first[s] for s in seeds], [second[s] for s in seeds])
            low, high = map(float, test.confidence_interval(0.95))
            # Without any variance the test is undefined at a mean of 0.
            p_value = 1.0 if mean == sd == 0 else float(test.pvalue)
    return Difference(mean, sd, low, high, p_value, seeds, _verdict(low, high, sign, len(seeds)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for multiple comparisons; below 0.05, at most 5% of families are in error.

    Source: Holm, "A simple sequentially rejective multiple test procedure" (1979).

    Args:
        p_values: one per comparison of the family, 0..1; NaN counts as a comparison that was not
            made.

    Returns:
        The adjusted values in the order given, 0..1; NaN stays.
    """
    made = [index for index, p in enumerate(p_values) if not math.isnan(p)]
    made.sort(key=lambda index: p_values[index])
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for rank, index in enumerate(made):
        largest = max(largest, min(1.0, (len(made) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def detectable(count: int, sd: float, power: float = 0.8) -> float:
    """Returns the smallest true difference that a paired t-test at 5% finds with some power.

    Args:
        count: seeds, at least 2.
        sd: standard deviation of the differences over seeds.
        power: probability of finding it.

    Returns:
        The difference, in the unit of `sd`.
    """
    critical = stats.t.ppf(0.975, count - 1)

    def missing(effect: float) -> float:
        # A finding of the wrong sign is too rare to count.
        found = stats.nct.sf(critical, count - 1, effect * math.sqrt(count))
        return float(found) - power

    return sd * float(optimize.brentq(missing, 0.0, 100.0))


def _verdict(low: float, high: float, sign: int, count: int) -> str:
    """Returns the verdict on a claim of `sign` from an interval over `count` seeds."""
    if count < MIN_SEEDS:
        return TOO_FEW
    if low > 0 or high < 0:
        return SUPPORTED if sign and (low > 0) == (sign > 0) else CONTRADICTED
    return INCONCLUSIVE if sign else NOT_REFUTED
