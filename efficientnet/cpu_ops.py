"""Operations optimized for CPUs: the same values in less time and memory.

TensorFlow runs elementwise operations one by one, each as a pass over memory. On a CPU, they take
as much of a training step as the convolutions. Compiling the whole step with XLA would be slower,
because of XLA's convolutions. Therefore only elementwise operations are compiled here, as small
islands, and faster operations compute the same gradients of convolutions.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from efficientnet import fused_norm

_portable = contextvars.ContextVar("portable", default=False)
Gradients = Callable[..., Any]


@contextlib.contextmanager
def portable_ops() -> Iterator[None]:
    """Context in which models are traced to plain operations, which all converters support."""
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def enabled() -> bool:
    """Returns True on CPUs, outside `portable_ops`; accelerators run the plain operations well."""
    accelerators = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU")
    return not accelerators and not _portable.get()


def _swish_slope(inputs: tf.Tensor) -> tf.Tensor:
    gate = tf.sigmoid(inputs)
    return gate * (1 + inputs * (1 - gate))


@tf.function(autograph=False, jit_compile=True)
def _swish_gradient(inputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    return upstream * _swish_slope(inputs)


@tf.custom_gradient
def swish(inputs: tf.Tensor) -> tuple[tf.Tensor, Gradients]:
    """Returns x * sigmoid(x), elementwise, of the input's shape and dtype."""
    return tf.nn.silu(inputs), lambda upstream: _swish_gradient(inputs, upstream)


@tf.function(autograph=False, jit_compile=True)
def _scaled_swish(inputs: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor) -> tf.Tensor:
    scaled = tf.cast(inputs, tf.float32) * factor + addend
    return tf.cast(scaled * tf.sigmoid(scaled), inputs.dtype)


@tf.function(autograph=False, jit_compile=True)
def _scaled_swish_gradient(
    inputs: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor, upstream: tf.Tensor
) -> tf.Tensor:
    """Returns the gradient with respect to inputs * factor + addend."""
    scaled = tf.cast(inputs, tf.float32) * factor + addend
    return tf.cast(tf.cast(upstream, tf.float32) * _swish_slope(scaled), inputs.dtype)


def scaled_swish(inputs: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor) -> tf.Tensor:
    """Returns swish(inputs * factor + addend) in one pass over memory.

    Args:
        inputs: [B, H, W, C].
        factor: float32 [C].
        addend: float32 [C].
    """

    @tf.custom_gradient
    def swish(
        inputs: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor
    ) -> tuple[tf.Tensor, Gradients]:
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
    """Applies batch normalization in training mode, and then swish.

    Stores only the inputs for the gradient. The gradient of swish recomputes the normalized values
    in the same pass over memory, which saves a fifth of the memory of a training step.

    Args:
        inputs: [B, H, W, C].
        gamma: float32 [C].
        beta: float32 [C].
        epsilon: added to the variance.

    Returns:
        Outputs with the shape and dtype of the inputs; mean and population variance, float32 [C].
    """

    @tf.custom_gradient
    def normalize(
        inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], Gradients]:
        fused, variance = fused_norm.by_batch(inputs, gamma, beta, epsilon)
        factor = gamma * tf.math.rsqrt(variance + epsilon)
        addend = beta - fused.batch_mean * factor

        def gradient(upstream: tf.Tensor, *_: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
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

        outputs = _scaled_swish(inputs, factor, addend)  # swish of fused.y, which is not kept
        return (outputs, fused.batch_mean, variance), gradient

    return normalize(inputs, gamma, beta)


@tf.function(autograph=False, jit_compile=True)
def _multiply_add(x: tf.Tensor, factor: tf.Tensor, addend: tf.Tensor) -> tf.Tensor:
    return x * factor + addend


def squeeze_excite(
    inputs: tf.Tensor, gate: Callable[..., tf.Tensor], weights: list[tf.Tensor]
) -> tf.Tensor:
    """Scales `inputs` [B, H, W, C] by `gate(means, *weights)` of their means [B, 1, 1, C].

    One compiled pass computes the gradient of the inputs through the product and the means.
    """

    @tf.custom_gradient
    def excite(inputs: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, Gradients]:
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
    """Returns the 1 x 1 convolution of [B, H, W, C] with a kernel [1, 1, C, D].

    The gradients are matrix products, which are faster.
    """

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradients]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            pixels, upstream = (tf.reshape(x, [-1, x.shape[-1]]) for x in (inputs, upstream))
            inputs_gradient = tf.matmul(upstream, kernel[0, 0], transpose_b=True)
            kernel_gradient = tf.matmul(pixels, upstream, transpose_a=True)
            return tf.reshape(inputs_gradient, tf.shape(inputs)), kernel_gradient[None, None]

        return tf.nn.conv2d(inputs, kernel, 1, "SAME"), gradient

    return convolve(inputs, kernel)


def depthwise_conv(inputs: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Returns the "same" depthwise convolution of [B, H, W, C] with a kernel [K, K, C, 1], K odd.

    At stride 1 the gradient of the inputs is a convolution, which is faster.
    """
    strides = [1, stride, stride, 1]

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradients]:
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
    """Returns the gradient of a depthwise convolution's kernel.

    The CPU's operation is fast for kernels of width up to 3, and 3 to 9 times slower for wider
    ones. The gradient of width 5 is therefore combined from columns 0-2 and 2-4, if height and
    width are known when the graph is traced.
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
    """Returns the "same" padding before `size` pixels for 5 taps, stride 1 or 2; 2 follow them."""
    return 2 if stride == 1 else 1 + size % 2
