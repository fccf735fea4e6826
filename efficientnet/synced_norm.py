"""Batch normalization over the examples of several replicas, in training.

Normalizing with all-reduced moments by the inference operation alone would lose the gradient that
flows through the moments. So the gradient is written out: with N values per channel in the group,
x' the normalized input and g the gradient of the output,

    dx = gamma / sqrt(variance + epsilon) * (g - (sum g + x' * sum(g * x')) / N)

where the sums are over the whole group. The fused kernels compute what a replica can alone.
"""

from collections.abc import Callable

import tensorflow as tf

from efficientnet import fused_norm

REPLICAS = "none, all, published or a number of replicas above 0"
_NAMED = ("none", "all", "published")


def group_size(replicas: str, count: int) -> int:
    """Returns how many replicas share their statistics.

    Args:
        replicas: "none", "all", or the size of a group, which counts as "all" where there are not
            as many replicas; "published": max(8, count / 8) if there are more than 8, else 1
            (published code, which calls the replicas shards).
        count: of replicas.

    Raises:
        ValueError: it is none of these, or the groups would not be equally large.
    """
    if replicas in ("none", "all"):
        return 1 if replicas == "none" else count
    if replicas == "published":
        size = 1 if count <= 8 else max(8, count // 8)
    else:
        size = min(check_replicas(replicas), count)
    if count % size:
        raise ValueError(
            f"batch_norm_replicas = {replicas} does not divide the {count} replicas there are."
        )
    return size


def check_replicas(replicas: str) -> int | None:
    """Returns the size of a group, None where it has a name; a ValueError for anything else."""
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
        inputs: [B, H, W, C], this replica's, as large as every other's.
        gamma: float32 [C].
        beta: float32 [C].
        shift: float32 [C], near the mean and the same on all replicas of the group. Squares are
            taken of the distances from it, so that few digits cancel.
        size: replicas in a group, a divisor of their number.
        epsilon: added to the variance.

    Returns:
        outputs, like the inputs; mean and population variance, float32 [C].
    """

    @tf.custom_gradient
    def normalize(inputs, gamma, beta) -> tuple[tuple, Callable]:
        mean, variance = _moments(inputs, gamma, beta, shift, size, epsilon)
        outputs = fused_norm.by_moments(inputs, gamma, beta, mean, variance, epsilon)

        def gradient(upstream: tf.Tensor, *_) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
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


def _moments(inputs, gamma, beta, shift, size: int, epsilon: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and population variance of the group's inputs, from each replica's own."""
    local, variance = fused_norm.by_batch(inputs, gamma, beta, epsilon)
    distance = local.batch_mean - shift
    sums = _group_sum(tf.stack([distance, variance + distance**2]), size)
    distance, square = tf.unstack(sums / size)
    return shift + distance, tf.maximum(square - distance**2, 0.0)


def _group_sum(value: tf.Tensor, size: int) -> tf.Tensor:
    """The sum of [2, C] over the replicas of this one's group."""
    context = tf.distribute.get_replica_context()
    groups = context.num_replicas_in_sync // size
    if groups == 1:
        return context.all_reduce(tf.distribute.ReduceOp.SUM, value)
    # Strategies reduce over all replicas only: every group has a row of its own.
    group = context.replica_id_in_sync_group // size
    rows = tf.one_hot(group, groups)[:, tf.newaxis, tf.newaxis] * value
    return tf.gather(context.all_reduce(tf.distribute.ReduceOp.SUM, rows), group)
