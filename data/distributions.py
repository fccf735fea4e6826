"""Stored distributions over classes: complete, or only the most likely classes."""

import numpy as np


def keep_top(probabilities: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the largest probabilities in falling order; on ties, the lower class first.

    Args:
        probabilities: float [N, C].
        count: number of classes to keep (k), 1..C.

    Returns:
        The probabilities, as given [N, k], and their classes, int32 [N, k].
    """
    classes = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(probabilities, classes, axis=1), classes.astype(np.int32)


def dense(values: np.ndarray, classes: np.ndarray | None, num_classes: int) -> np.ndarray:
    """Completes stored distributions, so that they sum to 1.

    The remaining probability is spread evenly over the other classes. All are then divided by their
    sum, because float16 values only sum to 1 approximately.

    Args:
        values: float [N, k], stored probabilities.
        classes: int [N, k], their classes; None: all classes in order.
        num_classes: number of classes (C).

    Returns:
        float32 [N, C].
    """
    values = values.astype(np.float32)
    if classes is not None:
        others = max(1, num_classes - values.shape[1])
        rest = np.maximum(0, 1 - values.sum(axis=1, keepdims=True)) / others
        whole = np.repeat(rest, num_classes, axis=1)
        np.put_along_axis(whole, classes.astype(np.int64), values, axis=1)
        values = whole
    return values / values.sum(axis=1, keepdims=True)
