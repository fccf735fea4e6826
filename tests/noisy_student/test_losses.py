"""The loss against NumPy, by hand, and its split over replicas."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from noisy_student import losses
from noisy_student.batch_layout import Layout


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {
        "labeled_logits": rng.normal(size=(4, 5)).astype(np.float32) * 3,
        "labels": np.array([0, 4, 2, 2], np.int32),
        "unlabeled_logits": rng.normal(size=(8, 5)).astype(np.float32) * 3,
        "targets": rng.dirichlet(np.ones(5), size=8).astype(np.float32),
    }


WEIGHTS = [np.array([[1.0, -2.0], [3.0, 0.5]], np.float32), np.array([4.0], np.float32)]
CONFIG = losses.LossConfig(ratio=2.0, label_smoothing=0.1, weight_decay=1e-2)
ALL = Layout(labeled=4, unlabeled=8).share()


def loss(batch, share=ALL, config=CONFIG):
    variables = [tf.Variable(weight) for weight in WEIGHTS]
    return losses.student_loss(**batch, decayed_variables=variables, config=config, share=share)


def test_cross_entropy_by_hand():
    logits = np.array([[0.0, np.log(3.0)]], np.float32)  # probabilities 1/4 and 3/4
    found = losses.cross_entropy(logits, [[0.5, 0.5]])
    np.testing.assert_allclose(found, [-0.5 * np.log(0.25) - 0.5 * np.log(0.75)], rtol=1e-6)


def test_cross_entropy_of_bfloat16_logits_is_float32():
    logits = tf.constant([[1.0, 2.0, 3.0]], tf.bfloat16)
    found = losses.cross_entropy(logits, [[0.0, 0.0, 1.0]])
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, -log_softmax(np.array([[1.0, 2.0, 3.0]]))[:, 2], rtol=1e-6)


def test_smooth_by_hand():
    np.testing.assert_allclose(
        losses.smooth(tf.constant([1]), 4, 0.1), [[0.025, 0.925, 0.025, 0.025]], rtol=1e-6
    )


def test_sharpen_by_hand():
    probabilities = [[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]]
    np.testing.assert_allclose(losses.sharpen(probabilities, 1.0), probabilities, rtol=1e-6)
    squares = np.array([0.04, 0.09, 0.25])
    np.testing.assert_allclose(
        losses.sharpen(probabilities, 0.5)[0], squares / squares.sum(), rtol=1e-6
    )


def test_sharpen_renormalizes_and_does_not_underflow():
    found = losses.sharpen([[1e-3] * 999 + [2e-3]], 0.01)
    np.testing.assert_allclose(found[0, -1], 1.0, rtol=1e-6)
    np.testing.assert_allclose(losses.sharpen([[0.3, 0.1]], 1.0), [[0.75, 0.25]], rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_sharpen_refuses_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        losses.sharpen([[0.5, 0.5]], temperature)


def test_unlabeled_targets():
    probabilities = tf.constant([[0.2, 0.6, 0.2]])
    hard = losses.unlabeled_targets(probabilities, hard=True, label_smoothing=0.3)
    soft = losses.unlabeled_targets(probabilities, hard=False, label_smoothing=0.3, temperature=0.5)
    np.testing.assert_allclose(hard, [[0.1, 0.8, 0.1]], rtol=1e-6)
    np.testing.assert_allclose(soft, np.array([[4, 36, 4]]) / 44, rtol=1e-6)


def test_unlabeled_targets_stop_the_gradient():
    logits = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        targets = losses.unlabeled_targets(tf.nn.softmax(logits), hard=False, label_smoothing=0.0)
        total = tf.reduce_sum(targets[:, 0])
    assert tape.gradient(total, logits) is None


def test_student_loss_by_hand(batch):
    total, parts = loss(batch)
    smoothed = np.full((4, 5), 0.02)
    smoothed[np.arange(4), batch["labels"]] += 0.9
    labeled = -(smoothed * log_softmax(batch["labeled_logits"])).sum(-1).mean()
    unlabeled = -(batch["targets"] * log_softmax(batch["unlabeled_logits"])).sum(-1).mean()
    decay = 1e-2 * (1 + 4 + 9 + 0.25 + 16) / 2
    np.testing.assert_allclose(total, labeled + 2 * unlabeled + decay, rtol=1e-5)
    expected = {"loss": total, "labeled_loss": labeled, "unlabeled_loss": unlabeled}
    for name, value in (expected | {"l2_loss": decay}).items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_labeled_part_may_weigh_less(batch, weight):
    total, parts = loss(batch, config=dataclasses.replace(CONFIG, labeled_weight=weight))
    _, paper = loss(batch)
    expected = weight * paper["labeled_loss"] + 2 * paper["unlabeled_loss"] + paper["l2_loss"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    np.testing.assert_array_equal(parts["labeled_loss"], paper["labeled_loss"])


def test_supervised_loss_has_no_unlabeled_part(batch):
    batch |= {"unlabeled_logits": None, "targets": None}
    total, parts = loss(batch, Layout(labeled=4, unlabeled=0).share())
    assert parts["unlabeled_loss"] == 0
    np.testing.assert_allclose(total, parts["labeled_loss"] + parts["l2_loss"], rtol=1e-6)


def test_gradients_by_hand(batch):
    labeled = tf.Variable(batch["labeled_logits"])
    unlabeled = tf.Variable(batch["unlabeled_logits"])
    weight = tf.Variable(WEIGHTS[0])
    with tf.GradientTape() as tape:
        total, _ = losses.student_loss(
            labeled,
            batch["labels"],
            unlabeled,
            batch["targets"],
            decayed_variables=[weight],
            config=CONFIG,
            share=ALL,
        )
    of_labeled, of_unlabeled, of_weight = tape.gradient(total, [labeled, unlabeled, weight])
    smoothed = np.full((4, 5), 0.02)
    smoothed[np.arange(4), batch["labels"]] += 0.9
    softmax = np.exp(log_softmax(batch["labeled_logits"]))
    np.testing.assert_allclose(of_labeled, (softmax - smoothed) / 4, atol=1e-6)
    softmax = np.exp(log_softmax(batch["unlabeled_logits"]))
    np.testing.assert_allclose(of_unlabeled, 2 * (softmax - batch["targets"]) / 8, atol=1e-6)
    np.testing.assert_allclose(of_weight, 1e-2 * WEIGHTS[0], rtol=1e-6)


def test_shares_of_two_replicas_sum_to_the_whole(batch):
    whole, whole_parts = loss(batch)
    halves = [
        {name: np.split(values, 2)[replica] for name, values in batch.items()}
        for replica in range(2)
    ]
    layout = Layout(labeled=4, unlabeled=8, replicas=2)
    shares = [loss(half, layout.share(replica)) for replica, half in enumerate(halves)]
    np.testing.assert_allclose(shares[0][0] + shares[1][0], whole, rtol=1e-6)
    for name, value in whole_parts.items():
        np.testing.assert_allclose(shares[0][1][name] + shares[1][1][name], value, rtol=1e-6)


def test_accuracy_and_confidence_by_hand():
    """Half of the labeled images are right; both unlabeled ones are as the targets have it."""
    logits = np.log(np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], np.float32))
    batch = {"labeled_logits": logits, "labels": np.array([1, 2], np.int32)}
    batch |= {"unlabeled_logits": logits[:, ::-1], "targets": np.eye(3, dtype=np.float32)[[1, 2]]}
    _, metrics = loss(batch, Layout(labeled=2, unlabeled=2).share())
    names = ("labeled_accuracy", "unlabeled_accuracy", "labeled_confidence", "unlabeled_confidence")
    np.testing.assert_allclose([metrics[name] for name in names], [0.5, 1, 0.55, 0.55], rtol=1e-6)


def test_no_decayed_variables():
    assert losses.l2([]) == 0.0


def test_logits_without_targets_are_refused(batch):
    batch["targets"] = None
    with pytest.raises(ValueError, match="both"):
        loss(batch)
