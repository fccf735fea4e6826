"""RMSProp against NumPy and TensorFlow 1's own, Adam against NumPy and Keras' own."""

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


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (optimizer.RMSProp, {"rho": 0.8, "momentum": 0.7, "epsilon": 0.1}),
        (optimizer.Adam, {"beta_1": 0.8, "beta_2": 0.7, "epsilon": 0.1}),
    ],
)
def test_serialization_round_trip(kind, arguments):
    stored = kind(LearningRate("constant", 0.1), **arguments, clipnorm=3.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(stored))
    assert type(again) is kind
    assert again.get_config() == stored.get_config()
    assert again.get_config().items() >= arguments.items()


@pytest.mark.parametrize("name", ["rmsprop", "adamw"])
def test_state_continues_from_a_checkpoint(name, tmp_path):
    start, gradients = start_and_gradients()

    def build():
        variables = [keras.Variable(value) for value in start]
        built = optimizer.build(name, 0.01)
        built.build(variables)
        checkpoint = tf.train.Checkpoint(optimizer=built, variables=variables)
        return variables, built, checkpoint

    variables, built, checkpoint = build()
    built.apply(gradients[0], variables)
    path = checkpoint.write(str(tmp_path / "state"))
    built.apply(gradients[1], variables)
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
    [("rmsprop", optimizer.RMSProp), ("adamw", optimizer.Adam), ("sgd", keras.optimizers.SGD)],
)
def test_build(name, expected):
    assert type(optimizer.build(name, 0.1)) is expected


def run_adam(adam, start, gradients):
    variables = [keras.Variable(value) for value in start]
    adam.build(variables)

    @tf.function
    def step(grads):
        adam.apply(grads, variables)

    for grads in gradients:
        step([tf.constant(gradient) for gradient in grads])
    return [variable.numpy() for variable in variables]


def test_adam_by_hand():
    start, gradients = start_and_gradients()
    found = run_adam(optimizer.build("adamw", 0.01, adam_beta2=0.99), start, gradients)
    for i, value in enumerate(start):
        v, m, s = value.astype(np.float64), 0.0, 0.0
        for step, grads in enumerate(gradients, start=1):
            m = 0.9 * m + 0.1 * grads[i].astype(np.float64)
            s = 0.99 * s + 0.01 * grads[i].astype(np.float64) ** 2
            rate = 0.01 * np.sqrt(1 - 0.99**step) / (1 - 0.9**step)
            v = v - rate * m / (np.sqrt(s) + 1e-7)  # Kingma and Ba, end of section 2
        np.testing.assert_allclose(found[i], v, rtol=1e-4, atol=1e-5)


def test_adam_equals_keras_but_for_rounding():
    start, gradients = start_and_gradients()
    ours = run_adam(optimizer.build("adamw", 0.01, adam_beta2=0.99), start, gradients)
    keras_adamw = keras.optimizers.AdamW(0.01, beta_2=0.99, weight_decay=0.0)
    theirs = run_adam(keras_adamw, start, gradients)
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


def test_adam_refuses_amsgrad():
    with pytest.raises(ValueError, match="amsgrad"):
        optimizer.Adam(0.1, amsgrad=True).build([keras.Variable(np.ones(2, np.float32))])


def test_build_sgd_is_nesterov():
    sgd = optimizer.build("sgd", 0.1)
    assert sgd.nesterov and sgd.momentum == 0.9


def test_build_refuses_unknown_names():
    with pytest.raises(ValueError, match="rmsprop, adamw, sgd"):
        optimizer.build("lars", 0.1)
