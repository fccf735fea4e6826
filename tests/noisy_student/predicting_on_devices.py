"""Run by tests in processes of their own: labels and evaluates on one device or on two.

    python predicting_on_devices.py STRATEGY OUTPUT_DIR

Prints how many rows every replica computed at a time, as JSON.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import efficientnet
from data.preprocess import PreprocessSpec
from noisy_student import checkpoint, evaluate, labeling, settings, strategy
from tests.noisy_student import tiny_evaluation as tiny

IMAGES, BATCH = 11, 5  # neither a whole number of batches, nor of equal halves


def network(path: Path) -> None:
    """An EfficientNet whose batch norm tells averages from the batch's own statistics."""
    keras.utils.set_random_seed(0)
    model = efficientnet.build_model(
        "efficientnet-b0", num_classes=10, small_image=True, width=0.1, depth=0.1
    )
    rng = np.random.default_rng(0)
    for variable in model.non_trainable_variables:
        variable.assign(variable + rng.uniform(0, 0.5, variable.shape))
    checkpoint.save_model(model, path, tiny.WNIDS, PreprocessSpec(tiny.SIDE, small_image=True))


def main(name: str, output_dir: str) -> None:
    if name == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    devices = strategy.make(name, precision="float32")
    folder = Path(output_dir)
    network(folder / "model.keras")
    examples = tiny.examples(IMAGES)
    labeling.label_shards(
        folder / "model.keras", examples, folder / "labels", devices, batch_size=BATCH,
        num_shards=2, stored=settings.LabelConfig(calibrate=True), validation=examples,
    )  # fmt: skip
    evaluate.run(
        folder / "model.keras", "tiny", examples, folder / "evaluation",
        tiny.settings("clean", "corruptions", "fgsm", corruptions=("fog",), severities=(3,)),
        devices,
    )  # fmt: skip
    rows: list[int] = []

    def doubled(images: tf.Tensor, addends: tf.Tensor) -> tf.Tensor:
        rows.append(images.shape[0])  # while it is traced
        return 2 * images + addends[:, tf.newaxis]

    images, addends = np.arange(10.0).reshape(5, 2), np.arange(5.0)
    found = devices.spread(doubled)(images, addends)
    np.testing.assert_array_equal(found, 2 * images + addends[:, np.newaxis])
    print(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
