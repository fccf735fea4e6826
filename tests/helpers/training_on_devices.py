"""Run by tests in processes of their own: a small student's training on some devices.

    python training_on_devices.py STRATEGY REPLICAS OUTPUT_DIR SELECTED_DIR CHANGES

CHANGES is JSON with replacements for fields of TrainConfig, ModelConfig, NoiseConfig,
OptimizerConfig and LogConfig. All noise is on.
"""

import dataclasses
import json
import sys

import numpy as np
import tensorflow as tf

from data import sources
from noisy_student import config, train
from noisy_student.runtime.devices import make_devices

CLASSES = ("a", "b", "c")
MODEL = config.ModelConfig(
    name="efficientnet-b0",
    width=0.1,
    depth=0.1,
    image_size=None,
    small_image=True,
    strides=(2, 1, 2, 2, 1, 1, 1, 1),
    dropout_rate=0.2,
    stochastic_depth_rate=0.2,
    batch_norm_momentum=0.9,
    batch_norm_replicas="all",
    normalization="imagenet",
)
NOISE = config.NoiseConfig("randaugment", 2, 5.0, True, True)
OPTIMIZER = config.OptimizerConfig(
    name="rmsprop",
    schedule="cosine",
    learning_rate=0.0003,
    final_learning_rate=None,
    warmup_steps=5,
    warmup_epochs=5.0,
    epochs=350.0,
    train_ratio=1.0,
    adam_beta2=0.999,
    weight_decay=1e-5,
)
STUDENT = config.TrainConfig(
    role="student",
    round=1,
    model=MODEL,
    noise=NOISE,
    optimizer=OPTIMIZER,
    batch_size=8,
    ratio=2.0,
    steps=50,
    max_steps=None,
    label_smoothing=0.1,
    hard_labels=False,
    temperature=1.0,
    ema_decay=0.9,
    accumulate_steps=1,
    teacher_mode="stored",
    frozen_blocks=-1,
    fixres_epochs=0.0,
    seed=0,
)
LOG = config.LogConfig(
    log_every=1,
    validate_every=25,
    checkpoint_every=100,
    eval_batch_size=24,
    steps_per_execution=1,
    profile_steps=None,
)


def images(count: int, seed: int) -> np.ndarray:
    """Blurred random patterns, uint8 [count, 32, 32, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def examples(name: str, count: int, seed: int) -> sources.Examples:
    """Images with labels in turn."""
    ids = np.array([f"{name}/{index}" for index in range(count)], object)
    labels = np.arange(count, dtype=np.int32) % len(CLASSES)
    return sources.DecodedExamples(ids, labels, CLASSES, images=images(count, seed))


def make_splits() -> sources.Splits:
    """24 images in each part."""
    names = ("labeled", "validation", "unlabeled", "test")
    parts = [examples(name, 24, seed) for seed, name in enumerate(names)]
    return sources.Splits(*parts, class_names=CLASSES, info={})


def changed(settings, changes: dict):
    """``settings`` with those changes that name one of its fields, or of theirs."""
    values = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            values[field.name] = changed(value, changes)
        elif field.name in changes:
            values[field.name] = changes[field.name]
    return dataclasses.replace(settings, **values)


def main(name: str, replicas: str, output_dir: str, selected_dir: str, changes: str) -> None:
    """Trains; a rerun goes on or, where all is done, ends at once."""
    if name == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * int(replicas)
        tf.config.set_logical_device_configuration(cpu, devices)
    devices = make_devices(name, precision="float32", intra_op_threads=1)
    if devices.num_replicas != int(replicas):
        raise ValueError(f"{devices.num_replicas} replicas instead of {replicas}")
    changes = json.loads(changes)
    settings = changed(STUDENT, changes)
    inputs = train.Inputs(selected_dir if settings.role == "student" else None)
    train.run(settings, make_splits(), output_dir, devices, changed(LOG, changes), inputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
