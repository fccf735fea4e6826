"""Maps variable names to those of other projects.

Each function maps the path of every variable of a model from `efficientnet.build_model`, such as
"blocks_3/expand_conv/kernel", to its name in the published TensorFlow 1 checkpoints, in
keras.applications, or in timm.
"""

import itertools
from collections import Counter
from collections.abc import Mapping

import keras

from efficientnet.layers import MBConv

HEAD = "head_dense"

_TF1_GROUPS = {"stem_conv": "stem", "stem_bn": "stem", "head_conv": "head", "head_bn": "head"}
_TF1_GROUPS[HEAD] = "head"
_TF1_KINDS = {"conv": "conv2d", "reduce": "conv2d", "expand": "conv2d", "dense": "dense"}

_KERAS_LAYERS = {
    "stem_conv": "stem_conv",
    "stem_bn": "stem_bn",
    "expand_conv": "expand_conv",
    "expand_bn": "expand_bn",
    "depthwise_conv": "dwconv",
    "depthwise_bn": "bn",
    "se/reduce": "se_reduce",
    "se/expand": "se_expand",
    "project_conv": "project_conv",
    "project_bn": "project_bn",
    "head_conv": "top_conv",
    "head_bn": "top_bn",
}

_TIMM_OUTER = {
    "stem_conv": "conv_stem",
    "stem_bn": "bn1",
    "head_conv": "conv_head",
    "head_bn": "bn2",
    HEAD: "classifier",
}
_TIMM_EXPANDED = {  # InvertedResidual
    "expand_conv": "conv_pw",
    "expand_bn": "bn1",
    "depthwise_conv": "conv_dw",
    "depthwise_bn": "bn2",
    "se/reduce": "se.conv_reduce",
    "se/expand": "se.conv_expand",
    "project_conv": "conv_pwl",
    "project_bn": "bn3",
}
_TIMM_UNEXPANDED = {  # DepthwiseSeparableConv
    "depthwise_conv": "conv_dw",
    "depthwise_bn": "bn1",
    "se/reduce": "se.conv_reduce",
    "se/expand": "se.conv_expand",
    "project_conv": "conv_pw",
    "project_bn": "bn2",
}
_TIMM_VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def tf1(
    model: keras.Model, scope: str, batch_norm: str = "tpu_batch_normalization"
) -> dict[str, str]:
    """Returns names of the published checkpoints: "efficientnet-b0/blocks_3/conv2d_1/kernel".

    Layers of one type are numbered within a scope in the order of their creation, which is the
    order of the model's variables.

    Args:
        model: a model from `efficientnet.build_model`.
        scope: first component of all names.
        batch_norm: name of batch normalization layers, which depends on the training device.
    """
    names: dict[str, str] = {}
    counts: Counter[tuple[str, str]] = Counter()
    layers: dict[str, str] = {}
    for path in _paths(model):
        layer, variable = path.rsplit("/", 1)
        if layer not in layers:
            outer, _, inner = layer.rpartition("/")
            group = _TF1_GROUPS.get(layer, outer)
            kind = _tf1_kind(inner, batch_norm)
            number = counts[group, kind]
            counts[group, kind] += 1
            layers[layer] = f"{scope}/{group}/{kind}" + (f"_{number}" if number else "")
        if "depthwise_conv" in layer:
            variable = "depthwise_kernel"
        names[path] = f"{layers[layer]}/{variable}"
    return names


def keras_applications(model: keras.Model, head: str = "predictions") -> dict[str, str]:
    """Returns names of keras.applications and qubvel's package: "block2b_expand_conv/kernel".

    Args:
        model: a model from `efficientnet.build_model`.
        head: name of the classifier layer.
    """
    stages = _stages(model)
    names = {}
    for path in _paths(model):
        block, part, variable = _split(path)
        if part == HEAD:
            layer = head
        elif not block:
            layer = _KERAS_LAYERS[part]
        else:
            stage, position = stages[block]
            layer = f"block{stage + 1}{chr(ord('a') + position)}_{_KERAS_LAYERS[part]}"
        names[path] = f"{layer}/{variable}"
    return names


def timm(model: keras.Model) -> dict[str, str]:
    """Returns names of timm's state dicts: "blocks.1.1.conv_pw.weight"."""
    stages = _stages(model)
    names = {}
    for path in _paths(model):
        block, part, variable = _split(path)
        if not block:
            layer = _TIMM_OUTER[part]
        else:
            stage, position = stages[block]
            expanded = model.get_layer(block).expansion != 1
            part = (_TIMM_EXPANDED if expanded else _TIMM_UNEXPANDED)[part]
            layer = f"blocks.{stage}.{position}.{part}"
        names[path] = f"{layer}.{_TIMM_VARIABLES[variable]}"
    return names


def _paths(model: keras.Model) -> list[str]:
    return [variable.path for variable in model.variables]


def _split(path: str) -> tuple[str, str, str]:
    """Splits a path into block ("" outside of blocks), layer and variable."""
    layer, variable = path.rsplit("/", 1)
    block, _, part = layer.partition("/")
    return (block, part, variable) if part else ("", block, variable)


def _tf1_kind(layer: str, batch_norm: str) -> str:
    if layer.endswith("_bn"):
        return batch_norm
    if layer == "depthwise_conv":
        return "depthwise_conv2d"
    return _TF1_KINDS[layer.rpartition("_")[2]]


def _stages(model: keras.Model) -> Mapping[str, tuple[int, int]]:
    """Returns block -> (stage, position in it), both from 0; stages differ in their filters."""
    blocks = [layer for layer in model.layers if isinstance(layer, MBConv)]
    stages = itertools.groupby(blocks, key=lambda block: block.filters)
    return {
        block.name: (stage, position)
        for stage, (_, members) in enumerate(stages)
        for position, block in enumerate(members)
    }
