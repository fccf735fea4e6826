"""A student of a few thousand weights, and batches for it."""

import dataclasses

import numpy as np
import tensorflow as tf

from data.preprocess import PreprocessSpec
from noisy_student import config
from noisy_student.runtime.devices import Devices
from noisy_student.train import build, step
from noisy_student.train.learner import Learner

CLASSES, SIZE = 3, 16
SPEC = PreprocessSpec(image_size=SIZE, small_image=True)
STUDENT = config.TrainConfig(
    role="student",
    round=1,
    model=config.ModelConfig(
        name="efficientnet-b0",
        width=0.1,
        depth=0.1,
        image_size=SIZE,
        small_image=True,
        strides=None,
        dropout_rate=0.2,
        stochastic_depth_rate=0.2,
        batch_norm_momentum=0.9,
        batch_norm_replicas="none",
        normalization="imagenet",
    ),
    noise=config.NoiseConfig("none", 2, 5.0, False, False),
    optimizer=config.OptimizerConfig(
        name="rmsprop",
        schedule="constant",
        learning_rate=0.01,
        final_learning_rate=None,
        warmup_steps=0,
        warmup_epochs=0.0,
        epochs=1.0,
        train_ratio=1.0,
        adam_beta2=0.999,
        weight_decay=1e-3,
    ),
    batch_size=4,
    ratio=2.0,
    steps=10,
    max_steps=None,
    label_smoothing=0.1,
    hard_labels=False,
    temperature=1.0,
    ema_decay=0.9,
    accumulate_steps=1,
    teacher_mode="stored",
    frozen_blocks=-1,
    fixres_epochs=0.0,
    seed=3,
)


def batches(steps: int, parts: int = 1):
    """An iterator over batches, each in as many parts."""
    rng = np.random.default_rng(0)
    columns = {
        "images": rng.integers(0, 256, (steps * 4, SIZE, SIZE, 3), dtype=np.uint8),
        "labels": rng.integers(0, CLASSES, steps * 4).astype("int32"),
    }
    unlabeled = {
        "unlabeled_images": rng.integers(0, 256, (steps * 8, SIZE, SIZE, 3), dtype=np.uint8),
        "probabilities": rng.dirichlet(np.ones(CLASSES), steps * 8).astype("float32"),
    }
    first = tf.data.Dataset.from_tensor_slices(columns).batch(4 // parts, drop_remainder=True)
    second = tf.data.Dataset.from_tensor_slices(unlabeled).batch(8 // parts, drop_remainder=True)
    return iter(tf.data.Dataset.zip(first, second).map(lambda one, other: {**one, **other}))


def learner(devices: Devices, teacher=None, **changes) -> Learner:
    settings = dataclasses.replace(STUDENT, **changes)
    return build.build(settings, devices, CLASSES, num_labeled=8, teacher_model=teacher)


@dataclasses.dataclass
class Training:
    """A learner and its compiled steps."""

    learner: Learner

    def __post_init__(self):
        self._run = step.compile_steps(self.learner)

    def run(self, stream, count: int = 1) -> np.ndarray:
        return self._run(stream, count).numpy()


def gradients_of(learner: Learner, batch, micro_batch=0):
    """One replica's gradients and metrics; nothing is updated."""
    found = []
    metrics = step.train_step(learner, batch, micro_batch, lambda _, each: found.extend(each))
    return found, metrics
