"""Fixtures of the tests that run TensorFlow 1's own training code."""

import pytest


@pytest.fixture
def fresh_variable_scope() -> None:
    """Drops the variable scope of TensorFlow 1 that all graphs of this process share.

    A `tf.map_fn` whose body raised while it was traced leaves a caching device in it; optimizers
    and averages of TensorFlow 1 then fail in eager mode.
    """
    import tensorflow as tf

    tf.compat.v1.reset_default_graph()
