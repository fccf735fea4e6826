"""Synchronized batch normalization: training statistics over the examples of several replicas.

Using the inference operation with all-reduced moments would lose the gradient through the moments,
so the gradient is explicit. With N values per channel in the group, x' the normalized
input and g the gradient of the output,

    dx = gamma / sqrt(variance + epsilon) * (g - (sum g + x' * sum(g * x')) / N)

with sums over the whole group. The fused kernels compute each replica's own part.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from efficientnet import fused_norm

REPLICAS = "none, all, published or a number of replicas above 0"
_NAMED = ("none", "all", "published")


def group_size(replicas: str, count: int) -> int:
    """Returns the number of replicas that share statistics.

    Args:
        replicas: "none"; "all"; a group size, capped at `count`; or "published", which is
            max(8, count / 8) for more than 8 replicas and 1 otherwise (public code).
        count: number of replicas.

    Raises:
        ValueError: the value is invalid, or groups would differ in size.
    """
    if replicas in ("none", "all"):
        return 1 if replicas == "none" else count
    if replicas == "published":
        size = 1 if count <= 8 else max(8, count // 8)
    else:
        size = min(check_replicas(replicas) or 1, count)
    if count % size:
        raise ValueError(
            f"batch_norm_replicas = {replicas} does not divide the {count} replicas into groups."
        )
    return size


def check_replicas(replicas: str) -> int | None:
    """Returns the group size, or None for a name; raises a ValueError if it is neither."""
    if replicas in _NAMED:
        return None
    if not replicas.isdecimal() or int(replicas) < 1:
        raise ValueError(f"batch_norm_replicas must be {REPLICAS}; got {replicas!r}.")
    return int(replicas)


def batch_norm(
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    shift: tf.Tensor,
    *,
    size: int,
    epsilon: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalizes with the moments of a group of replicas; call it in a replica's context.

    Args:
        inputs: [B, H, W, C] of this replica; the same shape on every replica.
        gamma: float32 [C].
        beta: float32 [C].
        shift: float32 [C], near the mean and equal on all replicas of the group. The variance is
            computed from distances to it, which limits cancellation.
        size: replicas per group, a divisor of their number.
        epsilon: added to the variance.

    Returns:
        Outputs with the shape and dtype of the inputs; mean and population variance, float32 [C].
    """

    @tf.custom_gradient
    def normalize(
        inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, ...], Callable[..., Any]]:
        mean, variance = _moments(inputs, gamma, beta, shift, size, epsilon)
        outputs = fused_norm.by_moments(inputs, gamma, beta, mean, variance, epsilon)

        def gradient(upstream: tf.Tensor, *_: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            frozen = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream,
                x=inputs,
                scale=gamma,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=[],
                epsilon=epsilon,
                is_training=False,
            )
            dgamma, dbeta = frozen.scale_backprop, frozen.offset_backprop
            group_dgamma, group_dbeta = tf.unstack(_group_sum(tf.stack([dgamma, dbeta]), size))
            count = size * fused_norm.values_per_channel(inputs)
            inverse = tf.math.rsqrt(variance + epsilon)
            slope = gamma * inverse * inverse * group_dgamma / count
            offset = gamma * inverse * group_dbeta / count - slope * mean
            correction = slope * tf.cast(inputs, tf.float32) + offset
            dx = tf.cast(frozen.x_backprop, tf.float32) - correction
            return tf.cast(dx, inputs.dtype), dgamma, dbeta

        return (outputs, mean, variance), gradient

    return normalize(inputs, gamma, beta)


def _moments(
    inputs: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    shift: tf.Tensor,
    size: int,
    epsilon: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns mean and population variance of the group's inputs, float32 [C]."""
    local, variance = fused_norm.by_batch(inputs, gamma, beta, epsilon)
    distance = local.batch_mean - shift
    sums = _group_sum(tf.stack([distance, variance + distance**2]), size)
    distance, square = tf.unstack(sums / size)
    return shift + distance, tf.maximum(square - distance**2, 0.0)


def _group_sum(value: tf.Tensor, size: int) -> tf.Tensor:
    """Sums [2, C] over the replicas of this replica's group."""
    context = tf.distribute.get_replica_context()
    groups = context.num_replicas_in_sync // size
    if groups == 1:
        return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
    # Strategies only reduce over all replicas, so each group gets its own row.
    group = context.replica_id_in_sync_group // size
    rows = tf.one_hot(group, groups)[:, tf.newaxis, tf.newaxis] * value
    return tf.gather(context.all_reduce(tf.distribute.ReduceOp.SUM, rows), group)
