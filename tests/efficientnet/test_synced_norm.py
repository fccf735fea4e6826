"""Batch norm over groups of replicas, against autodiff through plain float64 operations."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from efficientnet import synced_norm
from efficientnet.layers import BATCH_NORM_EPSILON, BatchNorm

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results():
    script = ROOT / "tests" / "helpers" / "synced_norm_replicas.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    finished = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1])


def expected(groups: int):
    """Outputs, gradients and moving statistics of 16 examples in as many groups."""
    rng = np.random.default_rng(0)
    shape = (16, 3, 2, 5)
    inputs = tf.constant(rng.normal(3, 2, size=shape).astype("float32"), tf.float64)
    weights = tf.constant(rng.normal(size=shape).astype("float32"), tf.float64)
    gamma = tf.constant(np.linspace(0.5, 2, 5))
    beta = tf.constant(np.linspace(-1, 1, 5))
    with tf.GradientTape() as tape:
        tape.watch([inputs, gamma, beta])
        outputs, means, variances = [], [], []
        for part in tf.split(inputs, groups):
            mean = tf.reduce_mean(part, (0, 1, 2))
            variance = tf.reduce_mean((part - mean) ** 2, (0, 1, 2))
            outputs.append(gamma * (part - mean) / tf.sqrt(variance + BATCH_NORM_EPSILON) + beta)
            means.append(0.5 * mean)
            variances.append(0.5 + 0.5 * variance)
        outputs = tf.concat(outputs, 0)
        loss = tf.reduce_sum(weights * tf.sin(outputs))
    gradients = tape.gradient(loss, [inputs, gamma, beta])
    return outputs, *gradients, np.stack(means), np.stack(variances)


@pytest.mark.parametrize(("replicas", "groups"), [("none", 4), ("2", 2), ("all", 1), ("64", 1)])
def test_equals_plain_operations_over_each_group(results, replicas, groups):
    outputs, dx, dgamma, dbeta, means, variances = expected(groups)
    got = results[replicas]
    np.testing.assert_allclose(got["outputs"], outputs, atol=2e-5)
    np.testing.assert_allclose(got["dx"], dx, atol=2e-5)
    np.testing.assert_allclose(got["dgamma"], dgamma, rtol=1e-4)
    np.testing.assert_allclose(got["dbeta"], dbeta, rtol=1e-4)
    of_replica = np.repeat(np.arange(groups), 4 // groups)
    np.testing.assert_allclose(got["moving"][0], means[of_replica], rtol=1e-6)
    np.testing.assert_allclose(got["moving"][1], variances[of_replica], rtol=1e-5)


def test_groups_that_do_not_divide_the_replicas_are_refused(results):
    assert "batch_norm_replicas = 3 does not divide the 4 replicas" in results["error"]


@pytest.mark.parametrize(
    ("count", "size"), [(1, 1), (8, 1), (16, 8), (64, 8), (128, 16), (1024, 128), (2048, 256)]
)
def test_published_groups(count, size):
    """By hand from the published rule: none shared up to 8 replicas, then max(8, count / 8)."""
    assert synced_norm.group_size("published", count) == size


def test_published_groups_must_be_equally_large():
    with pytest.raises(ValueError, match="published does not divide the 12 replicas"):
        synced_norm.group_size("published", 12)


@pytest.mark.parametrize("value", ["some", "0", "-2", "1.5"])
def test_other_values_are_refused(value):
    with pytest.raises(ValueError, match="none, all, published or a number of replicas above 0"):
        BatchNorm(replicas=value)


def test_one_replica_has_nothing_to_share():
    inputs = np.random.default_rng(0).normal(size=(4, 2, 2, 3)).astype("float32")
    alone, synced = (BatchNorm(replicas=replicas) for replicas in ("none", "all"))
    np.testing.assert_array_equal(alone(inputs, training=True), synced(inputs, training=True))
