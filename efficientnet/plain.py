"""Rebuilds models from standard Keras layers, so that Keras can load them without this package."""

import functools
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from efficientnet import layers, noise

_FLOAT32 = {"dtype": "float32"}
_ACTIVATIONS = {"swish": "silu", "relu6": "relu6"}  # ours -> Keras'
_Tensor = Any  # a tensor of Keras, which stands for [B, H, W, C]


def plain_model(model: keras.Model) -> keras.Model:
    """Replaces the layers of this package, including those of nested models, by Keras layers.

    The new model computes the same in float32; it shares the weights of all other layers. Its
    layers keep their names; those of a block are prefixed with the block's name. Dropout and
    stochastic depth use random numbers from Keras. Batch norm is per replica.

    Args:
        model: a functional model; others are returned unchanged.
    """
    known = set(_replacement.registry) - {object}
    if known.isdisjoint(map(type, model._flatten_layers(include_self=False))):
        return model
    return keras.models.clone_model(model, clone_function=_replacement, recursive=True)


def unknown_to_keras(path: str | Path) -> list[str]:
    """Returns the classes and functions in a ``.keras`` file that are not part of Keras."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    return sorted(set(_classes_of_others(config)))


def _classes_of_others(config: Any) -> Iterator[str]:
    """Yields the names of classes and functions in a model's configuration that are not Keras'."""
    if isinstance(config, dict):
        module, name = config.get("module"), config.get("registered_name")
        if "class_name" in config and module is not None:
            if module.partition(".")[0] not in ("keras", "builtins"):
                yield f"{module}.{config['class_name']}"
            elif module == "builtins" and config["class_name"] == "function":
                yield str(name or config.get("config"))
        elif ">" in str(name):
            yield str(name)
        for value in config.values():
            yield from _classes_of_others(value)
    elif isinstance(config, list):
        for value in config:
            yield from _classes_of_others(value)


@functools.singledispatch
def _replacement(layer: keras.layers.Layer) -> Callable[..., _Tensor]:
    """Returns a layer, or a function that calls Keras layers with its weights."""
    return layer


def _with_weights(
    source: keras.layers.Layer, layer: keras.layers.Layer, inputs: _Tensor
) -> _Tensor:
    """Calls a new layer and gives it the weights of another."""
    outputs = layer(inputs)
    layer.set_weights([np.asarray(weight) for weight in source.weights])
    return outputs


@_replacement.register
def _normalize(layer: layers.Normalize) -> Callable[..., _Tensor]:
    variance = [std**2 for std in layer.std]
    return keras.layers.Normalization(
        mean=list(layer.mean), variance=variance, name=layer.name, **_FLOAT32
    )


@_replacement.register
def _conv(layer: layers.Conv, prefix: str = "", activation: Any = None) -> Callable[..., _Tensor]:
    options = {"padding": "same", "use_bias": layer.use_bias, "activation": activation}
    conv = keras.layers.Conv2D(
        layer.filters,
        layer.kernel_size,
        layer.strides,
        name=prefix + layer.name,
        **options,
        **_FLOAT32,
    )
    return functools.partial(_with_weights, layer, conv)


@_replacement.register
def _depthwise(layer: layers.DepthwiseConv, prefix: str = "") -> Callable[..., _Tensor]:
    conv = keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        layer.strides,
        padding="same",
        use_bias=False,
        name=prefix + layer.name,
        **_FLOAT32,
    )
    return functools.partial(_with_weights, layer, conv)


@_replacement.register
def _batch_norm(layer: layers.BatchNorm, prefix: str = "") -> Callable[..., _Tensor]:
    name = prefix + layer.name

    def call(inputs: _Tensor, **_: Any) -> _Tensor:
        norm = keras.layers.BatchNormalization(
            momentum=layer.momentum,
            epsilon=layers.BATCH_NORM_EPSILON,
            name=name,
            trainable=layer.trainable,
            **_FLOAT32,
        )
        outputs = _with_weights(layer, norm, inputs)
        if layer.activation == "linear":
            return outputs
        activation = _ACTIVATIONS[layer.activation]
        return keras.layers.Activation(activation, name=f"{name}_{activation}", **_FLOAT32)(outputs)

    return call


@_replacement.register
def _squeeze_excite(layer: layers.SqueezeExcite, prefix: str = "") -> Callable[..., _Tensor]:
    name = f"{prefix}{layer.name}_"

    def call(inputs: _Tensor) -> _Tensor:
        pool = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}pool", **_FLOAT32)
        reduced = _conv(layer.reduce, name, "silu")(pool(inputs))
        gate = _conv(layer.expand, name, "sigmoid")(reduced)
        return keras.layers.Multiply(name=f"{name}scale", **_FLOAT32)([inputs, gate])

    return call


@_replacement.register
def _stochastic_depth(layer: noise.StochasticDepth) -> Callable[..., _Tensor]:
    return keras.layers.Dropout(
        layer.rate, noise_shape=(None, 1, 1, 1), name=layer.name, **_FLOAT32
    )


@_replacement.register
def _dropout(layer: noise.Dropout) -> Callable[..., _Tensor]:
    return keras.layers.Dropout(layer.rate, name=layer.name, **_FLOAT32)


@_replacement.register
def _block(block: layers.MBConv) -> Callable[..., _Tensor]:
    prefix = f"{block.name}_"

    def call(inputs: _Tensor, **_: Any) -> _Tensor:
        x = inputs
        if block.expansion != 1:
            x = _batch_norm(block.expand_bn, prefix)(_conv(block.expand_conv, prefix)(x))
        x = _depthwise(block.depthwise_conv, prefix)(x)
        x = _batch_norm(block.depthwise_bn, prefix)(x)
        if block.squeeze_filters:
            x = _squeeze_excite(block.se, prefix)(x)
        x = _batch_norm(block.project_bn, prefix)(_conv(block.project_conv, prefix)(x))
        if not block.has_skip:
            return x
        dropped = _stochastic_depth(block.drop)(x)
        return keras.layers.Add(name=f"{prefix}add", **_FLOAT32)([inputs, dropped])

    return call
