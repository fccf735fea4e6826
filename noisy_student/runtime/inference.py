"""A model's probabilities for finite sets of images: eval mode, clean images, nothing dropped."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

import efficientnet
from data import seeds


def for_classes(
    model: keras.Model, model_classes: Sequence[str], classes: Sequence[str]
) -> Callable[..., tf.Tensor]:
    """A model whose logits are those of `classes`, in their order: `model` itself where they agree.

    A model that knows more classes decides among these alone.

    Raises:
        ValueError: listing classes that the model does not know.
    """
    if tuple(classes) == tuple(model_classes):
        return model
    position = {name: index for index, name in enumerate(model_classes)}
    unknown = [name for name in classes if name not in position]
    if unknown:
        raise ValueError(
            f"the model does not know {len(unknown)} of the data's classes "
            f"({', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}); it knows "
            f"{', '.join(model_classes[:5])}, ..."
        )
    columns = tf.constant([position[name] for name in classes], tf.int32)

    def restricted(images: tf.Tensor, training: bool = False) -> tf.Tensor:
        return tf.gather(model(images, training=training), columns, axis=-1)

    return restricted


def logits_step(
    model: Callable[..., tf.Tensor], jit_compile: bool = False
) -> tf.types.experimental.GenericFunction:
    """A compiled function: images uint8 [B, S, S, 3] -> logits float32 [B, C]."""

    @tf.function(jit_compile=jit_compile, reduce_retracing=True)
    def step(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(images, training=False), tf.float32)

    return step


def predict_step(
    model: Callable[..., tf.Tensor], jit_compile: bool = False, temperature: float = 1.0
) -> tf.types.experimental.GenericFunction:
    """A compiled function: images uint8 [B, S, S, 3] -> probabilities float32 [B, C].

    Logits are divided by the temperature.
    """

    @tf.function(jit_compile=jit_compile, reduce_retracing=True)
    def step(images: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(model(images, training=False), tf.float32)
        return tf.nn.softmax(logits if temperature == 1 else logits / temperature)

    return step


def noised_predict_step(
    model: Callable[..., tf.Tensor], jit_compile: bool = False
) -> tf.types.experimental.GenericFunction:
    """`predict_step` under the model's own noise, dropout and stochastic depth.

    The model is run in training mode: its batch norm must be frozen (`freeze_batch_norm`).

    Returns:
        A compiled function: images uint8 [B, S, S, 3] and seeds int32 [B, 2], that of each image,
        which alone decides its noise -> probabilities float32 [B, C].
    """

    @tf.function(jit_compile=jit_compile, reduce_retracing=True)
    def step(images: tf.Tensor, image_seeds: tf.Tensor) -> tf.Tensor:
        def draw(layer: int, count: int) -> tf.Tensor:
            return seeds.bits(seeds.fold(image_seeds, layer), count)

        with efficientnet.row_noise_scope(draw):
            logits = model(images, training=True)
        return tf.nn.softmax(tf.cast(logits, tf.float32))

    return step


def predictions(
    step: Callable[[tf.Tensor], tf.Tensor], batches: Iterable[dict[str, tf.Tensor]]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Runs ``step`` over ``data.pipeline.evaluation_batches`` and drops the padding.

    It takes their images, and their seeds where they have some.

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
    """Labels int32 [N] and probabilities float32 [N, C], in the order of the examples.

    Raises:
        RuntimeError: where some example was not seen exactly once.
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
    step: tf.types.experimental.GenericFunction,
    batches: Iterable[dict[str, tf.Tensor]],
    num_examples: int,
) -> float | None:
    """Top-1 in percent of ``step`` on a set of images; None where there are none.

    Args:
        step: as ``predict_step`` makes it.
        batches: labeled images, as of ``data.pipeline.evaluation_batches``.
        num_examples: how many there are.
    """
    if not num_examples:
        return None
    labels, table = predict_all(step, batches, num_examples)
    return top_k_accuracy(table, labels)


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Percentage of rows whose label is among the ``k`` largest (ties go to the lower class).

    Args:
        probabilities: [N, C]; any score will do.
        labels: int [N].
        k: at least 1; all classes where there are fewer.
    """
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return 100.0 * float(np.mean(np.any(best == labels[:, None], axis=1)))
