"""Predictions of a model for finite sets of images, in inference mode."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

import efficientnet
from data import seeds
from noisy_student.runtime.stable_names import stable_names


def for_classes(
    model: keras.Model, model_classes: Sequence[str], classes: Sequence[str]
) -> Callable[..., tf.Tensor]:
    """Restricts a model, with one logit per class of `model_classes`, to those of `classes`.

    Returns the model itself if its classes are the wanted ones, in their order.

    Raises:
        ValueError: the model does not know some of the classes.
    """
    if tuple(classes) == tuple(model_classes):
        return model
    columns = tf.constant(class_columns(model_classes, classes), tf.int32)

    def restricted(images: tf.Tensor, training: bool = False) -> tf.Tensor:
        return tf.gather(model(images, training=training), columns, axis=-1)

    return restricted


def class_columns(model_classes: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Returns the positions of `classes` among those of a model; see `for_classes`."""
    position = {name: index for index, name in enumerate(model_classes)}
    unknown = [name for name in classes if name not in position]
    if unknown:
        raise ValueError(
            f"the model lacks {len(unknown)} of the data's classes "
            f"({', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}); it has "
            f"{', '.join(model_classes[:5])}, ..."
        )
    return [position[name] for name in classes]


def _named(step: Callable[..., tf.Tensor], jit_compile: bool) -> Callable[..., tf.Tensor]:
    """Returns the step; what XLA compiles has a name by which later processes find it again."""
    if not jit_compile:
        return step

    def named_step(*columns: tf.Tensor) -> tf.Tensor:
        with stable_names():
            return step(*columns)

    return named_step


def logits_step(
    model: Callable[..., tf.Tensor], jit_compile: bool = False
) -> Callable[..., tf.Tensor]:
    """Returns a compiled function: images uint8 [B, S, S, 3] -> logits float32 [B, C]."""

    @tf.function(autograph=False, jit_compile=jit_compile, reduce_retracing=True)
    def step(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(images, training=False), tf.float32)

    return _named(step, jit_compile)


def predict_step(
    model: Callable[..., tf.Tensor], jit_compile: bool = False, temperature: float = 1.0
) -> Callable[..., tf.Tensor]:
    """Returns a compiled function: images uint8 [B, S, S, 3] -> probabilities float32 [B, C].

    Logits are divided by the temperature.
    """

    @tf.function(autograph=False, jit_compile=jit_compile, reduce_retracing=True)
    def step(images: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(model(images, training=False), tf.float32)
        return tf.nn.softmax(logits if temperature == 1 else logits / temperature)

    return _named(step, jit_compile)


def noised_predict_step(
    model: Callable[..., tf.Tensor], jit_compile: bool = False
) -> Callable[..., tf.Tensor]:
    """Returns `predict_step` under the model's own noise, dropout and stochastic depth.

    The model runs in training mode, so its batch norm must be frozen (`freeze_batch_norm`).

    Returns:
        A compiled function: images uint8 [B, S, S, 3], and one seed per image, which alone
        determines its noise, int32 [B, 2] -> probabilities float32 [B, C].
    """

    @tf.function(autograph=False, jit_compile=jit_compile, reduce_retracing=True)
    def step(images: tf.Tensor, image_seeds: tf.Tensor) -> tf.Tensor:
        def draw(layer: int, count: int) -> tf.Tensor:
            return seeds.bits(seeds.fold(image_seeds, layer), count)

        with efficientnet.row_noise_scope(draw):
            logits = model(images, training=True)
        return tf.nn.softmax(tf.cast(logits, tf.float32))

    return _named(step, jit_compile)


def predictions(
    step: Callable[[tf.Tensor], tf.Tensor], batches: Iterable[dict[str, tf.Tensor]]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Runs a step over batches and drops their padding.

    Args:
        step: a step from this module, of images and, if the batches have them, seeds.
        batches: batches as from ``data.pipeline.evaluation_batches``.

    Yields:
        index int64 [b], labels int32 [b], probabilities float32 [b, C].
    """
    for batch in batches:
        names = ("images", "seeds") if "seeds" in batch else ("images",)
        probabilities = step(*(batch[name] for name in names)).numpy()
        index = batch["index"].numpy()
        real = index >= 0
        yield index[real], batch["labels"].numpy()[real], probabilities[real]


def predict_all(
    step: Callable[[tf.Tensor], tf.Tensor],
    batches: Iterable[dict[str, tf.Tensor]],
    num_examples: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels int32 [N] and probabilities float32 [N, C], in the order of the examples.

    Raises:
        RuntimeError: an example was not seen exactly once.
    """
    seen = np.zeros(num_examples, np.int64)
    labels = np.zeros(num_examples, np.int32)
    table: np.ndarray | None = None
    for index, label, probabilities in predictions(step, batches):
        if table is None:
            table = np.zeros((num_examples, probabilities.shape[1]), np.float32)
        np.add.at(seen, index, 1)
        labels[index] = label
        table[index] = probabilities
    if table is None or np.any(seen != 1):
        raise RuntimeError(f"{np.sum(seen != 1)} of {num_examples} examples not seen exactly once.")
    return labels, table


def accuracy(
    step: Callable[..., tf.Tensor], batches: Iterable[dict[str, tf.Tensor]], num_examples: int
) -> float | None:
    """Returns the top-1 accuracy in percent; None if there are no images.

    Takes a step as from `predict_step` and `data.pipeline.evaluation_batches`.
    """
    if not num_examples:
        return None
    labels, table = predict_all(step, batches, num_examples)
    return top_k_accuracy(table, labels)


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Returns the percentage of rows whose label is among the ``k`` largest scores.

    Args:
        probabilities: [N, C], or other scores; ties go to the lower class.
        labels: int [N].
        k: at least 1; more than C means C.
    """
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return 100.0 * float(np.mean(np.any(best == labels[:, None], axis=1)))
