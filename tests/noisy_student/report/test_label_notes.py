"""Sentences on pseudo labels."""

import pytest

from noisy_student.report import label_notes


def selection(distinct, after, **other):
    classes = {"names": ["cat", "dog"], "distinct": distinct, "after": after}
    counts = {"num_kept": sum(distinct), "num_written": sum(after)}
    return {"round": 2, "per_class": classes, **counts, **other}


@pytest.mark.parametrize(
    ("distinct", "after", "mean", "most"),
    [
        ([10, 2], [12, 12], "2.0", "class dog up to 6 times"),
        ([2, 10], [13, 80], "7.8", "class dog up to 8 times"),
        ([3, 3], [16, 3], "3.2", "class cat up to 6 times"),
    ],
)
def test_images_that_are_repeated_often(distinct, after, mean, most):
    (note,) = label_notes.notes([selection(distinct, after)])
    assert note.startswith("Round 2 ") and f" {mean} times on average" in note and most in note


@pytest.mark.parametrize(
    ("distinct", "after"), [([10, 10], [50, 50]), ([0, 5], [0, 5]), ([0, 0], [0, 0])]
)
def test_few_copies_need_no_note(distinct, after):
    assert label_notes.notes([selection(distinct, after)]) == []


def test_noised_labels_are_a_deviation():
    (note,) = label_notes.notes([selection([5, 5], [5, 5], noised_labels=True)])
    assert note.startswith("Noised teacher (round 2)")
