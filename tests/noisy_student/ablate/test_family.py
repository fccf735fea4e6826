"""Statements on all comparisons, with values by hand."""

import re

import pytest

from noisy_student.ablate import family, statistics
from noisy_student.ablate.claims import paper
from noisy_student.ablate.tables import Table
from tests.helpers.study_rows import TOP1, study_rows


@pytest.fixture
def table() -> Table:
    return Table(paper.FROM_SCRATCH, study_rows("from_scratch_vs_init", TOP1))


def test_comparisons_that_stay_significant_are_named(table):
    text = family.corrected([table])
    assert "all 1 comparisons" in text and "(`mnist5k`, p = 0.035)" in text


def test_power_is_that_of_the_median_deviation(table):
    """Differences of 2, 3 and 4 points deviate by 1 point."""
    text = family.power([table])
    smallest = [f"{statistics.detectable(count, 1.0):.1f}" for count in (3, 5, 10)]
    numbers = re.findall(r"\d+\.\d", text)
    assert numbers == ["1.0", "1.0", "1.0", *smallest] and "over 1 comparisons" in text
