"""Dropout of Keras' own layers is a function of seed, step, replica and micro-batch."""

import keras
import numpy as np
import tensorflow as tf

from noisy_student.networks import noise


def model():
    inputs = keras.Input((64,))
    x = keras.layers.Dropout(0.5)(inputs)
    shared = keras.layers.GaussianNoise(1.0)
    return keras.Model(inputs, [x, shared(x), shared(x)])


def outputs(network, seed, replica=0, micro_batch=0):
    @tf.function
    def run(x, seed):
        with noise.seed_scope(seed, replica, micro_batch):
            return network(x, training=True)

    return [y.numpy() for y in run(tf.ones([2, 64]), tf.constant(seed))]


def test_noise_follows_from_the_seed_alone():
    one, other = model(), model()
    for network in (one, other):
        noise.make_reproducible(network)
    first = outputs(one, [1, 5])
    outputs(one, [1, 6])  # steps between, which move the states of Keras' generators
    for network in (one, other):
        for a, b in zip(outputs(network, [1, 5]), first, strict=True):
            np.testing.assert_array_equal(a, b)


def test_noise_differs_by_step_replica_micro_batch_and_call():
    network = model()
    noise.make_reproducible(network)
    masks = [
        outputs(network, seed, *where)[0]
        for seed, *where in (([1, 5],), ([1, 6],), ([2, 5],), ([1, 5], 1), ([1, 5], 0, 1))
    ]
    assert len({mask.tobytes() for mask in masks}) == 5
    _, once, twice = outputs(network, [1, 5])
    assert not np.array_equal(once, twice)
    assert abs(np.mean([mask > 0 for mask in masks]) - 0.5) < 0.06  # sd 0.02


def test_outside_of_a_scope_keras_draws():
    network = model()
    noise.make_reproducible(network)
    first, second = (network(tf.ones([2, 64]), training=True)[0].numpy() for _ in range(2))
    assert not np.array_equal(first, second)
