"""Adversarial images: signed-gradient attacks on a model in eval mode (Xie et al., arXiv v4, 3.4).

The functions may be called inside a `tf.function`. Step sizes are in pixel units, and all returned
images are within 0..255. The gradient is that of the given model: pass the averaged weights. Each
image is attacked independently, so replicas may share the rows of a batch.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from noisy_student import losses


def fgsm(
    model: Callable[..., tf.Tensor], images: tf.Tensor, labels: tf.Tensor, epsilons: Sequence[float]
) -> list[tf.Tensor]:
    """Runs the fast gradient sign method: one step on every pixel that increases the loss.

    Source: Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples" (2015).

    Args:
        model: RGB 0..255 [B, H, W, 3] -> logits [B, C].
        images: uint8 or float32 [B, H, W, 3], 0..255.
        labels: int [B], the true classes.
        epsilons: step sizes in pixel units, 0 or more; all share one gradient.

    Returns:
        float32 [B, H, W, 3], 0..255, for each of `epsilons`.
    """
    images = tf.cast(images, tf.float32)
    direction = _gradient_sign(model, images, labels)
    return [tf.clip_by_value(images + epsilon * direction, 0.0, 255.0) for epsilon in epsilons]


def pgd(
    model: Callable[..., tf.Tensor],
    images: tf.Tensor,
    labels: tf.Tensor,
    epsilon: float | tf.Tensor,
    *,
    step_size: float | tf.Tensor,
    num_steps: int = 10,
    seeds: tf.Tensor | None = None,
) -> tf.Tensor:
    """Runs projected gradient descent: signed steps that stay within `epsilon` of the image.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018).
    Xie et al. report 10 steps at epsilon 16.

    Args:
        model: as for `fgsm`.
        images: as for `fgsm`.
        labels: as for `fgsm`.
        epsilon: largest change of a pixel, in pixel units.
        step_size: size of each step, in pixel units.
        num_steps: number of steps.
        seeds: int32 [B, 2], one for each image: start at a random point within epsilon; None: start
            at the image itself.

    Returns:
        float32 [B, H, W, 3], 0..255.
    """
    images = tf.cast(images, tf.float32)
    lowest = tf.maximum(images - epsilon, 0.0)
    highest = tf.minimum(images + epsilon, 255.0)
    start = images
    if seeds is not None:
        offsets = tf.map_fn(
            lambda seed: tf.random.stateless_uniform(images.shape[1:], seed, -1, 1, alg="philox"),
            seeds,
            fn_output_signature=tf.float32,
        )
        start = tf.clip_by_value(images + epsilon * offsets, lowest, highest)

    def step(number: tf.Tensor, attacked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        moved = attacked + step_size * _gradient_sign(model, attacked, labels)
        return number + 1, tf.clip_by_value(moved, lowest, highest)

    return tf.while_loop(lambda number, _: number < num_steps, step, (tf.constant(0), start))[1]


def _gradient_sign(
    model: Callable[..., tf.Tensor], images: tf.Tensor, labels: tf.Tensor
) -> tf.Tensor:
    """Returns the sign of each image's gradient of cross entropy: float32 [B, H, W, 3]."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = model(images, training=False)
        targets = losses.smooth(labels, logits.shape[-1], 0.0)
        loss = tf.reduce_sum(losses.cross_entropy(logits, targets))
    gradient = tape.gradient(loss, images)
    if gradient is None:
        raise ValueError(
            "The model has no gradient with respect to its images, which FGSM and PGD need; "
            "--benchmarks=square needs none."
        )
    return tf.sign(gradient)
