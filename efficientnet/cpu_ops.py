"""Three operations in a form that suits CPUs: the same values, faster gradients.

TensorFlow runs elementwise operations one by one, each a pass over memory, and in a training step
they cost a CPU as much as the convolutions. Compiling the whole step with XLA makes it slower there
(XLA's convolutions), so only elementwise pieces of the gradients are compiled here, as small
islands; the third operation avoids a slow kernel. Inference runs the plain operations.
"""

from collections.abc import Callable

import tensorflow as tf


@tf.function(jit_compile=True)
def _swish_gradient(inputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    gate = tf.sigmoid(inputs)
    return upstream * gate * (1 + inputs * (1 - gate))


@tf.custom_gradient
def swish(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns x * sigmoid(x)."""
    return tf.nn.silu(inputs), lambda upstream: _swish_gradient(inputs, upstream)


@tf.function(jit_compile=True)
def _multiply_add(x: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor) -> tf.Tensor:
    return x * factor + addend


def squeeze_excite(inputs: tf.Tensor, gate: Callable, weights: list[tf.Tensor]) -> tf.Tensor:
    """Returns `inputs` [B, H, W, C] times `gate(means, *weights)` of their means [B, 1, 1, C].

    The input's gradient, by way of the product and by way of the means, is one compiled pass.
    """

    @tf.custom_gradient
    def excite(inputs: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            means = tf.reduce_mean(inputs, axis=[1, 2], keepdims=True)
            tape.watch([means, *weights])
            scales = gate(means, *weights)

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            scales_gradient = tf.reduce_sum(upstream * inputs, axis=[1, 2], keepdims=True)
            means_gradient, *weight_gradients = tape.gradient(
                scales, [means, *weights], scales_gradient
            )
            pixels = tf.cast(tf.shape(inputs)[1] * tf.shape(inputs)[2], inputs.dtype)
            return [_multiply_add(upstream, scales, means_gradient / pixels), *weight_gradients]

        return inputs * scales, gradient

    return excite(inputs, *weights)


def depthwise_conv_5x5(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Returns the "same" depthwise convolution of [B, H, W, C] with a kernel [5, 5, C, 1].

    The CPU kernel for the filter's gradient is fast for filters up to 3 wide, and 3 to 9 times
    slower beyond. A 5 wide filter's gradient is therefore put together from columns 0-2 and 2-4.
    """

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        strides = [1, stride, stride, 1]
        shape = tf.shape(inputs)

        def columns(window: tf.Tensor, padding: list, upstream: tf.Tensor) -> tf.Tensor:
            rows = [_same_padding(shape[1], stride), 2]
            return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=tf.pad(window, [[0, 0], rows, padding, [0, 0]]),
                filter_sizes=[5, 3, kernel.shape[2], 1],
                out_backprop=upstream,
                strides=strides,
                padding="VALID",
            )

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            before = _same_padding(shape[2], stride)
            left = columns(inputs, [before, 0], upstream)
            right = columns(inputs[:, :, 2 - before :], [0, 2], upstream)
            inputs_gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=shape,
                filter=kernel,
                out_backprop=upstream,
                strides=strides,
                padding="SAME",
            )
            return inputs_gradient, tf.concat([left, right[:, 1:]], axis=1)

        return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME"), gradient

    return convolve(inputs, kernel)


def _same_padding(size: tf.Tensor, stride: int) -> tf.Tensor | int:
    """Returns what "same" pads before `size` pixels for 5 taps and stride 1 or 2; after them, 2."""
    return 2 if stride == 1 else 1 + size % 2
