import numpy as np
import pytest
import tensorflow as tf

from noisy_student.runtime import inference


def batches(index):
    for row in index:
        yield {
            "images": tf.constant(row, tf.float32)[:, None],
            "labels": tf.constant(row, tf.int32) % 2,
            "index": tf.constant(row, tf.int64),
        }


def step(images):
    return tf.concat([images, images + 1], axis=1)


def test_padding_is_dropped_and_order_kept():
    labels, table = inference.predict_all(step, batches([[2, 0], [1, -1]]), 3)
    np.testing.assert_array_equal(labels, [0, 1, 0])
    np.testing.assert_array_equal(table, [[0, 1], [1, 2], [2, 3]])


@pytest.mark.parametrize("index", [[[0, 1]], [[0, 1], [1, 2]], []])
def test_an_example_left_out_or_seen_twice_is_noticed(index):
    with pytest.raises(RuntimeError, match="of 3 examples not seen exactly once"):
        inference.predict_all(step, batches(index), 3)


def test_top_k_accuracy_by_hand():
    scores = np.array([[0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6]])
    labels = np.array([1, 1, 0])
    assert inference.top_k_accuracy(scores, labels, 1) == pytest.approx(100 / 3)
    # Row 2: classes 0 and 1 tie for the second place, which goes to 0; row 3 likewise.
    assert inference.top_k_accuracy(scores, labels, 2) == pytest.approx(200 / 3)
    assert inference.top_k_accuracy(scores, labels, 5) == 100.0


def test_a_model_that_knows_more_classes_decides_among_those_asked_for():
    logits = tf.constant([[1.0, 2.0, 3.0, 4.0]])
    model = lambda images, training=False: logits  # noqa: E731
    chosen = inference.for_classes(model, ("a", "b", "c", "d"), ("c", "a"))
    np.testing.assert_array_equal(chosen(None), [[3.0, 1.0]])
    probabilities = inference.predict_step(chosen)(tf.zeros([1, 2, 2, 3]))
    np.testing.assert_allclose(probabilities[0, 0], 1 / (1 + np.exp(-2)), rtol=1e-6)
    assert inference.for_classes(model, ("a", "b"), ["a", "b"]) is model
    with pytest.raises(ValueError, match=r"lacks 1 of the data's classes \(z\)"):
        inference.for_classes(model, ("a", "b"), ("a", "z"))
