"""TensorFlow's fused batch normalization, with the variance of the published networks."""

from typing import Any

import tensorflow as tf


def by_batch(
    inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tuple[Any, tf.Tensor]:
    """Normalizes with the moments of the batch.

    Args:
        inputs: [B, H, W, C].
        gamma: float32 [C].
        beta: float32 [C].
        epsilon: added to the variance.

    Returns:
        Outputs of `tf.raw_ops.FusedBatchNormV3`, whose `batch_variance` has Bessel's correction
        n / (n - 1), and the population variance without it, float32 [C].
    """
    fused = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    count = values_per_channel(inputs)
    return fused, fused.batch_variance * ((count - 1) / count)


def by_moments(
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    epsilon: float,
) -> tf.Tensor:
    """Normalizes [B, H, W, C] with given moments, float32 [C]; see `by_batch`."""
    return tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=False,
    ).y


def values_per_channel(inputs: tf.Tensor) -> tf.Tensor:
    """Returns B * H * W of [B, H, W, C] as float32."""
    return tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
