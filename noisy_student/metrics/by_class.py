"""Right and wrong predictions by class."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

MOST_CLASSES = 20  # of a complete confusion matrix


class ClassCounts(TypedDict):
    """Predictions of test images by true class; one entry per class."""

    names: list[str]  # the C classes
    num_examples: list[int]  # images of the class
    num_correct: list[int]  # those of them that are classified correctly
    confused_with: list[int | None]  # the wrong class predicted most often; None if there is none
    num_confused: list[int]  # how often it is predicted
    # Images by true class (rows) and predicted class; None for more than `MOST_CLASSES` classes.
    confusion: list[list[int]] | None


def count(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> ClassCounts:
    """Counts predictions by true class.

    Both are int [N], 0..C-1; `names` are those of the C classes.
    """
    size = len(names)
    labels, predicted = np.asarray(labels, np.int64), np.asarray(predicted, np.int64)
    # Only pairs that occur: a matrix of 20,000 classes would not fit in memory.
    pairs, counts = np.unique(labels * size + predicted, return_counts=True)
    correct, confused = np.zeros(size, np.int64), np.zeros(size, np.int64)
    confused_with: list[int | None] = [None] * size
    for pair, number in zip(pairs.tolist(), counts.tolist(), strict=True):
        true, guess = divmod(pair, size)
        if true == guess:
            correct[true] = number
        elif number > confused[true]:
            confused[true], confused_with[true] = number, guess
    matrix = None
    if size <= MOST_CLASSES:
        flat = np.zeros(size * size, np.int64)
        flat[pairs] = counts
        matrix = flat.reshape(size, size).tolist()
    return {
        "names": list(names),
        "num_examples": np.bincount(labels, minlength=size).tolist(),
        "num_correct": correct.tolist(),
        "confused_with": confused_with,
        "num_confused": confused.tolist(),
        "confusion": matrix,
    }
