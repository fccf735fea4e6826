"""Models in processes of their own: loaded again, and trained on two replicas."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.efficientnet.test_model import images, randomize, small_model

ROOT = Path(__file__).parents[2]


def run_python(code, *arguments, timeout=300):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_saved_model_gives_the_same_bits_in_a_fresh_process(tmp_path):
    model = randomize(small_model(dropout_rate=0.3, batch_norm_momentum=0.9, normalization="svhn"))
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "expected.npz", images=images(), logits=model(images()))
    code = inspect.cleandoc("""
        import sys, keras, numpy as np, efficientnet
        data = np.load(sys.argv[2])
        model = keras.saving.load_model(sys.argv[1])
        assert np.array_equal(model(data["images"]), data["logits"])
        assert model.get_layer("blocks_1").batch_norm_momentum == 0.9
        assert model.get_layer("blocks_1").expand_bn.momentum == 0.9
        assert model.get_layer("stem_bn").momentum == 0.9
        assert model.get_layer("head_dropout").rate == 0.3
    """)
    run_python(code, tmp_path / "model.keras", tmp_path / "expected.npz")


@pytest.mark.slow
def test_trains_on_two_replicas(tmp_path):
    code = inspect.cleandoc("""
        import sys, keras, numpy as np, tensorflow as tf, efficientnet
        from efficientnet.layers import MBConv
        from efficientnet.noise import Dropout
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            inputs = keras.Input((6, 6, 8))
            block = MBConv(
                8, kernel_size=5, stride=1, expansion=2, squeeze_filters=2, drop_rate=0.5,
                batch_norm_momentum=0.0, name="block",
            )
            model = keras.Model(inputs, block(inputs))
            dropout = Dropout(0.5, name="dropout")
        images = np.random.default_rng(0).normal(size=(8, 6, 6, 8)).astype("float32")

        @tf.function
        def step():
            def replica(images, positions):
                with efficientnet.noise_scope(tf.constant([0, 0]), positions, 8):
                    with tf.GradientTape() as tape:
                        loss = tf.reduce_mean(model(images, training=True) ** 2)
                        noise = dropout(tf.ones([4, 6]), training=True)
                    variables = [v.value for v in model.trainable_variables]
                    gradients = tape.gradient(loss, variables)
                return noise, tf.identity(block.project_bn.moving_mean), gradients[0]
            values = [
                strategy.experimental_distribute_values_from_function(
                    lambda context, source=source: source[
                        context.replica_id_in_sync_group * 4 :][:4]
                ) for source in (tf.constant(images), tf.range(8))
            ]
            return strategy.run(replica, args=values)

        noise, means, gradients = map(strategy.experimental_local_results, step())
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        with efficientnet.noise_scope(tf.constant([0, 0])):
            whole = dropout(tf.ones([8, 6]), training=True)
        assert np.array_equal(np.concatenate(noise), whole) and np.ptp(whole) == 2
        assert not np.array_equal(*means)
        mean = block.project_bn.moving_mean.numpy()
        np.testing.assert_allclose(mean, np.mean(means, axis=0), rtol=1e-6)
        model.save(sys.argv[1])
        loaded = keras.saving.load_model(sys.argv[1])
        loaded_mean = loaded.get_layer("block").project_bn.moving_mean.numpy()
        np.testing.assert_array_equal(loaded_mean, mean)
    """)
    run_python(code, tmp_path / "model.keras")
