"""The layers of EfficientNet: normalization of pixels, swish, batch normalization, MBConv."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from efficientnet import cpu_ops, fused_norm, synced_norm
from efficientnet.noise import PACKAGE, StochasticDepth

BATCH_NORM_EPSILON = 1e-3  # published code


@keras.saving.register_keras_serializable(PACKAGE)
def swish(inputs: tf.Tensor) -> tf.Tensor:
    """Returns x * sigmoid(x), elementwise; the gradient keeps only x."""
    return cpu_ops.swish(inputs) if cpu_ops.enabled() else tf.nn.silu(inputs)


ACTIVATIONS = {"linear": tf.identity, "swish": swish, "relu6": keras.activations.relu6}


@keras.saving.register_keras_serializable(PACKAGE)
class Conv(keras.layers.Conv2D):
    """A "same" convolution, initialized with std sqrt(2 / (k * k * filters)).

    Args:
        filters: of the output.
        kernel_size: side of the kernel.
        strides: of both directions.
        use_bias: whether to add one.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 1,
        strides: int = 1,
        *,
        use_bias: bool = False,
        **kwargs,
    ):
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding="same",
            use_bias=use_bias,
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            **kwargs,
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        plain = self.kernel_size != (1, 1) or self.strides != (1, 1) or self.use_bias
        if plain or not cpu_ops.enabled():
            return super().call(inputs)
        return cpu_ops.pointwise_conv(inputs, tf.convert_to_tensor(self.kernel))

    def get_config(self) -> dict:
        sizes = {"kernel_size": self.kernel_size[0], "strides": self.strides[0]}
        own = {"filters": self.filters, "use_bias": self.use_bias}
        return {**keras.layers.Layer.get_config(self), **sizes, **own}


