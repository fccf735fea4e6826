"""Cost of a network, counted over the layers of a Keras model."""

import math

import keras

from efficientnet.cost import Cost
from noisy_student.networks import contract


def cost(model: keras.Model) -> Cost:
    """Returns the cost for one image; layers within a layer of another class are not seen."""
    operations, activations, matrices = 0, 0, 0
    for layer in contract.layers_of(model):
        nodes = getattr(layer, "_inbound_nodes", ())
        if not nodes or isinstance(layer, keras.Model):
            continue
        _, *sides = nodes[0].output_tensors[0].shape
        activations += math.prod(side or 1 for side in sides)
        if (kernel := getattr(layer, "kernel", None)) is not None:
            matrices += 1
            operations += math.prod(kernel.shape) * math.prod(side or 1 for side in sides[:-1])
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    fixed = sum(math.prod(weight.shape) for weight in model.non_trainable_weights)
    return Cost(trained, fixed, operations, activations, matrices)
