"""Loss, optimizers and weight averages on two replicas equal one replica."""

import json
import subprocess
import sys

import numpy as np
import pytest

STEPS = 12
SCRIPT = """
import json, sys
import keras, numpy as np, tensorflow as tf
from noisy_student import ema, losses, optimizer, schedule
from noisy_student.batch_layout import Layout

steps, name = int(sys.argv[1]), sys.argv[2]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rng = np.random.default_rng(0)
images = rng.normal(size=(steps, 8, 3)).astype("float32")
labels = rng.integers(0, 4, size=(steps, 8)).astype("int32")
targets = rng.dirichlet(np.ones(4), size=(steps, 8)).astype("float32")

def build():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])

def train(strategy):
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        model, inside_model, outside_model = build(), build(), build()
        rate = schedule.LearningRate("cosine", 0.1, warmup_steps=2, total_steps=20)
        chosen = optimizer.build(name, rate)
        chosen.build(model.trainable_variables)
        inside = ema.WeightAverage(model, inside_model, 0.9999)
        outside = ema.WeightAverage(model, outside_model, 0.9999)
        inside.reset()
    outside.reset()

    def replica_step(x, y, t):
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            total, _ = losses.student_loss(
                logits, y, logits, t, decayed_variables=model.trainable_variables,
                config=losses.LossConfig(ratio=3.0, label_smoothing=0.1, weight_decay=1e-2),
                share=Layout(labeled=8, unlabeled=8, replicas=replicas).share())
        chosen.apply(tape.gradient(total, model.trainable_variables), model.trainable_variables)
        inside.update(chosen.iterations)
        return total

    @tf.function
    def step(x, y, t):
        total = strategy.run(replica_step, (x, y, t))
        outside.update(chosen.iterations)
        return strategy.reduce("SUM", total, axis=None)

    def split(values):
        parts = np.split(values, replicas)
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group]))

    totals = [float(step(*map(split, batch))) for batch in zip(images, labels, targets)]
    copies = {
        name: [[part.numpy().tolist() for part in strategy.experimental_local_results(w.value)]
               for w in built.weights]
        for name, built in [("model", model), ("inside", inside_model), ("outside", outside_model)]
    }
    iterations = int(chosen.iterations.numpy())
    return {"totals": totals, "copies": copies, "iterations": iterations}

one = train(tf.distribute.get_strategy())
two = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
print(json.dumps({"one": one, "two": two}))
"""


@pytest.fixture(scope="module", params=["rmsprop", "adamw"])
def results(request):
    command = [sys.executable, "-c", SCRIPT, str(STEPS), request.param]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1])


def test_losses_are_equal(results):
    assert results["one"]["iterations"] == results["two"]["iterations"] == STEPS
    np.testing.assert_allclose(results["two"]["totals"], results["one"]["totals"], rtol=1e-5)


@pytest.mark.parametrize("name", ["model", "inside", "outside"])
def test_weights_and_averages_are_equal(results, name):
    pairs = zip(results["two"]["copies"][name], results["one"]["copies"][name], strict=True)
    for (first, second), (single,) in pairs:
        np.testing.assert_allclose(first, single, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(first, second)


def test_the_average_is_not_the_model(results):
    (weights,), (averages,) = (results["one"]["copies"][name][0] for name in ("model", "inside"))
    assert np.abs(np.subtract(weights, averages)).max() > 1e-3
