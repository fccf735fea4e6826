"""Stored distributions over classes."""

import numpy as np

from data import distributions


def test_distributions_of_the_most_likely_classes():
    probabilities = np.array([[0.1, 0.5, 0.2, 0.2], [0.25, 0.25, 0.25, 0.25]], np.float32)
    values, classes = distributions.keep_top(probabilities, 2)
    assert classes.tolist() == [[1, 2], [0, 1]]
    whole = distributions.dense(values, classes, 4)
    np.testing.assert_allclose(whole, [[0.15, 0.5, 0.2, 0.15], [0.25] * 4], rtol=1e-6)
    np.testing.assert_array_equal(
        distributions.dense(np.ones((1, 1), np.float16), np.array([[3]]), 4), [[0, 0, 0, 1]]
    )
    rounded = probabilities.astype(np.float16)
    whole = distributions.dense(rounded, None, 4)
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(whole, probabilities, atol=1e-3)
