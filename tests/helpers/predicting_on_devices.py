"""Run by tests in processes of their own: labels, evaluates, attacks, validates on some devices.

    python predicting_on_devices.py STRATEGY OUTPUT_DIR

Prints how many rows every replica computed at a time, as JSON.
"""

import dataclasses
import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import efficientnet
from data.preprocess import PreprocessSpec
from noisy_student import config, evaluate, pseudo_label
from noisy_student.artifacts import model_file
from noisy_student.evaluate.evaluated_model import EvaluatedModel
from noisy_student.runtime.devices import Devices, make_devices
from noisy_student.train import build
from tests.helpers import tiny_evaluation as tiny
from tests.helpers import training_on_devices as training

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
    model_file.save_model(model, path, tiny.WNIDS, PreprocessSpec(tiny.SIDE, small_image=True))


def validations(devices: Devices) -> dict[str, np.ndarray]:
    """What a training predicts while it runs, given moving means that replicas may differ in.

    Name -> float32 [IMAGES, 3]. Two replicas are moved by as much on average as one.
    """
    images, found = tiny.pictures(IMAGES), {}
    for replicas, moves in (("all", (0.3, 0.3)), ("none", (0.1, 0.5)), ("apart", (0.3, 2.0))):
        kind = "none" if replicas == "none" else "all"
        model = dataclasses.replace(training.MODEL, batch_norm_replicas=kind)
        learner = build.build(
            dataclasses.replace(training.STUDENT, model=model), devices, 3, num_labeled=24
        )
        moves = moves if devices.num_replicas == 2 else (0.3,)
        for variable in learner.average_model.non_trainable_variables:
            if variable.name == "moving_mean":
                parts = devices.strategy.experimental_local_results(variable.value)
                for part, move in zip(parts, moves, strict=True):
                    part.assign_add(tf.fill(part.shape, move))
        found[replicas] = build.predict_step(learner)(images).numpy()
    return found


def rows_attacked(devices: Devices, folder: Path) -> list[int]:
    """How many images a model is given at a time by FGSM and PGD."""
    rows = set()
    with devices.prediction_scope():
        model, card = model_file.load_model(folder / "model.keras")

    def seen(images: tf.Tensor, training: bool = False) -> tf.Tensor:
        rows.add(images.shape[0])  # while it is traced
        return model(images, training=training)

    attacked = EvaluatedModel(seen, tiny.WNIDS, card["preprocess"], BATCH, spread=devices.spread)
    examples = tiny.examples(IMAGES)
    tiny.attack("fgsm", attacked, examples, folder / "fgsm", fgsm_epsilons=(2.0,))
    options = {"pgd_epsilons": (2.0,), "steps": 2, "restarts": 1}
    tiny.attack("pgd", attacked, examples, folder / "pgd", **options)
    return sorted(rows)


def main(name: str, output_dir: str) -> None:
    if name == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    devices = make_devices(name, precision="float32")
    folder = Path(output_dir)
    network(folder / "model.keras")
    examples = tiny.examples(IMAGES)
    teacher = pseudo_label.Teacher(
        folder / "model.keras", devices, BATCH, config.LabelConfig(calibrate=True), examples
    )
    pseudo_label.run(teacher, examples, folder / "labels", num_shards=2)
    chosen = tiny.settings(
        "clean",
        "corruptions",
        "fgsm",
        "pgd",
        corruptions=("fog",),
        severities=(3,),
        batch_size=BATCH,
    )
    evaluate.run(folder / "model.keras", "tiny", examples, folder / "evaluation", chosen, devices)
    np.savez(folder / "validations.npz", **validations(devices))
    rows: list[int] = []

    def multiplied(images: tf.Tensor, addends: tf.Tensor, factor: tf.Tensor) -> tuple:
        rows.append(images.shape[0])  # while it is traced
        return factor * images + addends[:, tf.newaxis], images[:2]

    images, addends = np.arange(10.0).reshape(5, 2), np.arange(5.0)
    found, first = devices.spread(multiplied)(images, addends, np.float64(2))
    np.testing.assert_array_equal(found, 2 * images + addends[:, np.newaxis])
    np.testing.assert_array_equal(first[:2], images[:2])
    print(json.dumps({"spread": rows, "attacks": rows_attacked(devices, folder)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
