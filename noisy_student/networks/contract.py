"""Fits Keras models of any origin to the contract of all stages: RGB 0..255 -> float32 logits.

A softmax at the end is taken off where the layers show it. Otherwise logits are the logarithms of
the probabilities, at least `log(1e-30)`: their softmax gives the probabilities again, but where a
probability is below that, no gradient flows.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_SCALES = {"0..255": (1.0, 0.0), "0..1": (1 / 255, 0.0), "-1..1": (1 / 127.5, -1.0)}
_LEAST = 1e-30  # probability
_TOLERANCE = 1e-2  # of the sum of probabilities, also in half precision
_SHRINKS = 0.1  # factor of a layer that takes pixels 0..255
_MOVES_PIXELS = {
    *("InputLayer", "Identity", "Cast", "GetItem", "Flip"),
    *("Resizing", "CenterCrop", "Cropping2D", "ZeroPadding2D"),
}
_PROBES = 8  # random images that a model is tried on


@keras.saving.register_keras_serializable("noisy_student")
class LogProbabilities(keras.layers.Layer):
    """Natural logarithm of probabilities [..., C]."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the logarithm, float32."""
        return log_probabilities(inputs)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the shape of the input."""
        return input_shape


def log_probabilities(probabilities: tf.Tensor) -> tf.Tensor:
    """Returns logits whose softmax is `probabilities`, float32 [..., C]."""
    return tf.math.log(tf.maximum(tf.cast(probabilities, tf.float32), _LEAST))


def scale_pixels(images: tf.Tensor, input_range: str) -> tf.Tensor:
    """Returns pixels 0..255 of any real dtype in the range of a model, float32."""
    scale, offset = _SCALES[input_range]
    return tf.cast(images, tf.float32) * scale + offset


def fit(model: keras.Model, image_size: int, input_range: str, outputs: str) -> keras.Model:
    """Returns a model of the contract that computes with the given one, [B, S, S, 3] -> [B, C].

    Takes a final softmax off in place. `input_range` is "0..255", "0..1" or "-1..1"; `outputs`
    "logits" or "softmax".
    """
    scale, offset = _SCALES[input_range]
    images = keras.Input((image_size, image_size, 3), name="images")
    pixels = keras.layers.Rescaling(scale, offset, name="pixels", dtype="float32")(images)
    if outputs == "softmax":
        bare = without_softmax(model)
        found = LogProbabilities(dtype="float32")(model(pixels)) if bare is None else bare(pixels)
    else:
        found = model(pixels)
    logits = keras.layers.Activation("linear", name="logits", dtype="float32")(found)
    return keras.Model(images, logits, name=model.name)


def without_softmax(model: keras.Model) -> keras.Model | None:
    """Returns a model without its final softmax, whose layer is changed in place; None: none found.

    It is found as the activation of the last layer, also of a model within the model, or as a last
    layer of its own.
    """
    if len(getattr(model, "outputs", None) or ()) != 1:
        return None
    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        return model if without_softmax(last) is last else None
    if isinstance(last, keras.layers.Softmax):
        return keras.Model(model.inputs, last.input, name=model.name)
    if getattr(last, "activation", None) is not keras.activations.softmax:
        return None
    last.activation = keras.activations.linear
    return model


def rescales(model: keras.Model) -> bool:
    """Returns True if the first layer that changes pixels brings 0..255 to a smaller range.

    Of a model whose layers Keras does not know in their order, any layer, if none enlarges them.
    """
    functional = getattr(model, "_functional", None) or model
    if not hasattr(functional, "operations"):
        scales = [s for layer in layers_of(model) if (s := _scale(layer)) is not None]
        return bool(scales) and max(scales) < 1 and min(scales) < _SHRINKS
    pixels = {id(tensor) for tensor in functional.inputs}
    for operation in functional.operations:
        for node in operation._inbound_nodes:
            if pixels.isdisjoint(map(id, node.input_tensors)):
                continue
            if not _keeps_range(operation):
                is_model = isinstance(operation, keras.Model)
                return rescales(operation) if is_model else (_scale(operation) or 1) < _SHRINKS
            pixels.update(map(id, node.outputs))
    return False


def _keeps_range(operation: Any) -> bool:
    """Returns True for layers that move or crop pixels, but leave their range."""
    name = type(operation).__name__
    return name in _MOVES_PIXELS or name.startswith("Random")


def _scale(layer: Any) -> float | None:
    """Returns the largest factor by which a layer multiplies pixels; None for other layers."""
    if isinstance(layer, keras.layers.Rescaling):
        return float(np.max(np.abs(layer.scale)))
    if isinstance(layer, keras.layers.Normalization) and layer.mean is not None:
        # Of pixels in 0..1, its mean is below 1.
        return 1 / 255 if float(np.max(layer.mean)) > 2 else 1.0
    return None


def layers_of(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields all layers of a model, also those within others."""
    yield from model._flatten_layers(include_self=False)


def last_operation(model: keras.Model) -> keras.layers.Layer | None:
    """Returns the layer or operation that computes the output; None if Keras does not know it."""
    if len(getattr(model, "outputs", None) or ()) != 1:
        return None
    last = model.outputs[0]._keras_history.operation
    return last_operation(last) if isinstance(last, keras.Model) else last


def are_probabilities(outputs: Any) -> bool:
    """Returns True if rows [B, C] are not negative and sum to 1."""
    table = np.asarray(outputs, np.float32)
    return bool(np.min(table) >= 0 and np.max(np.abs(table.sum(1) - 1)) < _TOLERANCE)


def detect_outputs(predict: Callable[[tf.Tensor], Any], image_size: int) -> str:
    """Returns "softmax" or "logits" from what a model returns for random, black and white images.

    Args:
        predict: images 0..255 [B, S, S, 3] -> outputs [B, C].
        image_size: S.

    Raises:
        ValueError: the outputs look like those of a sigmoid, or there is only one.
    """
    shape = (_PROBES, image_size, image_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    images[0], images[1] = 0, 255
    table = np.asarray(tf.cast(predict(tf.constant(images)), tf.float32))
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"returns {list(table.shape[1:])} numbers per image, not one per class")
    if not np.all(np.isfinite(table)):
        raise ValueError("returns NaN or infinity")
    if are_probabilities(table):
        return "softmax"
    if np.min(table) >= 0 and np.max(table) <= 1 and np.any(table):
        raise ValueError(
            "returns numbers in 0..1 that do not sum to 1. Sigmoid outputs are not supported; if "
            "these are logits, give --outputs=logits"
        )
    return "logits"
