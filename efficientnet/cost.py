"""Cost of a network, computed from its table: parameters, multiply-adds and activations."""

import dataclasses
from collections.abc import Sequence

from efficientnet import config as config_lib


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a network for one image."""

    parameters: int  # number of trainable parameters
    statistics: int  # number of moving means and variances of batch norm
    # Multiply-adds of convolutions and classifier in the forward pass, which the EfficientNet paper
    # calls FLOPs. Elementwise operations are not counted.
    multiply_adds: int
    # Numbers that the forward pass stores for the backward pass: the outputs of every convolution,
    # its batch norm and its activation.
    activations: int
    layers: int  # number of convolutions and matrices


class _Count:
    """Running totals over layers."""

    def __init__(self) -> None:
        self.parameters = self.statistics = self.multiply_adds = self.activations = 0
        self.layers = 0

    def conv(self, kernel: int, inputs: int, outputs: int, side: int, copies: int) -> None:
        """Adds a convolution with batch norm; a depthwise one has 1 input per output."""
        weights = kernel * kernel * inputs * outputs
        self.parameters += weights + 2 * outputs
        self.statistics += 2 * outputs
        self.multiply_adds += weights * side * side
        self.activations += copies * outputs * side * side
        self.layers += 1

    def dense(self, inputs: int, outputs: int) -> None:
        """Adds a matrix with biases, applied once per image."""
        self.parameters += (inputs + 1) * outputs
        self.multiply_adds += inputs * outputs
        self.activations += outputs
        self.layers += 1

    def block(self, block: config_lib.Block, side: int) -> int:
        """Adds a block whose input has a side; returns the side of its output."""
        inner = block.input_filters * block.expansion
        if block.expansion != 1:
            self.conv(1, block.input_filters, inner, side, copies=3)
        side = -(-side // block.stride)
        self.conv(block.kernel_size, 1, inner, side, copies=3)
        if block.squeeze_filters:
            self.dense(inner, block.squeeze_filters)
            self.dense(block.squeeze_filters, inner)
            self.activations += inner * side * side  # scaled input of the projection
        self.conv(1, inner, block.output_filters, side, copies=2)
        return side

    def cost(self) -> Cost:
        """Returns the totals."""
        return Cost(**vars(self))


def cost(
    name: str,
    image_size: int,
    num_classes: int = 1000,
    *,
    width: float | None = None,
    depth: float | None = None,
    strides: Sequence[int] | None = None,
    small_image: bool = False,
) -> Cost:
    """Returns the cost of a network at a resolution.

    Args:
        name: a name in `CONFIGS`.
        image_size: side of the images in pixels.
        num_classes: number of logits.
        width: as in `build_model`.
        depth: as in `build_model`.
        strides: as in `build_model`.
        small_image: as in `build_model`.

    Raises:
        ValueError: the name is unknown or the strides are invalid.
    """
    network = config_lib.scale(
        config_lib.get_config(name),
        width=width,
        depth=depth,
        strides=strides,
        small_image=small_image,
        stochastic_depth_rate=0.0,
    )
    count = _Count()
    side = -(-image_size // network.stem_stride)
    count.conv(3, 3, network.stem_filters, side, copies=3)
    for block in network.blocks:
        side = count.block(block, side)
    count.conv(1, network.blocks[-1].output_filters, network.head_filters, side, copies=3)
    count.dense(network.head_filters, num_classes)
    return count.cost()


def block_cost(block: config_lib.Block, side: int) -> Cost:
    """Returns the cost of a block whose input has a side in pixels."""
    count = _Count()
    count.block(block, side)
    return count.cost()