@keras.saving.register_keras_serializable(PACKAGE)
class DepthwiseConv(keras.layers.DepthwiseConv2D):
    """A "same" depthwise convolution without bias, initialized with std sqrt(2 / (k * k)).

    Args:
        kernel_size: side of the kernel.
        strides: of both directions.
    """

    def __init__(self, kernel_size: int, strides: int, **kwargs):
        super().__init__(
            kernel_size,
            strides,
            padding="same",
            use_bias=False,
            depthwise_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            **kwargs,
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if not cpu_ops.enabled():
            return super().call(inputs)
        return cpu_ops.depthwise_conv(inputs, tf.convert_to_tensor(self.kernel), self.strides[0])

    def get_config(self) -> dict:
        config = keras.layers.Layer.get_config(self)
        return {**config, "kernel_size": self.kernel_size[0], "strides": self.strides[0]}


@keras.saving.register_keras_serializable(PACKAGE)
class Normalize(keras.layers.Layer):
    """Pixels 0..255 of any real dtype, [B, H, W, 3] -> float32 (x - mean) / std.

    Args:
        mean: per channel, in units of 0..255.
        std: per channel, in units of 0..255.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return (tf.cast(inputs, tf.float32) - self.mean) / self.std

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "mean": self.mean, "std": self.std}


@keras.saving.register_keras_serializable(PACKAGE)
class BatchNorm(keras.layers.Layer):
    """Batch normalization over [B, H, W] by TensorFlow's fused kernel, and an activation.

    Statistics are float32.

    The moving variance follows the population variance of the batch, as the published TPU batch
    norm does: the fused kernel's Bessel correction n / (n - 1) is undone. A frozen layer
    (`trainable=False`) is in inference mode. Under tf.distribute every replica has moving
    statistics of its own; reading them outside the replicas (saving) gives the mean.

    Args:
        momentum: of the moving statistics, `new = momentum * old + (1 - momentum) * batch`.
        replicas: whose examples the statistics in training are of: "none" (the replica's own),
            "all", the number of replicas in a group, or "published" (`synced_norm.group_size`).
        activation: of the normalized values, a name in `ACTIVATIONS`.
    """

    def __init__(
        self, momentum: float = 0.99, replicas: str = "none", activation: str = "linear", **kwargs
    ):
        super().__init__(**kwargs)
        synced_norm.check_replicas(replicas)
        self.momentum = momentum
        self.replicas = replicas
        self.activation = activation

    def build(self, input_shape):
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
        """Replicas that share statistics; asks the replica's context only where several may."""
        if self.replicas == "none":
            return 1
        count = tf.distribute.get_replica_context().num_replicas_in_sync
        return synced_norm.group_size(self.replicas, count)

    def _move(self, average: keras.Variable, value: tf.Tensor) -> None:
        average.assign(average * self.momentum + value * (1 - self.momentum))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        names = ("momentum", "replicas", "activation")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _statistic(initializer: str, shape: tuple[int], name: str) -> keras.Variable:
    return keras.Variable(
        initializer,
        shape,
        "float32",
        trainable=False,
        autocast=False,
        aggregation="mean",
        synchronization="on_read",
        name=name,
    )


@keras.saving.register_keras_serializable(PACKAGE)
class SqueezeExcite(keras.layers.Layer):
    """Scales the channels of [B, H, W, C] by a gate computed from their means (Hu et al. 2018).

    Args:
        filters: width of the bottleneck.
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        common = {"dtype": self.dtype_policy, "trainable": self.trainable, "use_bias": True}
        self.reduce = Conv(self.filters, name="reduce", **common)
        self.expand = Conv(input_shape[-1], name="expand", **common)
        self.reduce.build((None, 1, 1, input_shape[-1]))
        self.expand.build((None, 1, 1, self.filters))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        parts = (self.reduce.kernel, self.reduce.bias, self.expand.kernel, self.expand.bias)
        weights = [tf.convert_to_tensor(part) for part in parts]
        if cpu_ops.enabled():
            return cpu_ops.squeeze_excite(inputs, _gate, weights)
        means = tf.reduce_mean(inputs, axis=[1, 2], keepdims=True)
        return inputs * _gate(means, *weights)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "filters": self.filters}


def _gate(means, reduce_kernel, reduce_bias, expand_kernel, expand_bias) -> tf.Tensor:
    reduced = tf.nn.silu(means[:, 0, 0] @ reduce_kernel[0, 0] + reduce_bias)
    return tf.sigmoid(reduced @ expand_kernel[0, 0] + expand_bias)[:, None, None]


@keras.saving.register_keras_serializable(PACKAGE)
class MBConv(keras.layers.Layer):
    """Inverted residual block: expand, depthwise, squeeze-and-excite, project (, drop, add).

    [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), filters]. The input is added where it
    has the output's shape, and only there the branch is dropped.

    Args:
        filters: output filters.
        kernel_size: of the depthwise convolution.
        stride: of the depthwise convolution.
        expansion: filters of the depthwise convolution per input filter; with 1 nothing expands.
        squeeze_filters: width of the squeeze-and-excitation bottleneck; 0: none.
        drop_rate: of stochastic depth.
        activation: a name in `ACTIVATIONS`.
        batch_norm_momentum: of the moving statistics.
        batch_norm_replicas: whose examples the statistics are of, as for `BatchNorm`.
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
        **kwargs,
    ):
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

    def build(self, input_shape):
        self.has_skip = self.stride == 1 and input_shape[-1] == self.filters
        inner = input_shape[-1] * self.expansion
        expanded = (*input_shape[:-1], inner)
        if self.expansion != 1:
            self.expand_conv = self._part(Conv, input_shape, "expand_conv", inner)
            self.expand_bn = self._batch_norm(inner, "expand_bn", self.activation)
        self.depthwise_conv = self._part(
            DepthwiseConv, expanded, "depthwise_conv", self.kernel_size, self.stride
        )
        self.depthwise_bn = self._batch_norm(inner, "depthwise_bn", self.activation)
        if self.squeeze_filters:
            self.se = self._part(SqueezeExcite, expanded, "se", self.squeeze_filters)
        self.project_conv = self._part(Conv, expanded, "project_conv", self.filters)
        self.project_bn = self._batch_norm(self.filters, "project_bn", "linear")
        if self.has_skip:  # the noise's masks depend on the layer's name
            self.drop = self._part(
                StochasticDepth, input_shape, f"{self.name}_drop", self.drop_rate
            )

    def _part(self, layer, input_shape, name: str, *args) -> keras.layers.Layer:
        part = layer(*args, name=name, dtype=self.dtype_policy, trainable=self.trainable)
        part.build(input_shape)
        return part

    def batch_norms(self) -> list[BatchNorm]:
        """The batch normalizations of a built block."""
        names = ("expand_bn", "depthwise_bn", "project_bn")
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def _batch_norm(self, filters: int, name: str, activation: str) -> BatchNorm:
        options = (self.batch_norm_momentum, self.batch_norm_replicas, activation)
        return self._part(BatchNorm, (None, None, None, filters), name, *options)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        x = inputs
        if self.expansion != 1:
            x = self.expand_bn(self.expand_conv(x), training=training)
        x = self.depthwise_bn(self.depthwise_conv(x), training=training)
        if self.squeeze_filters:
            x = self.se(x)
        x = self.project_bn(self.project_conv(x), training=training)
        return inputs + self.drop(x, training=training) if self.has_skip else x

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        sides = [None if side is None else -(-side // self.stride) for side in sides]
        return (batch, *sides, self.filters)

    def get_config(self) -> dict:
        names = ("filters", "kernel_size", "stride", "expansion", "squeeze_filters", "drop_rate")
        names += ("activation", "batch_norm_momentum", "batch_norm_replicas")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def freeze_batch_norm(model: keras.Model) -> None:
    """Keeps all batch normalization of `build_model` in inference mode, also in training mode."""
    for layer in model.layers:
        norms = layer.batch_norms() if isinstance(layer, MBConv) else [layer]
        for norm in norms:
            if isinstance(norm, BatchNorm):
                norm.trainable = False
