import math

import pytest
import tensorflow as tf

import efficientnet
from efficientnet.cost import cost


def traced_multiply_adds(model, size: int) -> int:
    """Of the convolutions and matrix products in the traced graph, from their shapes."""
    step = tf.function(lambda images: model(images, training=False), jit_compile=False)
    graph = step.get_concrete_function(tf.TensorSpec([1, size, size, 3], tf.float32)).graph
    total = 0
    for operation in graph.get_operations():
        if operation.type in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
            kernel = operation.inputs[1].shape
            output = operation.outputs[0].shape
            total += math.prod(kernel) * math.prod(output[1:-1])
    return total


@pytest.mark.parametrize(
    ("name", "size", "changes"),
    [
        ("efficientnet-b0", 224, {}),
        ("efficientnet-b0", 33, {"width": 0.3, "depth": 0.4, "small_image": True}),
        ("efficientnet-lite0", 64, {"width": 0.3, "strides": (1, 2, 1, 2, 1, 2, 1)}),
    ],
)
def test_equals_the_built_model(name, size, changes):
    model = efficientnet.build_model(name, num_classes=10, **changes)
    got = cost(name, size, num_classes=10, **changes)
    trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    assert got.parameters == trainable
    assert got.statistics == model.count_params() - trainable
    assert got.multiply_adds == traced_multiply_adds(model, size)


@pytest.mark.parametrize(
    ("name", "size", "billions"),  # EfficientNet paper, table 2
    [("b0", 224, 0.39), ("b1", 240, 0.70), ("b3", 300, 1.8), ("b5", 456, 9.9), ("b7", 600, 37)],
)
def test_published_multiply_adds(name, size, billions):
    assert cost(f"efficientnet-{name}", size).multiply_adds / 1e9 == pytest.approx(
        billions, rel=0.06
    )


def test_activations_by_hand():
    """Depth 0.1 leaves a block per stage; counted for the stem and the first block at 32 pixels."""
    base = dict(width=0.1, depth=0.1, strides=(1, 1, 1, 1, 1, 1, 1))
    small, large = (cost("efficientnet-b0", size, 10, **base).activations for size in (32, 64))
    blocks = efficientnet.config.scale(
        efficientnet.CONFIGS["efficientnet-b0"],
        width=0.1,
        depth=0.1,
        strides=base["strides"],
        small_image=False,
        stochastic_depth_rate=0.0,
    ).blocks
    per_pixel = 3 * 8  # the stem
    for block in blocks:
        inner = block.input_filters * block.expansion
        expansions = 3 * inner if block.expansion > 1 else 0
        per_pixel += expansions + 3 * inner + inner + 2 * block.output_filters
    per_pixel += 3 * 128  # the head: 1280 / 10
    assert large - small == per_pixel * (32**2 - 16**2)
