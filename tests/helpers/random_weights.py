"""Networks with random weights, and what is compared of two."""

import numpy as np


def randomize(model, seed=0):
    """Sets weights and statistics unlike fresh ones, at a scale at which the logits vary."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        name = getattr(variable, "path", variable.name).rsplit("/", 1)[-1]
        shape = tuple(variable.shape)
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(rng.normal(0, 0.1, shape))
        elif "kernel" in name:
            fan_in = np.prod(shape[:-1]) if shape[-1] > 1 else np.prod(shape[:2])
            variable.assign(rng.normal(0, np.sqrt(1 / fan_in), shape))
    return model


def images(size=64, batch=2, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (batch, size, size, 3)).astype(np.float32)


def assert_equal_logits(ours, theirs, tolerance=1e-4):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert theirs.std() > 1e-3
    np.testing.assert_allclose(ours, theirs, atol=tolerance * theirs.std(), rtol=0)


def assert_same_weights(model, other):
    for ours, theirs in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
