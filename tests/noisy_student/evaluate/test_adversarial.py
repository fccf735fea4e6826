"""Signed-gradient attacks against a plain GradientTape."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student.evaluate import adversarial


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(8, 3, activation="swish")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(4)(x))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(5, 6, 6, 3), dtype=np.uint8)
    images[0, :3] = 0
    images[1, :3] = 255
    return images, np.array([0, 1, 2, 3, 1], np.int32)


def gradient_by_hand(model, images, labels):
    images = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = model(images, training=False)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tape.gradient(loss, images).numpy()


@pytest.mark.parametrize("epsilon", [1.0, 16.0])
def test_fgsm_by_hand(model, batch, epsilon):
    images, labels = batch
    step = epsilon * np.sign(gradient_by_hand(model, images, labels))
    expected = np.clip(images.astype(np.float32) + step, 0, 255)
    (found,) = adversarial.fgsm(model, images, labels, [epsilon])
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(expected - images).max() == epsilon


def test_fgsm_raises_the_loss(model, batch):
    images, labels = batch

    def loss(values):
        logits = model(tf.cast(values, tf.float32), training=False)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits).numpy()

    assert (loss(*adversarial.fgsm(model, images, labels, [1.0])) > loss(images)).all()


def test_epsilon_zero_changes_nothing(model, batch):
    images, labels = batch
    np.testing.assert_array_equal(*adversarial.fgsm(model, images, labels, [0.0]), images)


def test_eval_mode_whatever_the_default(model, batch):
    images, labels = batch
    before = [weight.numpy() for weight in model.weights]
    attacks = [adversarial.fgsm(model, images, labels, [4.0])[0].numpy() for _ in range(3)]
    for attack in attacks[1:]:
        np.testing.assert_array_equal(attack, attacks[0])
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_each_image_is_attacked_alone(model, batch):
    images, labels = batch
    (together,) = adversarial.fgsm(model, images, labels, [4.0])
    (alone,) = adversarial.fgsm(model, images[2:3], labels[2:3], [4.0])
    np.testing.assert_allclose(together[2:3], alone, atol=1e-4)


def test_sweep_equals_single_attacks_in_a_function(model, batch):
    images, labels = batch
    epsilons = (0.0, 1.0, 8.0)
    sweep = tf.function(lambda x, y: tf.stack(adversarial.fgsm(model, x, y, epsilons)))(
        images, labels
    )
    for epsilon, found in zip(epsilons, sweep, strict=True):
        (alone,) = adversarial.fgsm(model, images, labels, [epsilon])
        np.testing.assert_allclose(found, alone, atol=1e-4)


def test_pgd_by_hand(model, batch):
    images, labels = batch
    start = images.astype(np.float32)
    expected = start
    for _ in range(3):
        expected = expected + 2.0 * np.sign(gradient_by_hand(model, expected, labels))
        expected = np.clip(np.clip(expected, start - 5, start + 5), 0, 255)
    found = adversarial.pgd(model, images, labels, 5.0, step_size=2.0, num_steps=3)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found - start).max() == 5.0


def test_one_step_of_pgd_is_fgsm(model, batch):
    images, labels = batch
    found = adversarial.pgd(model, images, labels, 8.0, step_size=8.0, num_steps=1)
    np.testing.assert_array_equal(found, *adversarial.fgsm(model, images, labels, [8.0]))


def test_a_model_without_gradient_is_refused(model, batch):
    with pytest.raises(ValueError, match="--benchmarks=square"):
        adversarial.fgsm(lambda images, training: model(tf.round(images)), *batch, [1.0])
