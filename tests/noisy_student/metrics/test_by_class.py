"""Counts of predictions by class."""

import numpy as np

from noisy_student.metrics import by_class


def test_counts_beside_a_plain_loop():
    generator = np.random.default_rng(0)
    labels, guesses = generator.integers(0, 6, (2, 500))
    labels[labels == 4] = 3  # a class without images
    counts = by_class.count(labels, guesses, list("abcdef"))
    matrix = np.zeros([6, 6], int)
    for label, guess in zip(labels, guesses, strict=True):
        matrix[label, guess] += 1
    assert counts["confusion"] == matrix.tolist()
    assert counts["num_examples"] == matrix.sum(1).tolist()
    assert counts["num_correct"] == matrix.diagonal().tolist()
    np.fill_diagonal(matrix, 0)
    assert counts["num_confused"] == matrix.max(1).tolist()
    expected = [None if place == 4 else int(matrix[place].argmax()) for place in range(6)]
    assert counts["confused_with"] == expected


def test_many_classes_have_no_matrix():
    size = by_class.MOST_CLASSES + 1
    labels = np.arange(size)
    counts = by_class.count(labels, labels, list(map(str, labels)))
    assert counts["confusion"] is None and counts["confused_with"] == [None] * size
    assert by_class.count(labels[:-1], labels[:-1], counts["names"][:-1])["confusion"]
