"""Adversarial images: signed-gradient attacks on a model in eval mode (paper, section 3.6).

Everything is TensorFlow and may be called inside a tf.function. Steps are in pixel units, and every
image that comes back is within 0..255. The model is differentiated as it stands: give it the
averaged weights. Images are attacked each by itself, so that replicas may take some rows each.
"""

from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from noisy_student import losses


def fgsm(
    model: Callable[..., tf.Tensor],
    images: tf.Tensor,
    labels: tf.Tensor,
    epsilon: float | tf.Tensor,
) -> tf.Tensor:
    """The fast gradient sign method: one step of `epsilon` on every pixel, uphill in loss.

    Source: Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples" (2015).

    Args:
        model: RGB 0..255 [B, H, W, 3] -> logits [B, C].
        images: uint8 or float32 [B, H, W, 3], 0..255.
        labels: int [B], the true classes.
        epsilon: step in pixel units, 0 or more; 0 gives the images back.

    Returns:
        float32 [B, H, W, 3], 0..255.
    """
    return next(fgsm_sweep(model, images, labels, [epsilon]))


def fgsm_sweep(
    model: Callable[..., tf.Tensor], images: tf.Tensor, labels: tf.Tensor, epsilons: Sequence[float]
) -> Iterator[tf.Tensor]:
    """`fgsm` at each of `epsilons`, for the price of one gradient."""
    images = tf.cast(images, tf.float32)
    direction = _uphill(model, images, labels)
    for epsilon in epsilons:
        yield tf.clip_by_value(images + epsilon * direction, 0.0, 255.0)


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
    """Projected gradient descent: signed steps that stay within `epsilon` of the image.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018).
    The paper reports 10 steps at epsilon 16.

    Args:
        model: as `fgsm`.
        images: as `fgsm`.
        labels: as `fgsm`.
        epsilon: largest change of a pixel, in pixel units.
        step_size: of each step, in pixel units.
        num_steps: how many.
        seeds: int32 [B, 2]: start each image at a point within epsilon that its own seed decides;
            None: at the image itself.

    Returns:
        float32 [B, H, W, 3], 0..255.
    """
    images = tf.cast(images, tf.float32)
    lowest = tf.maximum(images - epsilon, 0.0)
    highest = tf.minimum(images + epsilon, 255.0)
    start = images
    if seeds is not None:
        drawn = tf.map_fn(
            lambda seed: tf.random.stateless_uniform(images.shape[1:], seed, -1, 1, alg="philox"),
            seeds,
            fn_output_signature=tf.float32,
        )
        start = tf.clip_by_value(images + epsilon * drawn, lowest, highest)

    def step(number: tf.Tensor, attacked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        moved = attacked + step_size * _uphill(model, attacked, labels)
        return number + 1, tf.clip_by_value(moved, lowest, highest)

    return tf.while_loop(lambda number, _: number < num_steps, step, (tf.constant(0), start))[1]


def _uphill(model: Callable[..., tf.Tensor], images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Sign of each image's own gradient of cross entropy: -1, 0 or 1, float32 [B, H, W, 3]."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = model(images, training=False)
        targets = losses.smooth(labels, logits.shape[-1], 0.0)
        loss = tf.reduce_sum(losses.cross_entropy(logits, targets))
    return tf.sign(tape.gradient(loss, images))
