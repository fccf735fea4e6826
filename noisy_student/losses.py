"""Loss of one training step (the published training code of Xie et al., CVPR 2020)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from noisy_student.batch_layout import Share


@dataclass(frozen=True)
class LossConfig:
    """Terms of `student_loss`."""

    # Weight of the unlabeled mean; unlabeled / labeled images of a batch in the published code. In
    # the paper it is 1 (algorithm 1) or that of one mean over both (section 3.1).
    ratio: float
    label_smoothing: float  # 0..1, of true labels and hard pseudo labels; 0.1 in the paper's code
    weight_decay: float  # factor of the L2 term; 1e-5 in the paper's code, 1e-4 for SVHN
    labeled_weight: float = 1.0  # weight of the labeled mean; 1 in the paper


def cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the cross entropy of each example, computed in float32 for any input dtype.

    Args:
        logits: float [B, C].
        targets: float [B, C], each row a distribution.

    Returns:
        float32 [B], in nats.
    """
    logits = tf.cast(logits, tf.float32)
    return tf.nn.softmax_cross_entropy_with_logits(tf.cast(targets, tf.float32), logits)


def smooth(labels: tf.Tensor, num_classes: int, smoothing: float) -> tf.Tensor:
    """Returns one-hot targets with a fraction `smoothing` spread evenly over all classes.

    Args:
        labels: int [B], 0 .. num_classes - 1.
        num_classes: C.
        smoothing: 0..1; the paper's code uses 0.1.

    Returns:
        float32 [B, C].
    """
    return tf.one_hot(labels, num_classes) * (1.0 - smoothing) + smoothing / num_classes


def sharpen(probabilities: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns `p^(1/T) / sum(p^(1/T))`: T = 1 renormalizes, T < 1 sharpens, T > 1 flattens.

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
    # Divided by the largest, so that no row underflows to zero at a small T.
    largest = tf.reduce_max(probabilities, axis=-1, keepdims=True)
    powers = (probabilities / largest) ** (1.0 / temperature)
    return powers / tf.reduce_sum(powers, axis=-1, keepdims=True)


def unlabeled_targets(
    probabilities: tf.Tensor, *, hard: bool, label_smoothing: float, temperature: float = 1.0
) -> tf.Tensor:
    """Returns a student's targets from its teacher's distributions, without gradient.

    Hard pseudo labels are smoothed like true labels, soft ones are not (published code).

    Args:
        probabilities: float [U, C], the teacher's distributions.
        hard: whether to use the one-hot argmax instead of the distribution.
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


def l2(variables: Sequence[tf.Variable]) -> tf.Tensor:
    """Returns `sum(v^2) / 2` over all elements of all variables: float32 scalar."""
    return tf.add_n(
        [tf.constant(0.0)] + [tf.nn.l2_loss(tf.convert_to_tensor(v)) for v in variables]
    )


def student_loss(
    labeled_logits: tf.Tensor,
    labels: tf.Tensor,
    unlabeled_logits: tf.Tensor | None,
    targets: tf.Tensor | None,
    *,
    decayed_variables: Sequence[tf.Variable],
    config: LossConfig,
    share: Share,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Returns one replica's share of the loss; shares sum to the loss of the whole update.

    Args:
        labeled_logits: float [b, C], this replica's.
        labels: int [b], 0 .. C - 1.
        unlabeled_logits: float [u, C], this replica's; None: supervised training.
        targets: float [u, C] from `unlabeled_targets`; None with unlabeled_logits.
        decayed_variables: all trainable variables except batch norm's gamma and beta.
        config: weights of the terms, and label smoothing.
        share: scale of the means: global batch sizes, number of shares, masked rows.

    Returns:
        (total, metrics): float32 scalars. The metrics are "loss", "labeled_loss" and
        "unlabeled_loss" (without their weights), "l2_loss" (with its weight), and accuracies and
        confidences such as "labeled_accuracy"; "unlabeled_accuracy" is agreement with the targets.

    Raises:
        ValueError: only one of unlabeled_logits and targets is given.
    """
    if (unlabeled_logits is None) != (targets is None):
        raise ValueError(
            "unlabeled_logits and targets: give both (student) or neither (supervised)"
        )
    smoothed = smooth(labels, labeled_logits.shape[-1], config.label_smoothing)
    labeled = share.labeled_mean(cross_entropy(labeled_logits, smoothed))
    unlabeled = tf.constant(0.0)
    if targets is not None:
        unlabeled = share.unlabeled_mean(cross_entropy(unlabeled_logits, targets))
    decay = share.even(config.weight_decay * l2(decayed_variables))

    total = config.labeled_weight * labeled + config.ratio * unlabeled + decay

    metrics = {"loss": total, "labeled_loss": labeled, "unlabeled_loss": unlabeled}
    metrics["l2_loss"] = decay
    metrics |= _accuracy("labeled", labeled_logits, labels, share.labeled_mean)
    if targets is not None:
        classes = tf.argmax(targets, axis=-1, output_type=tf.int32)
        metrics |= _accuracy("unlabeled", unlabeled_logits, classes, share.unlabeled_mean)
    return total, metrics


def _accuracy(
    kind: str, logits: tf.Tensor, labels: tf.Tensor, mean: Callable[[tf.Tensor], tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns accuracy and confidence under noise; they are not part of the loss."""
    logits = tf.cast(logits, tf.float32)
    correct = tf.argmax(logits, axis=-1, output_type=tf.int32) == tf.cast(labels, tf.int32)
    confidence = tf.reduce_max(tf.nn.softmax(logits), axis=-1)
    means = mean(tf.stack([tf.cast(correct, tf.float32), confidence]))
    return {f"{kind}_accuracy": means[0], f"{kind}_confidence": means[1]}
