"""Durations and intervals as text."""

import pytest

from noisy_student.metrics import formatting


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.4, "4 s"),
        (89, "89 s"),
        (91, "2 min"),
        (7201, "2 h 0 min"),
        (172799, "2.0 days"),
        (None, "an unknown time"),
    ],
)
def test_durations(seconds, text):
    assert formatting.duration(seconds) == text


def test_intervals_and_numbers():
    assert formatting.interval((-1.25, 3.0), "+.1f") == "-1.2 to +3.0"
    assert formatting.number(None, ".1f") == formatting.NONE
    assert formatting.number(2, ".1f") == "2.0"
