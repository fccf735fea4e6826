import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from noisy_student.ablate import statistics


def test_mean_and_sd_by_hand():
    assert statistics.mean_sd({0: 90.0, 1: 92.0, 2: 97.0}) == (93.0, pytest.approx(13**0.5))
    mean, sd = statistics.mean_sd({5: 90.0})
    assert mean == 90 and math.isnan(sd)


@pytest.mark.parametrize(
    ("second", "sign", "verdict"),
    [
        # Differences 2, 3, 4: mean 3, sd 1; t(2 degrees of freedom, 97.5%) = 4.302653,
        # so the interval is 3 +- 4.302653 / sqrt(3) = 3 +- 2.484138.
        ((8, 17, 26), 1, "supported"),
        ((8, 17, 26), -1, "contradicted"),
        # Differences 1, 2, 3: 2 +- 2.484138 has 0 in it.
        ((9, 18, 27), 1, "inconclusive"),
        ((9, 18, 27), -1, "inconclusive"),
        # Differences -4, -3, -2.
        ((14, 23, 32), 1, "contradicted"),
        ((14, 23, 32), -1, "supported"),
        # Sign 0: no difference is claimed.
        ((8, 17, 26), 0, "contradicted"),
        ((14, 23, 32), 0, "contradicted"),
        ((9, 18, 27), 0, "not refuted"),
    ],
)
def test_paired_differences_by_hand(second, sign, verdict):
    first = {0: 10.0, 1: 20.0, 2: 30.0}
    found = statistics.paired(first, dict(enumerate(map(float, second))), sign)
    mean = np.mean([10 - second[0], 20 - second[1], 30 - second[2]])
    assert found.mean == mean and found.sd == 1
    assert found.low == pytest.approx(mean - 2.484138, abs=1e-6)
    assert found.high == pytest.approx(mean + 2.484138, abs=1e-6)
    assert found.verdict == verdict and found.seeds == (0, 1, 2)


def test_only_seeds_that_both_have_are_compared():
    found = statistics.paired({0: 1.0, 1: 5.0, 3: 9.0}, {1: 2.0, 3: 5.0, 4: 0.0}, 1)
    assert found.seeds == (1, 3) and found.mean == 3.5
    assert found.verdict == "too few seeds"  # whatever the interval
    assert found.low == pytest.approx(3.5 - 12.706205 * 0.5, abs=1e-5)  # t with 1 degree of freedom
    assert statistics.paired({0: 1.0}, {1: 1.0}, 1) is None


def test_one_seed_has_no_interval():
    found = statistics.paired({7: 3.0}, {7: 1.0}, 1)
    assert found.mean == 2 and math.isnan(found.low) and found.verdict == "too few seeds"


def test_equal_differences():
    same = {0: 1.0, 1: 2.0, 2: 3.0}
    assert statistics.paired(same, same, 1).verdict == "inconclusive"
    assert statistics.paired(same, {k: v - 1 for k, v in same.items()}, 1).verdict == "supported"


_VALUES = st.lists(st.floats(-100, 100), min_size=3, max_size=9)


@given(_VALUES, st.integers(0, 2**32 - 1))
def test_the_interval_is_scipys(values, seed):
    others = np.random.default_rng(seed).normal(size=len(values))
    found = statistics.paired(dict(enumerate(values)), dict(enumerate(others.tolist())), 1)
    theirs = stats.ttest_rel(values, others).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-9)


def test_the_p_value_by_hand():
    """Differences 2, 3, 4: t = 3 / (1 / sqrt(3)), two degrees of freedom."""
    found = statistics.paired({0: 10.0, 1: 20.0, 2: 30.0}, {0: 8.0, 1: 17.0, 2: 26.0}, 1)
    t = 3 * math.sqrt(3)
    # The distribution of t with two degrees of freedom in closed form.
    assert found.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-9)
    assert statistics.paired({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}, 1).p_value == 1
    assert math.isnan(statistics.paired({7: 3.0}, {7: 1.0}, 1).p_value)


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; none below the one before."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = statistics.holm([0.02, math.nan, 0.6, 0.9])
    assert found[0] == pytest.approx(0.06) and math.isnan(found[1]) and found[2:] == [1.0, 1.0]
    assert statistics.holm([]) == []


@pytest.mark.parametrize("count", [3, 5])
def test_the_detectable_difference_is_found_as_often_as_promised(count):
    effect = statistics.detectable(count, 2.0, power=0.8)
    drawn = np.random.default_rng(0).normal(effect, 2.0, (20_000, count))
    found = stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)
