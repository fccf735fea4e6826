"""Values and gradients of the CPU forms equal those of the plain operations."""

import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from efficientnet import cpu_ops, layers


def random(*shape):
    rng = np.random.default_rng(sum(shape))
    return tf.constant(rng.normal(size=shape), tf.float32)


def value_and_gradients(function, arguments, **options):
    @tf.function(**options)
    def run(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = function(*arguments)
            loss = tf.reduce_sum(tf.sin(value))
        return [value, *tape.gradient(loss, arguments)]

    return [result.numpy() for result in run(*arguments)]


def assert_same(ours, plain, arguments, **options):
    for got, expected in zip(
        value_and_gradients(ours, arguments, **options),
        value_and_gradients(plain, arguments),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("options", [{}, {"jit_compile": True}])
def test_swish(options):
    assert_same(cpu_ops.swish, tf.nn.silu, [random(4, 3, 3, 8) * 5], **options)


@pytest.mark.parametrize("options", [{}, {"jit_compile": True}])
def test_scaled_swish(options):
    def plain(inputs, factor, addend):
        return tf.nn.silu(inputs * factor + addend)

    arguments = [random(4, 3, 3, 8) * 5, random(8), random(1, 8)[0]]
    assert_same(cpu_ops.scaled_swish, plain, arguments, **options)


def test_portable_ops_are_plain():
    model = efficientnet.build_model("efficientnet-b0", 2, width=0.1, depth=0.1, small_image=True)

    @tf.function
    def portable(images):
        with efficientnet.portable_ops():
            return model(images, training=False)

    images = random(2, 32, 32, 3) * 100
    graph = portable.get_concrete_function(images).graph.as_graph_def()
    assert not [node for node in graph.node if "PartitionedCall" in node.op]
    assert not graph.library.function
    np.testing.assert_allclose(portable(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"jit_compile": True}])
def test_batch_norm_swish(options):
    def plain(inputs, gamma, beta):
        mean, variance = tf.nn.moments(inputs, [0, 1, 2])
        normalized = tf.nn.batch_normalization(inputs, mean, variance, beta, gamma, 1e-3)
        return tf.nn.silu(normalized)

    def ours(inputs, gamma, beta):
        return cpu_ops.batch_norm_swish(inputs, gamma, beta, 1e-3)[0]

    inputs = 3 + 2 * random(4, 5, 3, 8)
    assert_same(ours, plain, [inputs, random(8), random(1, 8)[0]], **options)
    got = cpu_ops.batch_norm_swish(inputs, random(8), random(8), 1e-3)[1:]
    for ours, expected in zip(got, tf.nn.moments(inputs, [0, 1, 2]), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"jit_compile": True}])
def test_squeeze_excite(options):
    weights = [random(1, 1, 8, 2), random(2), random(1, 1, 2, 8), random(8)]

    def plain(inputs, *weights):
        return inputs * layers.excitation(tf.reduce_mean(inputs, [1, 2], keepdims=True), *weights)

    def ours(inputs, *weights):
        return cpu_ops.squeeze_excite(inputs, layers.excitation, list(weights))

    assert_same(ours, plain, [random(4, 5, 3, 8), *weights], **options)


def test_pointwise_conv():
    def plain(inputs, kernel):
        return tf.nn.conv2d(inputs, kernel, 1, "SAME")

    assert_same(cpu_ops.pointwise_conv, plain, [random(3, 4, 5, 16), random(1, 1, 16, 6)])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("size", [(1, 2), (3, 4), (8, 7)])
def test_depthwise_conv(size, kernel_size, stride):
    def plain(inputs, kernel):
        return tf.nn.depthwise_conv2d(inputs, kernel, [1, stride, stride, 1], "SAME")

    def ours(inputs, kernel):
        return cpu_ops.depthwise_conv(inputs, kernel, stride)

    assert_same(ours, plain, [random(3, *size, 16), random(kernel_size, kernel_size, 16, 1)])


def test_depthwise_conv_with_unknown_sizes():
    signature = [tf.TensorSpec([None, None, None, 16]), tf.TensorSpec([5, 5, 16, 1])]

    def plain(inputs, kernel):
        return tf.nn.depthwise_conv2d(inputs, kernel, [1, 2, 2, 1], "SAME")

    def ours(inputs, kernel):
        return cpu_ops.depthwise_conv(inputs, kernel, 2)

    arguments = [random(3, 6, 5, 16), random(5, 5, 16, 1)]
    assert_same(ours, plain, arguments, input_signature=signature)
