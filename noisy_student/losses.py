"""The loss of one training step (paper, section 2; constants of the published training code)."""

from collections.abc import Sequence

import tensorflow as tf


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Cross entropy of each example, computed in float32 whatever the model computes in.

    Args:
        logits: float [B, C].
        targets: float [B, C], each row a distribution.

    Returns:
        float32 [B], in nats.
    """
    logits = tf.cast(logits, tf.float32)
    return tf.nn.softmax_cross_entropy_with_logits(tf.cast(targets, tf.float32), logits)


def smooth(labels: tf.Tensor, num_classes: int, smoothing: float) -> tf.Tensor:
    """One-hot targets with `smoothing` of the mass spread evenly over all classes.

    Args:
        labels: int [B], 0 .. num_classes - 1.
        num_classes: C.
        smoothing: 0..1; the paper's code uses 0.1.

    Returns:
        float32 [B, C].
    """
    return tf.one_hot(labels, num_classes) * (1.0 - smoothing) + smoothing / num_classes


def sharpen(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """`p^(1/T) / sum(p^(1/T))`: T = 1 only renormalizes, T < 1 sharpens, T > 1 flattens.

    Args:
        probabilities: float [B, C], non-negative, each row with a positive entry.
        temperature: T > 0.

    Returns:
        float32 [B, C].

    Raises:
        ValueError: the temperature is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature = {temperature}; it must be above 0")
    probabilities = tf.cast(probabilities, tf.float32)
    # Relative to the largest, so that no row underflows to zero at a small T.
    largest = tf.reduce_max(probabilities, axis=-1, keepdims=True)
    powers = (probabilities / largest) ** (1.0 / temperature)
    return powers / tf.reduce_sum(powers, axis=-1, keepdims=True)


def unlabeled_targets(
    probabilities: tf.Tensor, *, hard: bool, label_smoothing: float, temperature: float = 1.0
) -> tf.Tensor:
    """What the student learns from a teacher's distribution; no gradient flows into it.

    Hard pseudo labels are smoothed as true labels are, soft ones are not (published code).

    Args:
        probabilities: float [U, C], the teacher's.
        hard: one-hot argmax in place of the distribution.
        label_smoothing: 0..1, for hard labels only.
        temperature: T of `sharpen`, for soft labels only.

    Returns:
        float32 [U, C].
    """
    if hard:
        labels = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        targets = smooth(labels, probabilities.shape[-1], label_smoothing)
    else:
        targets = sharpen(probabilities, temperature)
    return tf.stop_gradient(targets)


def l2(variables: Sequence) -> tf.Tensor:
    """`sum(v^2) / 2` over all elements of all variables: float32 scalar."""
    return tf.add_n(
        [tf.constant(0.0)] + [tf.nn.l2_loss(tf.convert_to_tensor(v)) for v in variables]
    )


def student_loss(
    labeled_logits: tf.Tensor,
    labels: tf.Tensor,
    unlabeled_logits: tf.Tensor | None = None,
    targets: tf.Tensor | None = None,
    *,
    ratio: float,
    labeled_weight: float = 1.0,
    label_smoothing: float,
    decayed_variables: Sequence,
    weight_decay: float,
    global_labeled: int,
    global_unlabeled: int = 0,
    num_replicas: int = 1,
    labeled_mask: tf.Tensor | None = None,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """One replica's share of the loss; the sum over the replicas is the loss of the global batch.

    Args:
        labeled_logits: float [b, C], this replica's.
        labels: int [b].
        unlabeled_logits: float [u, C], this replica's; None: supervised training.
        targets: float [u, C] of `unlabeled_targets`; None with unlabeled_logits.
        ratio: weight of the unlabeled mean; the paper has global_unlabeled / global_labeled.
        labeled_weight: of the labeled mean; the paper has 1, and 0 learns from pseudo labels alone.
        label_smoothing: 0..1, of the true labels.
        decayed_variables: all trainable variables but batch norm's gamma and beta.
        weight_decay: the paper's code: 1e-5, SVHN 1e-4.
        global_labeled: labeled images in the batch of all replicas.
        global_unlabeled: unlabeled images in the batch of all replicas.
        num_replicas: parts the batch is split into: replicas times accumulated steps.
        labeled_mask: float32 [b], 1 for the images that count and 0 for repeated ones; None: all.

    Returns:
        (total, parts): float32 scalars; parts are "loss", "labeled_loss" and "unlabeled_loss"
        (without their weights) and "l2_loss" (with its weight), each a share that sums over the
        replicas.

    Raises:
        ValueError: only one of unlabeled_logits and targets is given.
    """
    if (unlabeled_logits is None) != (targets is None):
        raise ValueError(
            "unlabeled_logits and targets: give both (student) or neither (supervised)"
        )
    smoothed = smooth(labels, labeled_logits.shape[-1], label_smoothing)
    each = cross_entropy(labeled_logits, smoothed)
    each = each if labeled_mask is None else each * labeled_mask
    labeled = tf.reduce_sum(each) / global_labeled
    if unlabeled_logits is None:
        unlabeled = tf.constant(0.0)
    else:
        unlabeled = tf.reduce_sum(cross_entropy(unlabeled_logits, targets)) / global_unlabeled
    decay = weight_decay * l2(decayed_variables) / num_replicas

    total = labeled_weight * labeled + ratio * unlabeled + decay

    parts = {"loss": total, "labeled_loss": labeled, "unlabeled_loss": unlabeled, "l2_loss": decay}
    return total, parts


def watched(
    logits: tf.Tensor, labels: tf.Tensor, global_size: int, mask: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Accuracy and confidence in training, noise and all; no part of the loss.

    Args:
        logits: float [b, C], this replica's.
        labels: int [b], true ones or the teacher's choice.
        global_size: such images in the batch of all replicas.
        mask: float32 [b], 1 for the images that count; None: all.

    Returns:
        Shares of the fraction of images whose largest logit is their label's, and of the mean of
        the largest probability: float32 scalars that sum over the replicas.
    """
    logits = tf.cast(logits, tf.float32)
    right = tf.argmax(logits, axis=-1, output_type=tf.int32) == tf.cast(labels, tf.int32)
    confidence = tf.reduce_max(tf.nn.softmax(logits), axis=-1)
    each = tf.stack([tf.cast(right, tf.float32), confidence])
    each = each if mask is None else each * mask
    accuracy, confidence = tf.unstack(tf.reduce_sum(each, axis=1) / global_size)
    return accuracy, confidence
