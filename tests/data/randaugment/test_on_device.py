"""RandAugment within an accelerator's step: the bytes of the host's."""

import numpy as np
import pytest
import tensorflow as tf

from data import randaugment
from data.randaugment import operations, policy, rand_augment_batch, rand_augment_on_device
from tests.helpers.marks import slow_param
from tests.helpers.toy_operations import synthetic_images

SHAPES = {"square": (64, 32, 32, 3), "wide": (40, 21, 34, 3)}


def draw(shape):
    """Returns images and seeds with which the first layer draws every operation."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, shape, np.uint8)
    images[::2] = next(iter(synthetic_images(*shape[1:3]).values()))
    seeds = rng.integers(-(2**31), 2**31, (500, 2)).astype(np.int32)
    table = policy.arguments(1, 5, 4, 4, 0.0)
    drawn, _, _ = policy.drawn(policy.draws(seeds, 1)[:, 0], table, tf.constant(shape[1:3]))
    names, first = np.unique(drawn, return_index=True)
    assert len(names) == len(operations.NAMES)
    return images, seeds[np.concatenate([first, np.arange(500)])[: shape[0]]]


PAPER = {}
SMALL = {"magnitude": 5, "translate": 4, "cutout": 4, "num_layers": 1}
VARIANT = {"contrast": "published", "magnitude_noise": 3.0, "num_layers": 3}


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ("square", PAPER),
        ("wide", SMALL),
        slow_param("square", VARIANT),
        slow_param("wide", VARIANT),
        slow_param("wide", PAPER),
        slow_param("square", SMALL),
    ],
)
def test_the_bytes_are_the_hosts(shape, arguments):
    images, seeds = draw(SHAPES[shape])
    expected = rand_augment_batch(images, seeds, **arguments)
    step = tf.function(lambda *batch: rand_augment_on_device(*batch, **arguments), autograph=False)
    np.testing.assert_array_equal(step(images, seeds), expected)


def test_compiled_the_bytes_are_the_hosts_too():
    images, seeds = draw(SHAPES["square"])
    step = tf.function(rand_augment_on_device, autograph=False, jit_compile=True)
    compiled = step(tf.constant(images), tf.constant(seeds))
    np.testing.assert_array_equal(compiled, rand_augment_batch(images, seeds))


def test_no_loop_runs_over_the_images():
    images, seeds = draw(SHAPES["square"])
    step = tf.function(rand_augment_on_device, autograph=False)
    graph = step.get_concrete_function(tf.constant(images), tf.constant(seeds)).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    loops = [node for node in nodes if "While" in node.op]
    assert len(loops) == 1  # over the layers
    assert not [node for node in nodes if "Case" in node.op or "PyFunc" in node.op]


def test_registered_operations_are_refused():
    images, seeds = draw((2, 8, 8, 3))
    randaugment.register("Same", lambda image, argument: image, lambda magnitude: magnitude)
    try:
        with pytest.raises(ValueError, match="on the host: Same"):
            rand_augment_on_device(images, seeds)
    finally:
        randaugment.unregister("Same")
