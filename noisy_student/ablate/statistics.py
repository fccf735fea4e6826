"""Means over seeds, paired differences and what they say about a claim."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

FEWEST = 3  # seeds for a verdict
HOLDS, FAILS, OPEN, FEW = "holds", "does not hold", "not shown", "too few seeds"
UNREFUTED = "not refuted"  # of a claim that there is no difference, which no test can show


@dataclass(frozen=True)
class Difference:
    """Of two arms on the same seeds.

    Attributes:
        mean: of first minus second, in the metric's unit.
        sd: standard deviation over seeds; NaN for one seed.
        low: of the 95% interval of the mean; NaN for one seed.
        high: likewise.
        seeds: that both arms have.
        verdict: one of `HOLDS`, `FAILS`, `OPEN`, `UNREFUTED`, `FEW`.
    """

    mean: float
    sd: float
    low: float
    high: float
    seeds: tuple[int, ...]
    verdict: str


def mean_sd(values: Mapping[int, float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of a value by seed; NaN where there are too few."""
    numbers = list(values.values())
    mean = float(np.mean(numbers)) if numbers else math.nan
    return mean, float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan


def paired(first: Mapping[int, float], second: Mapping[int, float], sign: int) -> Difference | None:
    """First minus second, seed by seed, with Student's t interval over the seeds.

    Pairs share the seed, so the same split and, as a rule, teacher: what these do to both arms is
    not in the interval.

    Args:
        first: seed -> value.
        second: likewise.
        sign: 1 where the claim is that the difference is above 0, -1 below, 0 that there is none.

    Returns:
        The difference, or None where no seed is in both.
    """
    seeds = tuple(sorted(first.keys() & second.keys()))
    if not seeds:
        return None
    mean, sd = mean_sd({seed: first[seed] - second[seed] for seed in seeds})
    half = math.nan
    if len(seeds) > 1:
        half = float(special.stdtrit(len(seeds) - 1, 0.975)) * sd / math.sqrt(len(seeds))
    low, high = mean - half, mean + half
    return Difference(mean, sd, low, high, seeds, _verdict(low, high, sign, len(seeds)))


def _verdict(low: float, high: float, sign: int, count: int) -> str:
    if count < FEWEST:
        return FEW
    if low > 0 or high < 0:
        return HOLDS if sign and (low > 0) == (sign > 0) else FAILS
    return OPEN if sign else UNREFUTED
