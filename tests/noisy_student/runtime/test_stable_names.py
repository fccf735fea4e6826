"""Names of compiled functions."""

import pytest
import tensorflow as tf

from noisy_student.runtime.stable_names import stable_names


def traced(factor: float):
    """Traces x * factor + swish(x), whose gradient function has a running number."""

    @tf.function(jit_compile=True)
    def scale(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(x * factor + tf.nn.silu(x))
        return tape.gradient(y, x)

    with stable_names():
        return scale.get_concrete_function(tf.TensorSpec([4]))


def test_functions_are_named_by_their_content():
    first = traced(2.0)
    name = first.inference_fn.name
    second, other = traced(2.0), traced(3.0)
    assert second.inference_fn.name == name.removesuffix(b"_0") + b"_1"
    assert other.inference_fn.name.endswith(b"_0") and other.inference_fn.name != name
    values = [function(tf.ones([4])).numpy()[0] for function in (first, second, other)]
    assert values[0] == values[1] == pytest.approx(values[2] - 1)


def test_names_do_not_depend_on_what_was_traced_before():
    first = traced(5.0).inference_fn.name
    for _ in range(3):
        tf.function(lambda x: x + 1)(tf.ones([2]))
    again = traced(5.0).inference_fn.name
    assert again.rsplit(b"_", 1)[0] == first.rsplit(b"_", 1)[0]
