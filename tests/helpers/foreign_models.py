"""Models of others: a MobileNetV3 and a small CNN of plain Keras, without a card."""

import keras
import numpy as np

from data.examples import DecodedExamples
from tests.helpers import tiny_evaluation as tiny

SIDE = tiny.SIDE
CLASSES = tiny.WNIDS[:4]


def mobilenet(num_classes=4, image_size=SIDE, activation="softmax"):
    """MobileNetV3Small at a quarter of its width: RGB 0..255, with a softmax by default."""
    shape = (image_size, image_size, 3)
    return keras.applications.MobileNetV3Small(
        shape, 0.25, weights=None, classes=num_classes, classifier_activation=activation
    )


def cnn(num_classes=4, image_size=SIDE, activation="softmax"):
    """A small CNN for pixels in 0..1, with dropout and batch norm."""
    inputs = keras.Input((image_size, image_size, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(x)
    x = keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling2D()(x))
    outputs = keras.layers.Dense(num_classes, activation=activation)(x)
    return keras.Model(inputs, outputs)


def self_scaling_cnn(num_classes, image_size):
    """The same for 0..255, as a function for --model_fn; returns logits."""
    inputs = keras.Input((image_size, image_size, 3))
    inner = cnn(num_classes, image_size, None)
    return keras.Model(inputs, inner(keras.layers.Rescaling(1 / 255)(inputs)))


def confident(model, scale=1 / 255, factor=30.0):
    """Fits batch norm to images and multiplies the classifier's weights: predictions vary."""
    norms = [x for x in model._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(tiny.pictures(32, seed=1) * np.float32(scale), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for weight in (weight for weight in model.weights if weight.shape[-1] == len(CLASSES)):
        weight.assign(weight * factor)
    return model


def examples(count=12):
    """Pictures with random labels of the four classes."""
    made = tiny.examples(count)
    labels = (made.labels % len(CLASSES)).astype(np.int32)
    return DecodedExamples(made.ids, labels, CLASSES, images=made.images)
