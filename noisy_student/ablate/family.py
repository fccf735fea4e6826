"""Statements on the comparisons of all studies together: correction and power."""

import math
from collections.abc import Iterable

import numpy as np

from noisy_student.ablate import statistics
from noisy_student.ablate.tables import Table, comparison_name, p_value, shown


def corrected(tables: Iterable[Table]) -> str:
    """Returns the comparisons of all studies whose p-values stay below 5% when corrected."""
    pairs = [(table, each) for table in tables for each in table.study.comparisons]
    p_values = [p_value(table, each) for table, each in pairs]
    adjusted = statistics.holm(p_values)
    kept = [
        f"{comparison_name(each)} (`{table.recipe}`, p = {shown(p)})"
        for (table, each), p in zip(pairs, adjusted, strict=True)
        if p < 0.05
    ]
    count = sum(not math.isnan(each) for each in p_values)
    return (
        f"Corrected for all {count} comparisons by Holm's method, p stays below 0.05 for "
        f"{'; '.join(kept) or 'none of them'}."
    )


def power(tables: Iterable[Table]) -> str:
    """States which differences in accuracy the studies can detect."""
    found = [
        table.difference(each)
        for table in tables
        for each in table.study.comparisons
        if each.metric == "clean.top1"
    ]
    deviations = [each.sd for each in found if each and not math.isnan(each.sd)]
    low, median, high = np.percentile(deviations, (25, 50, 75))
    smallest = [f"{statistics.detectable(n, median):.1f} points with {n}" for n in (3, 5, 10)]
    return (
        "The standard deviation over seeds of a difference in accuracy has a median of "
        f"{median:.1f} points over {len(deviations)} comparisons (quartiles {low:.1f} and "
        f"{high:.1f}). At the median, a paired t-test at the 5% level detects a true difference "
        f"with 80% probability if it is at least {', '.join(smallest)} seeds."
    )
