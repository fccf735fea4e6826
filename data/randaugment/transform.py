"""RandAugment for custom training loops: a tf.data transformation and a Keras layer."""

from collections.abc import Callable
from typing import Any, Unpack

import keras
import tensorflow as tf

from data.preprocess import PARALLEL
from data.randaugment.policy import Variant, rand_augment, rand_augment_batch

Shape = tuple[Any, ...]


def transform(
    num_layers: int = 2,
    magnitude: float = 27,
    translate: float = 100,
    cutout: float = 40,
    seed: int = 0,
    **variant: Unpack[Variant],
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """Returns a transformation, as in ``dataset.apply(randaugment.transform(magnitude=9))``.

    Elements are uint8 images [H, W, 3], batches of them, or tuples that start with either; the rest
    of a tuple is unchanged. Every image gets different noise, and new noise in every pass.

    Args:
      num_layers: as in `rand_augment`.
      magnitude: as in `rand_augment`.
      translate: as in `rand_augment`.
      cutout: as in `rand_augment`.
      seed: determines all noise.
      **variant: as in `rand_augment`.
    """

    def augment(element: Any, seed: tf.Tensor) -> Any:
        image, rest = (element[0], element[1:]) if isinstance(element, tuple) else (element, ())
        seed = tf.cast(seed - 2**31, tf.int32)
        if image.shape.rank == 4:
            augmented = rand_augment_batch(
                image, _seeds(seed, image), num_layers, magnitude, translate, cutout, **variant
            )
        else:
            augmented = rand_augment(
                image, seed, num_layers, magnitude, translate, cutout, **variant
            )
        return (augmented, *rest) if isinstance(element, tuple) else augmented

    def apply(dataset: tf.data.Dataset) -> tf.data.Dataset:
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
        pairs = tf.data.Dataset.zip(dataset, seeds.batch(2, drop_remainder=True))
        return pairs.map(augment, num_parallel_calls=PARALLEL)

    return apply


@keras.saving.register_keras_serializable("noisy_student")
class RandAugment(keras.layers.Layer):
    """RandAugment as a layer of a model, active only in training.

    Takes images [B, H, W, 3] in 0..255, as uint8 or as floats, which are rounded, and returns the
    same type. It runs on the CPU; in a tf.data pipeline, `transform` overlaps with training on
    other devices. Registered operations are drawn, too.

    Args:
      num_layers: as in `rand_augment`.
      magnitude: as in `rand_augment`.
      translate: as in `rand_augment`.
      cutout: as in `rand_augment`.
      magnitude_noise: as in `policy.Variant`.
      seed: determines all noise; None: a random seed.
      **kwargs: arguments of every Keras layer.
    """

    def __init__(
        self,
        num_layers: int = 2,
        magnitude: float = 27,
        translate: float = 100,
        cutout: float = 40,
        magnitude_noise: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.options: dict[str, Any] = {
            "num_layers": num_layers,
            "magnitude": magnitude,
            "translate": translate,
            "cutout": cutout,
            "magnitude_noise": magnitude_noise,
        }
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Augments `images` in training; returns them unchanged otherwise."""
        if not training:
            return images
        levels = images
        if images.dtype != tf.uint8:
            levels = tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8)
        seed = tf.cast(tf.cast(self.seed_generator.next(), tf.int64) - 2**31, tf.int32)
        return tf.cast(
            rand_augment_batch(levels, _seeds(seed, levels), **self.options), images.dtype
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the images."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), **self.options, "seed": self.seed}


def _seeds(seed: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Returns a seed for each image of a batch, int32 [B, 2], from one, int32 [2]."""
    numbers = tf.range(tf.shape(images)[0])
    return tf.stack([seed[0] + numbers, tf.fill(tf.shape(numbers), seed[1])], axis=1)
