"""Some operations in a form that suits CPUs: the same values in less time and memory.

TensorFlow runs elementwise operations one by one, each a pass over memory, and in a training step
they cost a CPU as much as the convolutions. Compiling the whole step with XLA makes it slower there
(XLA's convolutions), so only elementwise pieces are compiled here, as small islands; convolutions
have the gradients of TensorFlow's, by faster operations.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import tensorflow as tf

from efficientnet import fused_norm

_portable = contextvars.ContextVar("portable", default=False)


@contextlib.contextmanager
def portable_ops() -> Iterator[None]:
    """Models traced inside are made of plain operations, which all converters know."""
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def enabled() -> bool:
    """Returns whether to use this module; accelerators compile the plain operations well."""
    accelerators = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU")
    return not accelerators and not _portable.get()


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
def _scaled_swish(inputs: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor) -> tf.Tensor:
    scaled = tf.cast(inputs, tf.float32) * factor + addend
    return tf.cast(scaled * tf.sigmoid(scaled), inputs.dtype)


@tf.function(jit_compile=True)
def _scaled_swish_gradient(
    inputs: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor, upstream: tf.Tensor
) -> tf.Tensor:
    """With respect to what swish is taken of."""
    scaled = tf.cast(inputs, tf.float32) * factor + addend
    return tf.cast(tf.cast(upstream, tf.float32) * _swish_slope(scaled), inputs.dtype)


def scaled_swish(inputs: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor) -> tf.Tensor:
    """Returns swish of x * factor + addend, in one pass over memory.

    Args:
        inputs: x, [B, H, W, C].
        factor: float32 [C].
        addend: float32 [C].
    """

    @tf.custom_gradient
    def swish(inputs: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor):
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            scaled = _scaled_swish_gradient(inputs, factor, addend, upstream)
            axes, exact = [0, 1, 2], tf.cast(scaled, tf.float32)
            factor_gradient = tf.reduce_sum(exact * tf.cast(inputs, tf.float32), axes)
            inputs_gradient = scaled * tf.cast(factor, inputs.dtype)
            return inputs_gradient, factor_gradient, tf.reduce_sum(exact, axes)

        return _scaled_swish(inputs, factor, addend), gradient

    return swish(inputs, factor, addend)


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
        addend = beta - fused.batch_mean * factor

        def gradient(upstream: tf.Tensor, *_) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            backprop = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=_scaled_swish_gradient(inputs, factor, addend, upstream),
                x=inputs,
                scale=gamma,
                reserve_space_1=fused.reserve_space_1,
                reserve_space_2=fused.reserve_space_2,
                reserve_space_3=fused.reserve_space_3,
                epsilon=epsilon,
                is_training=True,
            )
            return backprop.x_backprop, backprop.scale_backprop, backprop.offset_backprop

        outputs = _scaled_swish(inputs, factor, addend)  # of fused.y, which is not kept
        return (outputs, fused.batch_mean, variance), gradient

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


def pointwise_conv(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the 1x1 convolution of [B, H, W, C] with a kernel [1, 1, C, D].

    Its gradients are matrix products, and faster as such.
    """

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            pixels, upstream = (tf.reshape(x, [-1, x.shape[-1]]) for x in (inputs, upstream))
            inputs_gradient = tf.matmul(upstream, kernel[0, 0], transpose_b=True)
            kernel_gradient = tf.matmul(pixels, upstream, transpose_a=True)
            return tf.reshape(inputs_gradient, tf.shape(inputs)), kernel_gradient[None, None]

        return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradient

    return convolve(inputs, kernel)


def depthwise_conv(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Returns the "same" depthwise convolution of [B, H, W, C] with a kernel [K, K, C, 1], K odd.

    The gradient of the inputs at stride 1 is a convolution, and faster as such.
    """
    strides = [1, stride, stride, 1]

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            if stride == 1:
                mirrored = tf.reverse(kernel, [0, 1])
                inputs_gradient = tf.nn.depthwise_conv2d(upstream, mirrored, strides, "SAME")
            else:
                inputs_gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                    input_sizes=tf.shape(inputs),
                    filter=kernel,
                    out_backprop=upstream,
                    strides=strides,
                    padding="SAME",
                )
            return inputs_gradient, _depthwise_kernel_gradient(inputs, upstream, kernel, stride)

        return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME"), gradient

    return convolve(inputs, kernel)


def _depthwise_kernel_gradient(
    inputs: tf.Tensor, upstream: tf.Tensor, kernel: tf.Tensor, stride: int
) -> tf.Tensor:
    """The gradient of a depthwise convolution's kernel.

    The CPU's operation is fast for kernels up to 3 wide, and 3 to 9 times slower beyond. A 5 wide
    one's gradient is therefore put together from columns 0-2 and 2-4. Height and width must be
    known when the graph is made; else the gradient is the slow one.
    """
    size, _, channels, _ = kernel.shape
    strides = [1, stride, stride, 1]
    if size != 5 or None in inputs.shape[1:3]:
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=inputs,
            filter_sizes=kernel.shape,
            out_backprop=upstream,
            strides=strides,
            padding="SAME",
        )
    above, before = (_same_padding(side, stride) for side in inputs.shape[1:3])

    def columns(inputs: tf.Tensor, padding: list[int]) -> tf.Tensor:
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=inputs,
            filter_sizes=[5, 3, channels, 1],
            out_backprop=upstream,
            strides=strides,
            padding="EXPLICIT",
            explicit_paddings=[0, 0, above, 2, *padding, 0, 0],
        )

    left, right = columns(inputs, [before, 0]), columns(inputs[:, :, 2 - before :], [0, 2])
    return tf.concat([left, right[:, 1:]], axis=1)


def _same_padding(size: int, stride: int) -> int:
    """Returns what "same" pads before `size` pixels for 5 taps and stride 1 or 2; after them, 2."""
    return 2 if stride == 1 else 1 + size % 2
