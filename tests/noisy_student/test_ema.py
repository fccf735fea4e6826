"""Weight averages against TensorFlow 1's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student import ema
from tests.helpers.marks import slow_param


@keras.saving.register_keras_serializable("test_ema")
class Counter(keras.layers.Layer):
    """Holds a variable that is neither trainable nor a moving statistic."""

    def build(self, _):
        self.calls = self.add_weight(name="calls", initializer="zeros", trainable=False)

    def call(self, inputs):
        return inputs


def build_model(units=4):
    inputs = keras.Input((3,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(units)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(Counter()(hidden)))


def randomize(model, rng):
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))


def test_decay_at_counts_the_present_step():
    assert ema.decay_at(1, 0.9999) == pytest.approx(2 / 11)
    assert ema.decay_at(2, 0.9999) == pytest.approx(3 / 12)
    assert ema.decay_at(10**6, 0.9999) == 0.9999
    np.testing.assert_allclose(ema.decay_at(np.array([1, 90]), 0.9), [2 / 11, 0.9])
    assert ema.decay_at(tf.constant(1, tf.int64), 0.9999).numpy() == np.float32(2 / 11)


@pytest.mark.usefixtures("fresh_variable_scope")
@pytest.mark.parametrize("decay", [0.9999, slow_param(0.9)])
def test_averages_equal_tensorflow_1(decay):
    rng = np.random.default_rng(0)
    model, average_model = build_model(), build_model()
    randomize(model, rng)
    average = ema.WeightAverage(model, average_model, decay)
    average.reset()
    step = tf.Variable(0, dtype=tf.int64)
    theirs = tf.compat.v1.train.ExponentialMovingAverage(decay, num_updates=step)
    values = [tf.Variable(weight) for weight in model.weights]
    theirs.apply(values)  # creates the averages at the present weights, which this leaves there
    update = tf.function(average.update)
    for count in range(1, 121):
        randomize(model, rng)
        for value, weight in zip(values, model.weights, strict=True):
            value.assign(weight)
        step.assign(count)
        theirs.apply(values)
        update(step)
    for value, found in zip(values, average_model.weights, strict=True):
        if found.name == "calls":
            np.testing.assert_array_equal(found, value)
        else:
            np.testing.assert_allclose(found, theirs.average(value), rtol=1e-6, atol=1e-7)
    assert [w.name for w in average_model.weights].count("moving_variance") == 1


def test_first_update_by_hand():
    model, average_model = build_model(), build_model()
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    average = ema.WeightAverage(model, average_model, 0.9999)
    average.reset()
    for weight in model.weights:
        weight.assign(tf.ones_like(weight))
    average.update(tf.constant(1))
    for weight in average_model.weights:
        expected = 1.0 if weight.name == "calls" else 9 / 11
        np.testing.assert_allclose(weight, np.full(weight.shape, expected), rtol=1e-6)


def test_reset_copies_everything():
    model, average_model = build_model(), build_model()
    randomize(model, np.random.default_rng(3))
    ema.WeightAverage(model, average_model, 0.9).reset()
    for weight, copy in zip(model.weights, average_model.weights, strict=True):
        np.testing.assert_array_equal(copy, weight)


def test_different_architectures_are_refused():
    with pytest.raises(ValueError, match="kernel"):
        ema.WeightAverage(build_model(4), build_model(5), 0.9)
    shallow = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    with pytest.raises(ValueError, match="9 and 2 variables"):
        ema.WeightAverage(build_model(), shallow, 0.9)


def test_decay_out_of_range_is_refused():
    with pytest.raises(ValueError, match="decay = 1.5"):
        ema.WeightAverage(build_model(), build_model(), 1.5)
