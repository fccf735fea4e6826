"""RMSProp against NumPy and against TensorFlow 1's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student import optimizer
from noisy_student.schedule import LearningRate

SHAPES = [(3, 4), (4,), ()]
STEPS = 60


def start_and_gradients():
    rng = np.random.default_rng(1)
    start = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    scales = 10.0 ** rng.uniform(-3, 1, size=STEPS)
    gradients = [
        [(scale * rng.normal(size=shape)).astype(np.float32) for shape in SHAPES]
        for scale in scales
    ]
    return start, gradients


def rates():
    schedule = LearningRate("cosine", 0.1, warmup_steps=5, total_steps=STEPS)
    return [float(schedule(step)) for step in range(STEPS)]


def run_ours(start, gradients):
    variables = [keras.Variable(value) for value in start]
    rate = tf.Variable(0.0)
    ours = optimizer.RMSProp(lambda: rate)
    ours.build(variables)

    @tf.function
    def step(grads):
        ours.apply(grads, variables)

    trace = []
    for value, grads in zip(rates(), gradients, strict=True):
        rate.assign(value)
        step([tf.constant(gradient) for gradient in grads])
        trace.append([variable.numpy() for variable in variables])
    return trace


def test_rmsprop_by_hand():
    start, gradients = start_and_gradients()
    found = run_ours(start, gradients)
    v = [value.astype(np.float64) for value in start]
    ms = [np.ones_like(value) for value in v]
    mom = [np.zeros_like(value) for value in v]
    for step, rate in enumerate(rates()):
        for i, g in enumerate(gradients[step]):
            ms[i] = 0.9 * ms[i] + 0.1 * g.astype(np.float64) ** 2
            mom[i] = 0.9 * mom[i] + rate * g / np.sqrt(ms[i] + 1e-3)
            v[i] = v[i] - mom[i]
            np.testing.assert_allclose(found[step][i], v[i], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("fresh_variable_scope")
def test_rmsprop_equals_tensorflow_1():
    start, gradients = start_and_gradients()
    found = run_ours(start, gradients)
    variables = [tf.Variable(value) for value in start]
    rate = tf.Variable(0.0)
    theirs = tf.compat.v1.train.RMSPropOptimizer(lambda: rate, 0.9, momentum=0.9, epsilon=1e-3)
    for step, value in enumerate(rates()):
        rate.assign(value)
        theirs.apply_gradients(zip(gradients[step], variables, strict=True))
        for ours, expected in zip(found[step], variables, strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_serialization_round_trip():
    schedule = LearningRate("constant", 0.1)
    stored = optimizer.RMSProp(schedule, rho=0.8, momentum=0.7, epsilon=0.1, clipnorm=3.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(stored))
    assert isinstance(again, optimizer.RMSProp)
    assert again.get_config() == stored.get_config()


def test_state_continues_from_a_checkpoint(tmp_path):
    start, gradients = start_and_gradients()

    def build():
        variables = [keras.Variable(value) for value in start]
        rmsprop = optimizer.RMSProp(0.01)
        rmsprop.build(variables)
        checkpoint = tf.train.Checkpoint(optimizer=rmsprop, variables=variables)
        return variables, rmsprop, checkpoint

    variables, rmsprop, checkpoint = build()
    rmsprop.apply(gradients[0], variables)
    path = checkpoint.write(str(tmp_path / "state"))
    rmsprop.apply(gradients[1], variables)
    restored_variables, restored, checkpoint = build()
    checkpoint.read(path).assert_consumed()
    restored.apply(gradients[1], restored_variables)
    assert restored.iterations == 2
    for expected, found in zip(variables, restored_variables, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_sparse_gradients_count_as_dense():
    table = keras.Variable(np.ones((4, 2), np.float32))
    rmsprop = optimizer.RMSProp(0.1, momentum=0.0)
    rmsprop.build([table])
    rmsprop.apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([2]), (4, 2))], [table])
    expected = np.ones((4, 2))
    expected[2] -= 0.1 / np.sqrt(1 + 1e-3)
    np.testing.assert_allclose(table, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rmsprop", optimizer.RMSProp),
        ("adamw", keras.optimizers.Adam),
        ("sgd", keras.optimizers.SGD),
    ],
)
def test_build(name, expected):
    assert type(optimizer.build(name, 0.1)) is expected


def test_build_adamw_equals_keras():
    start, gradients = start_and_gradients()
    results = []
    for adamw in (
        optimizer.build("adamw", 0.01, adam_beta2=0.99),
        keras.optimizers.AdamW(0.01, beta_2=0.99, weight_decay=0.0),
    ):
        variables = [keras.Variable(value) for value in start]
        for grads in gradients[:5]:
            adamw.apply(grads, variables)
        results.append([variable.numpy() for variable in variables])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_build_sgd_is_nesterov():
    sgd = optimizer.build("sgd", 0.1)
    assert sgd.nesterov and sgd.momentum == 0.9


def test_build_refuses_unknown_names():
    with pytest.raises(ValueError, match="rmsprop, adamw, sgd"):
        optimizer.build("lars", 0.1)
