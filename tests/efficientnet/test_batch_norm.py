import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnet.layers import BATCH_NORM_EPSILON, BatchNorm


def images(*shape):
    return np.random.default_rng(0).normal(3, 2, size=shape).astype("float32")


def test_statistics_by_hand():
    layer = BatchNorm(momentum=0.9)
    outputs = layer(np.array([1, 2, 3, 6], "float32").reshape(4, 1, 1, 1), training=True)
    # mean 3; population variance (4 + 1 + 0 + 9) / 4 = 3.5, not 14 / 3
    expected = np.array([-2, -1, 0, 3]) / np.sqrt(3.5 + 1e-3)
    np.testing.assert_allclose(np.ravel(outputs), expected, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_mean.numpy(), [0.1 * 3], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), [0.9 + 0.1 * 3.5], rtol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_equals_keras(training):
    ours = BatchNorm(momentum=0.8)
    theirs = keras.layers.BatchNormalization(momentum=0.8, epsilon=BATCH_NORM_EPSILON)
    inputs = tf.constant(images(4, 5, 3, 8))
    rng = np.random.default_rng(1)
    weights = [rng.uniform(0.5, 2, size=8).astype("float32") for _ in range(4)]
    gradients = []
    for layer in (ours, theirs):
        layer.build(inputs.shape)
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            loss = tf.reduce_sum(tf.sin(outputs))
        variables = [layer.gamma.value, layer.beta.value]
        gradients.append([outputs, *tape.gradient(loss, [inputs, *variables])])
    for got, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    for got, expected in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_one_pixel_has_variance_zero():
    layer = BatchNorm(momentum=0.5)
    layer(np.full((1, 1, 1, 2), 7, "float32"), training=True)
    np.testing.assert_allclose(layer.moving_variance.numpy(), [0.5, 0.5])


def test_a_frozen_layer_is_in_inference_mode():
    layer = BatchNorm(momentum=0.5)
    inputs = images(4, 2, 2, 3)
    layer(inputs, training=True)
    before = layer.get_weights()
    layer.trainable = False
    frozen = layer(inputs, training=True)
    assert np.array_equal(frozen, layer(inputs, training=False))
    assert all(map(np.array_equal, before, layer.get_weights()))


def test_bfloat16_has_float32_statistics():
    layer = BatchNorm(momentum=0.0, dtype="mixed_bfloat16")
    inputs = images(64, 4, 4, 2)
    outputs = layer(inputs, training=True)
    assert outputs.dtype == tf.bfloat16
    assert {weight.dtype for weight in layer.get_weights()} == {np.dtype("float32")}
    rounded = tf.cast(tf.cast(inputs, tf.bfloat16), tf.float32).numpy()
    np.testing.assert_allclose(layer.moving_mean.numpy(), rounded.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance.numpy(), rounded.var((0, 1, 2)), rtol=1e-4)


def test_compiled_equals_uncompiled():
    inputs, weights = tf.constant(images(8, 3, 3, 4)), []
    for jit_compile in (False, True):
        layer = BatchNorm(momentum=0.5)
        layer.build(inputs.shape)
        tf.function(layer, jit_compile=jit_compile)(inputs, training=True)
        weights.append(layer.get_weights())
    np.testing.assert_allclose(*[np.concatenate(arrays) for arrays in weights], rtol=1e-5)
