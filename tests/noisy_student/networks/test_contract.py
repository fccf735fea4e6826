"""The range of pixels that layers show: of the first one that changes them."""

import keras
import numpy as np
import pytest
from keras import layers

from noisy_student.networks import contract


def network(*first, **arguments):
    """Applies layers or functions to an input, then a classifier."""
    pixels = keras.Input((8, 8, 3), **arguments)
    x = pixels
    for each in first:
        x = each(x)
    return keras.Model(pixels, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def inner(*first):
    """Begins with a layer for 0..255, inside of another model."""
    pixels = keras.Input((8, 8, 3))
    shrunk = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(2, 1)(shrunk)
    model = keras.Model(pixels, x)
    return network(*first, model)


@pytest.mark.parametrize(
    "make",
    [
        lambda: network(layers.Rescaling(1 / 127.5, -1)),
        lambda: network(layers.RandomFlip(), layers.CenterCrop(6, 6), layers.Rescaling(1 / 255)),
        lambda: network(layers.Normalization(mean=[120.0] * 3, variance=[60.0**2] * 3)),
        lambda: network(lambda x: x[..., ::-1], layers.Rescaling(1 / 255)),
        lambda: network(lambda x: keras.ops.cast(x, "float32"), layers.Rescaling(1 / 255)),
        inner,
        lambda: keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(2)]
        ),
    ],
)
def test_a_first_layer_that_shrinks_shows_bytes(make):
    assert contract.rescales(make())


@pytest.mark.parametrize(
    "make",
    [
        lambda: network(),
        lambda: network(layers.Normalization(mean=[0.5] * 3, variance=[0.04] * 3)),
        lambda: inner(layers.Rescaling(255.0)),
        lambda: inner(layers.Rescaling(127.5, 127.5)),
        lambda: inner(lambda x: x * 255.0),
        lambda: inner(layers.Conv2D(3, 1)),
    ],
)
def test_a_layer_that_shrinks_later_shows_nothing(make):
    """Inputs of 0..1 are often enlarged for a network that shrinks them again."""
    assert not contract.rescales(make())


def test_of_layers_without_an_order_none_may_enlarge():
    class Own(keras.Model):
        def __init__(self, *scales):
            super().__init__()
            self.scales = [layers.Rescaling(scale) for scale in scales]

        def call(self, images):
            for scale in self.scales:
                images = scale(images)
            return keras.ops.mean(images, (1, 2))

    models = [Own(1 / 255), Own(255.0, 1 / 255)]
    for model in models:
        model(np.zeros((1, 8, 8, 3), np.float32))
    assert [contract.rescales(model) for model in models] == [True, False]
