"""Speed of the devices of this process, measured in seconds, and the times that follow from it.

Two blocks of EfficientNet are timed in training, one of many pixels and few channels, one of few
pixels and many channels. Their times give the seconds of a multiply-add and of a stored activation.
A third block of a single image gives the seconds that any layer takes. A network is the sum of
its multiply-adds, activations and layers (`efficientnet.cost`). Images are taken as ready: reading
and augmenting them runs beside the training.
"""

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from efficientnet import layers
from efficientnet.config import Block
from efficientnet.cost import Cost, block_cost
from noisy_student.runtime.devices import Devices

TRAINING = 3  # times the forward pass: gradients of inputs and of kernels
_START, _START_OF_LAYER = 5.0, 0.16  # seconds: building, tracing and compiling a training
_SECONDS, _LEAST = 0.25, 3  # of measuring a block, and runs of it
_WIDE = 8, 48, Block(3, 1, 6, 64, 64, 16, 0.0)  # side, images, block
_LARGE = 28, 24, Block(3, 1, 6, 16, 16, 4, 0.0)
_TINY = 2, 1, Block(3, 1, 6, 8, 8, 2, 0.0)


@dataclass(frozen=True)
class Speed:
    """Seconds that one device takes, per unit of a forward pass."""

    multiply_add: float  # seconds of a multiply-add
    activation: float  # seconds of a number that is stored for the backward pass
    layer: float  # seconds of a layer, however small it is
    memory: float  # bytes of memory

    def seconds(self, cost: Cost, images: float, batches: float, passes: float) -> float:
        """Returns the time of a network on a number of images, in a number of batches.

        A pass takes `passes` times a forward pass: 1, or `TRAINING`.
        """
        image = cost.multiply_adds * self.multiply_add + cost.activations * self.activation
        return passes * (images * image + batches * cost.layers * self.layer)

    def start(self, cost: Cost) -> float:
        """Returns the time until a training takes its first step: it is built and compiled."""
        return _START + _START_OF_LAYER * cost.layers

    def describe(self) -> str:
        """Returns the speed as text."""
        return f"at {1e-9 / self.multiply_add:.3g} G multiply-adds/s (measured)"


@functools.cache
def measure(devices: Devices) -> Speed:
    """Measures the speed of one replica, once in a process; takes a few seconds."""
    costs, times = [], []
    jit_compile = devices.jit_compile or devices.may_compile
    for side, images, block in (_WIDE, _LARGE, _TINY):
        cost = block_cost(block, side)
        costs.append([cost.multiply_adds * images, cost.activations * images, cost.layers])
        times.append(_time(_step(side, images, block, jit_compile)) / TRAINING)
    table, target = np.array(costs, float), np.array(times)
    layer = target[2] / table[2, 2]
    rest = np.maximum(target[:2] - layer * table[:2, 2], 1e-9)
    found = np.linalg.solve(table[:2, :2], rest)
    if found.min() <= 0:  # one kind of work hides the other
        ratio = rest / table[:2, :2].sum(axis=1)
        found = np.array([ratio[0], ratio[1]])
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return Speed(float(found[0]), float(found[1]), float(layer), memory)


def _step(side: int, images: int, block: Block, jit_compile: bool) -> Callable[[], tf.Tensor]:
    """Returns a forward and backward pass of a block on random images."""
    inputs = keras.Input((side, side, block.input_filters), name="images")
    outputs = layers.MBConv(
        block.output_filters,
        kernel_size=block.kernel_size,
        stride=block.stride,
        expansion=block.expansion,
        squeeze_filters=block.squeeze_filters,
        drop_rate=block.drop_rate,
        name="block",
    )(inputs)
    model = keras.Model(inputs, outputs, name="measured")
    batch = tf.random.stateless_normal([images, *inputs.shape[1:]], seed=[0, 0])

    @tf.function(autograph=False, jit_compile=jit_compile)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(batch)
            loss = tf.reduce_sum(tf.square(tf.cast(model(batch, training=True), tf.float32)))
        gradients = tape.gradient(loss, [batch, *model.trainable_variables])
        return tf.add_n([tf.reduce_sum(tf.cast(each, tf.float32)) for each in gradients])

    return step


def _time(step: Callable[[], tf.Tensor]) -> float:
    """Returns the median of the seconds of a step, after tracing."""
    step().numpy()
    seconds: list[float] = []
    while sum(seconds) < _SECONDS or len(seconds) < _LEAST:
        start = time.perf_counter()
        step().numpy()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))
