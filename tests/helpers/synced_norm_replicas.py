"""Run by test_synced_norm.py in a process of its own: batch norm on four replicas.

Prints the results as JSON, by setting of `replicas`.
"""

import json

import numpy as np
import tensorflow as tf

from efficientnet.layers import BatchNorm

REPLICAS = 4
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * REPLICAS
)
tf.config.experimental.enable_op_determinism()
strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(REPLICAS)])
rng = np.random.default_rng(0)


def split(values):
    parts = np.split(values, REPLICAS)
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )


def locals_of(value):
    return [part.numpy() for part in strategy.experimental_local_results(value)]


inputs = rng.normal(3, 2, size=(16, 3, 2, 5)).astype("float32")
weights = rng.normal(size=inputs.shape).astype("float32")


def layer_results(replicas: str) -> dict:
    with strategy.scope():
        layer = BatchNorm(momentum=0.5, replicas=replicas)
        layer.build(inputs.shape)
        layer.gamma.assign(np.linspace(0.5, 2, 5))
        layer.beta.assign(np.linspace(-1, 1, 5))

    def replica_step(x, w):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(w * tf.sin(y))
        return y, *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])

    @tf.function
    def step(x, w):
        return strategy.run(replica_step, (x, w))

    y, dx, dgamma, dbeta = map(locals_of, step(split(inputs), split(weights)))
    statistics = (layer.moving_mean.value, layer.moving_variance.value)
    return {
        "outputs": np.concatenate(y).tolist(),
        "dx": np.concatenate(dx).tolist(),
        "dgamma": np.sum(dgamma, 0).tolist(),
        "dbeta": np.sum(dbeta, 0).tolist(),
        "moving": [[part.tolist() for part in locals_of(value)] for value in statistics],
    }


if __name__ == "__main__":
    results = {replicas: layer_results(replicas) for replicas in ("none", "2", "all", "64")}
    try:
        layer_results("3")
    except ValueError as error:
        results["error"] = str(error)
    print(json.dumps(results))
