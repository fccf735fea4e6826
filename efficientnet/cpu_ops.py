"""Some operations in a form that suits CPUs: the same values, faster or smaller gradients.

TensorFlow runs elementwise operations one by one, each a pass over memory, and in a training step
they cost a CPU as much as the convolutions. Compiling the whole step with XLA makes it slower there
(XLA's convolutions), so only elementwise pieces of the gradients are compiled here, as small
islands; the 5x5 convolution avoids a slow kernel. Inference runs the plain operations.
"""

from collections.abc import Callable

import tensorflow as tf

from efficientnet import fused_norm


def _swish_slope(inputs: tf.Tensor) -> tf.Tensor:
    gate = tf.sigmoid(inputs)
    return gate * (1 + inputs * (1 - gate))


@tf.function(jit_compile=True)
def _swish_gradient(inputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    return upstream * _swish_slope(inputs)


@tf.custom_gradient
def swish(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns x * sigmoid(x)."""
    return tf.nn.silu(inputs), lambda upstream: _swish_gradient(inputs, upstream)


@tf.function(jit_compile=True)
def _normalized_swish_gradient(
    inputs: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor, upstream: tf.Tensor
) -> tf.Tensor:
    normalized = tf.cast(inputs, tf.float32) * factor + addend
    return tf.cast(tf.cast(upstream, tf.float32) * _swish_slope(normalized), inputs.dtype)


def batch_norm_swish(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Swish of batch normalization in training: outputs, mean and population variance.

    Only the inputs are kept for the gradient, not what normalization makes of them: the pass over
    memory that the gradient of swish takes anyway computes it again. A fifth of a training step's
    memory is saved so.

    Args:
        inputs: [B, H, W, C].
        gamma: float32 [C].
        beta: float32 [C].
        epsilon: added to the variance.

    Returns:
        outputs, like the inputs; mean and variance, float32 [C].
    """

    @tf.custom_gradient
    def normalize(inputs, gamma, beta) -> tuple[tuple, Callable]:
        fused, variance = fused_norm.by_batch(inputs, gamma, beta, epsilon)
        factor = gamma * tf.math.rsqrt(variance + epsilon)

        def gradient(upstream: tf.Tensor, *_) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            addend = beta - fused.batch_mean * factor
            backprop = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=_normalized_swish_gradient(inputs, factor, addend, upstream),
                x=inputs,
                scale=gamma,
                reserve_space_1=fused.reserve_space_1,
                reserve_space_2=fused.reserve_space_2,
                reserve_space_3=fused.reserve_space_3,
                epsilon=epsilon,
                is_training=True,
            )
            return backprop.x_backprop, backprop.scale_backprop, backprop.offset_backprop

        return (tf.nn.silu(fused.y), fused.batch_mean, variance), gradient

    return normalize(inputs, gamma, beta)


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
    Height and width must be known when the graph is made; else the gradient is the slow one.
    """
    strides = [1, stride, stride, 1]
    if None in inputs.shape[1:3]:
        return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME")
    above, before = (_same_padding(size, stride) for size in inputs.shape[1:3])

    def columns(inputs: tf.Tensor, padding: list[int], upstream: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=inputs,
            filter_sizes=[5, 3, kernel.shape[2], 1],
            out_backprop=upstream,
            strides=strides,
            padding="EXPLICIT",
            explicit_paddings=[0, 0, above, 2, *padding, 0, 0],
        )

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            left = columns(inputs, [before, 0], upstream)
            right = columns(inputs[:, :, 2 - before :], [0, 2], upstream)
            inputs_gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(inputs),
                filter=kernel,
                out_backprop=upstream,
                strides=strides,
                padding="SAME",
            )
            return inputs_gradient, tf.concat([left, right[:, 1:]], axis=1)

        return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME"), gradient

    return convolve(inputs, kernel)


def _same_padding(size: int, stride: int) -> int:
    """Returns what "same" pads before `size` pixels for 5 taps and stride 1 or 2; after them, 2."""
    return 2 if stride == 1 else 1 + size % 2
