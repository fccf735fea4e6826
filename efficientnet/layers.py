"""The layers of EfficientNet: pixel normalization, swish, batch normalization, MBConv."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from efficientnet import cpu_ops, fused_norm, synced_norm
from efficientnet.noise import PACKAGE, Shape, StochasticDepth

BATCH_NORM_EPSILON = 1e-3  # public code


@keras.saving.register_keras_serializable(PACKAGE)
def swish(inputs: tf.Tensor) -> tf.Tensor:
    """Returns x * sigmoid(x), elementwise, of the input's shape and dtype."""
    return cpu_ops.swish(inputs) if cpu_ops.enabled() else tf.nn.silu(inputs)


ACTIVATIONS = {"linear": tf.identity, "swish": swish, "relu6": keras.activations.relu6}


def _fan_out() -> keras.initializers.Initializer:
    """Returns a new initializer with std sqrt(2 / fan_out) (public code)."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


@keras.saving.register_keras_serializable(PACKAGE)
class Conv(keras.layers.Conv2D):
    """Convolution with "same" padding, initialized with std sqrt(2 / (kernel_size**2 * filters)).

    Args:
        filters: number of output filters.
        kernel_size: side of the kernel.
        strides: stride in both directions.
        use_bias: adds a bias.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 1,
        strides: int = 1,
        *,
        use_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs |= {"padding": "same", "use_bias": use_bias, "kernel_initializer": _fan_out()}
        super().__init__(filters, kernel_size, strides, **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        plain = self.kernel_size != (1, 1) or self.strides != (1, 1) or self.use_bias
        if plain or not cpu_ops.enabled():
            return super().call(inputs)
        return cpu_ops.pointwise_conv(inputs, tf.convert_to_tensor(self.kernel))

    def get_config(self) -> dict[str, Any]:
        sizes = {"kernel_size": self.kernel_size[0], "strides": self.strides[0]}
        own = {"filters": self.filters, "use_bias": self.use_bias}
        return {**keras.layers.Layer.get_config(self), **sizes, **own}


@keras.saving.register_keras_serializable(PACKAGE)
class DepthwiseConv(keras.layers.DepthwiseConv2D):
    """Depthwise convolution with "same" padding and no bias, std sqrt(2) / kernel_size at first.

    Args:
        kernel_size: side of the kernel.
        strides: stride in both directions.
    """

    def __init__(self, kernel_size: int, strides: int, **kwargs: Any) -> None:
        kwargs |= {"padding": "same", "use_bias": False, "depthwise_initializer": _fan_out()}
        super().__init__(kernel_size, strides, **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if not cpu_ops.enabled():
            return super().call(inputs)
        return cpu_ops.depthwise_conv(inputs, tf.convert_to_tensor(self.kernel), self.strides[0])

    def get_config(self) -> dict[str, Any]:
        config = keras.layers.Layer.get_config(self)
        return {**config, "kernel_size": self.kernel_size[0], "strides": self.strides[0]}


@keras.saving.register_keras_serializable(PACKAGE)
class Normalize(keras.layers.Layer):
    """Normalizes pixels: [B, H, W, 3] in 0..255 of any real dtype -> float32.

    Args:
        mean: mean per channel, in units of 0..255.
        std: standard deviation per channel, in units of 0..255.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return (tf.cast(inputs, tf.float32) - self.mean) / self.std

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "std": self.std}


@keras.saving.register_keras_serializable(PACKAGE)
class BatchNorm(keras.layers.Layer):
    """Batch normalization over [B, H, W] with TensorFlow's fused kernel, and an activation.

    Statistics are float32. The moving variance averages the population variance of the batch, as in
    the public TPU batch norm: the Bessel correction n / (n - 1) of the fused kernel is undone. A
    frozen layer (`trainable=False`) is in inference mode. Under tf.distribute, every replica has
    its own moving statistics; reading them outside of replicas, as in saving, returns their mean.

    Args:
        momentum: momentum of the moving statistics, `momentum * old + (1 - momentum) * batch`.
        replicas: replicas that share training statistics: "none" (each has its own), "all", the
            number of replicas in a group, or "published" (see `synced_norm.group_size`).
        activation: applied to the normalized values, a name in `ACTIVATIONS`.
    """

    def __init__(
        self,
        momentum: float = 0.99,
        replicas: str = "none",
        activation: str = "linear",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        synced_norm.check_replicas(replicas)
        self.momentum = momentum
        self.replicas = replicas
        self.activation = activation

    def build(self, input_shape: Shape) -> None:
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape, "ones", name="gamma", autocast=False)
        self.beta = self.add_weight(shape, "zeros", name="beta", autocast=False)
        self.moving_mean = _statistic("zeros", shape, "moving_mean")
        self.moving_variance = _statistic("ones", shape, "moving_variance")

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        activate = ACTIVATIONS[self.activation]
        gamma, beta = map(tf.convert_to_tensor, (self.gamma, self.beta))
        if not (training and self.trainable):
            mean, variance = map(tf.convert_to_tensor, (self.moving_mean, self.moving_variance))
            if self.activation == "swish" and cpu_ops.enabled():
                factor = gamma * tf.math.rsqrt(variance + BATCH_NORM_EPSILON)
                return cpu_ops.scaled_swish(inputs, factor, beta - mean * factor)
            normalized = fused_norm.by_moments(
                inputs, gamma, beta, mean, variance, BATCH_NORM_EPSILON
            )
            return activate(normalized)
        if (size := self._group_size()) > 1:
            shift = tf.convert_to_tensor(self.moving_mean)
            normalized, mean, variance = synced_norm.batch_norm(
                inputs, gamma, beta, shift, size=size, epsilon=BATCH_NORM_EPSILON
            )
            outputs = activate(normalized)
        elif self.activation == "swish" and cpu_ops.enabled():
            outputs, mean, variance = cpu_ops.batch_norm_swish(
                inputs, gamma, beta, BATCH_NORM_EPSILON
            )
        else:
            fused, variance = fused_norm.by_batch(inputs, gamma, beta, BATCH_NORM_EPSILON)
            outputs, mean = activate(fused.y), fused.batch_mean
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return outputs

    def _group_size(self) -> int:
        """Returns the number of replicas that share statistics."""
        if self.replicas == "none":
            return 1
        count = tf.distribute.get_replica_context().num_replicas_in_sync
        return synced_norm.group_size(self.replicas, count)

    def _move(self, average: keras.Variable, value: tf.Tensor) -> None:
        average.assign(average * self.momentum + value * (1 - self.momentum))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        names = ("momentum", "replicas", "activation")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _statistic(initializer: str, shape: Shape, name: str) -> keras.Variable:
    distributed = {"aggregation": "mean", "synchronization": "on_read"}
    options = {"trainable": False, "autocast": False, "name": name, **distributed}
    return keras.Variable(initializer, shape, "float32", **options)


@keras.saving.register_keras_serializable(PACKAGE)
class SqueezeExcite(keras.layers.Layer):
    """Squeeze-and-excitation: scales channels by a gate of their means (Hu et al., 2018).

    Args:
        filters: width of the bottleneck.
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape: Shape) -> None:
        common = {"dtype": self.dtype_policy, "trainable": self.trainable, "use_bias": True}
        self.reduce = Conv(self.filters, name="reduce", **common)
        self.expand = Conv(input_shape[-1], name="expand", **common)
        self.reduce.build((None, 1, 1, input_shape[-1]))
        self.expand.build((None, 1, 1, self.filters))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        convs = (self.reduce, self.expand)
        weights = [tf.convert_to_tensor(w) for conv in convs for w in (conv.kernel, conv.bias)]
        if cpu_ops.enabled():
            return cpu_ops.squeeze_excite(inputs, excitation, weights)
        means = tf.reduce_mean(inputs, axis=[1, 2], keepdims=True)
        return inputs * excitation(means, *weights)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


def excitation(
    means: tf.Tensor,
    reduce_kernel: tf.Tensor,
    reduce_bias: tf.Tensor,
    expand_kernel: tf.Tensor,
    expand_bias: tf.Tensor,
) -> tf.Tensor:
    """Returns the channel factors [B, 1, 1, C] for the channel means [B, 1, 1, C]."""
    reduced = tf.nn.silu(means[:, 0, 0] @ reduce_kernel[0, 0] + reduce_bias)
    return tf.sigmoid(reduced @ expand_kernel[0, 0] + expand_bias)[:, None, None]


@keras.saving.register_keras_serializable(PACKAGE)
class MBConv(keras.layers.Layer):
    """Inverted residual block: expand, depthwise, squeeze-and-excite, project (, drop, add).

    [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), filters]. If the input has the output's
    shape, it is added, and stochastic depth may drop the branch.

    Args:
        filters: number of output filters.
        kernel_size: side of the depthwise kernel.
        stride: stride of the depthwise convolution.
        expansion: depthwise filters per input filter; 1 omits the expansion.
        squeeze_filters: width of the squeeze-and-excitation bottleneck; 0 omits it.
        drop_rate: rate of stochastic depth.
        activation: a name in `ACTIVATIONS`.
        batch_norm_momentum: `momentum` of `BatchNorm`.
        batch_norm_replicas: `replicas` of `BatchNorm`.
    """

    def __init__(
        self,
        filters: int,
        *,
        kernel_size: int,
        stride: int,
        expansion: int,
        squeeze_filters: int,
        drop_rate: float,
        activation: str = "swish",
        batch_norm_momentum: float = 0.99,
        batch_norm_replicas: str = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.stride = stride
        self.expansion = expansion
        self.squeeze_filters = squeeze_filters
        self.drop_rate = drop_rate
        self.activation = activation
        self.batch_norm_momentum = batch_norm_momentum
        self.batch_norm_replicas = batch_norm_replicas

    def build(self, input_shape: Shape) -> None:
        self.has_skip = self.stride == 1 and input_shape[-1] == self.filters
        inner = input_shape[-1] * self.expansion
        expanded = (*input_shape[:-1], inner)
        if self.expansion != 1:
            self.expand_conv = self._sublayer(Conv, input_shape, "expand_conv", inner)
            self.expand_bn = self._batch_norm(inner, "expand_bn", self.activation)
        self.depthwise_conv = self._sublayer(
            DepthwiseConv, expanded, "depthwise_conv", self.kernel_size, self.stride
        )
        self.depthwise_bn = self._batch_norm(inner, "depthwise_bn", self.activation)
        if self.squeeze_filters:
            self.se = self._sublayer(SqueezeExcite, expanded, "se", self.squeeze_filters)
        self.project_conv = self._sublayer(Conv, expanded, "project_conv", self.filters)
        self.project_bn = self._batch_norm(self.filters, "project_bn", "linear")
        if self.has_skip:  # noise depends on the layer's name
            self.drop = self._sublayer(
                StochasticDepth, input_shape, f"{self.name}_drop", self.drop_rate
            )

    def _sublayer(
        self, layer: type[keras.layers.Layer], input_shape: Shape, name: str, *args: Any
    ) -> keras.layers.Layer:
        built = layer(*args, name=name, dtype=self.dtype_policy, trainable=self.trainable)
        built.build(input_shape)
        return built

    def batch_norms(self) -> list[BatchNorm]:
        """Returns the batch normalizations of a built block."""
        names = ("expand_bn", "depthwise_bn", "project_bn")
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def _batch_norm(self, filters: int, name: str, activation: str) -> BatchNorm:
        options = (self.batch_norm_momentum, self.batch_norm_replicas, activation)
        return self._sublayer(BatchNorm, (None, None, None, filters), name, *options)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        x = inputs
        if self.expansion != 1:
            x = self.expand_bn(self.expand_conv(x), training=training)
        x = self.depthwise_bn(self.depthwise_conv(x), training=training)
        if self.squeeze_filters:
            x = self.se(x)
        x = self.project_bn(self.project_conv(x), training=training)
        return inputs + self.drop(x, training=training) if self.has_skip else x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sides, _ = input_shape
        sides = [None if side is None else -(-side // self.stride) for side in sides]
        return (batch, *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        names = (
            *("filters", "kernel_size", "stride", "expansion", "squeeze_filters", "drop_rate"),
            *("activation", "batch_norm_momentum", "batch_norm_replicas"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
