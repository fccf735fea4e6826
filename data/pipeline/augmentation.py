"""The noise of training images: crop, flip and RandAugment, in the published order.

Sources: Xie et al., arXiv v4, section 3.1 (RandAugment), and the published code for the order of
operations.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from data import preprocess, randaugment, seeds
from data.optional import require
from data.preprocess import PreprocessSpec

KINDS = ("randaugment", "keras_cv", "crop", "none")
# Purposes of random numbers, folded into the seed of an image.
_CROP, _FLIP, _OPERATIONS, _CUTOUT = range(4)

Noise = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The noise of training images."""

    # "randaugment" (the paper's), "keras_cv" (the layer of that name, within the limits described
    # at `batch_noise`), "crop" (only random crop, flip and cutout) or "none" (images as evaluated:
    # neither random crop nor flip).
    kind: str = "randaugment"
    num_layers: int = 2  # operations per image
    magnitude: float = 27.0  # magnitude of the operations; 10 is "full" (the maximum of keras_cv)
    flip: bool = True  # mirrors images at random; not for digits
    cutout: bool = False  # fills a square of half the side with gray; small images only
    # Standard deviation of the operations' magnitudes, for "randaugment" only.
    magnitude_noise: float = 0.0
    contrast: str = "true_mean"  # form of its Contrast; see `randaugment.policy.Variant`
    # The step applies the noise of whole batches (`batch_noise`) to all images at once, on its
    # device; the pipeline leaves it out. Not for "keras_cv".
    on_device: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Unknown augmentation {self.kind!r}; valid: {', '.join(KINDS)}.")


def needs_original(spec: PreprocessSpec, augmentation: Augmentation) -> bool:
    """Returns True if the noise needs the original image, for a random crop of large images."""
    return not spec.small_image and augmentation.kind != "none"


def single_noise(
    image: tf.Tensor, seed: tf.Tensor, spec: PreprocessSpec, augmentation: Augmentation
) -> tf.Tensor:
    """Applies the part of the noise that needs the original: the random crop of large images.

    Args:
        image: uint8 [H, W, 3].
        seed: int32 [2], seed of the image.
        spec: size and interpolation.
        augmentation: the noise.

    Returns:
        uint8 [S, S, 3]; without random crop if images are small or the noise is "none".
    """
    if needs_original(spec, augmentation):
        return preprocess.inception_crop(image, seeds.fold(seed, _CROP), spec)
    return preprocess.eval_image(image, spec)


def batch_noise(spec: PreprocessSpec, augmentation: Augmentation, seed: int) -> Noise:
    """Returns the noise that works on whole batches.

    With "keras_cv", the noise does not depend on the seeds of the images, because that layer's
    random numbers have a state. TensorFlow's global seed and generator are set to `seed`, and
    images are processed one after the other, so that two runs get the same noise. A resumed run
    gets different noise.

    Args:
        spec: size of the images.
        augmentation: the noise.
        seed: seed of the run, for "keras_cv" only.

    Returns:
        A function of images uint8 [B, S, S, 3] and seeds int32 [B, 2]; it returns noised images of
        the same shape.
    """
    if augmentation.kind == "none":
        return lambda images, image_seeds: images
    operations = _operations(spec, augmentation, seed)

    def small(images: tf.Tensor, image_seeds: tf.Tensor) -> tf.Tensor:
        images = operations(images, seeds.fold(image_seeds, _OPERATIONS))
        if augmentation.cutout:
            side = spec.image_size // 2
            images = preprocess.cutout(images, seeds.fold(image_seeds, _CUTOUT), side)
        images = preprocess.small_crop(images, seeds.fold(image_seeds, _CROP))
        return flip(images, image_seeds)

    def large(images: tf.Tensor, image_seeds: tf.Tensor) -> tf.Tensor:
        images = flip(images, image_seeds)
        return operations(images, seeds.fold(image_seeds, _OPERATIONS))

    def flip(images: tf.Tensor, image_seeds: tf.Tensor) -> tf.Tensor:
        if not augmentation.flip:
            return images
        return preprocess.flip(images, seeds.fold(image_seeds, _FLIP))

    return small if spec.small_image else large


def _operations(spec: PreprocessSpec, augmentation: Augmentation, seed: int) -> Noise:
    """Returns the augmentation policy itself, on uint8 [B, S, S, 3]."""
    if augmentation.kind == "crop":
        return lambda images, image_seeds: images
    if augmentation.kind == "keras_cv":
        return _keras_cv(augmentation, seed)
    # The published arguments of 32x32 models: an eighth of the side, where large images take the
    # default.
    reach = spec.image_size // 8
    arguments = {"translate": reach, "cutout": reach} if spec.small_image else {}
    policy = randaugment.rand_augment_batch
    if augmentation.on_device:
        policy = randaugment.rand_augment_on_device
    return lambda images, image_seeds: policy(
        images,
        image_seeds,
        num_layers=augmentation.num_layers,
        magnitude=augmentation.magnitude,
        magnitude_noise=augmentation.magnitude_noise,
        contrast=augmentation.contrast,
        **arguments,
    )


def _keras_cv(augmentation: Augmentation, seed: int) -> Noise:
    """Returns keras_cv's RandAugment, applied image by image in their order."""
    keras_cv = require("keras_cv")

    tf.random.set_seed(seed)
    tf.random.set_global_generator(tf.random.Generator.from_seed(seed, alg="philox"))
    layer = keras_cv.layers.RandAugment(
        value_range=(0, 255),
        augmentations_per_image=augmentation.num_layers,
        magnitude=min(augmentation.magnitude / 10, 1.0),
        seed=seed,
    )

    @tf.function  # with AutoGraph, which keras_cv needs
    def apply(images: tf.Tensor, image_seeds: tf.Tensor) -> tf.Tensor:
        del image_seeds
        noised = tf.map_fn(
            lambda image: layer(image, training=True),
            tf.cast(images, tf.float32),
            parallel_iterations=1,
        )
        return tf.cast(tf.clip_by_value(noised, 0, 255), tf.uint8)

    return apply
