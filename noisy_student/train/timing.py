"""Describes a training without running it, and makes random images for benchmarks."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from data import sources
from noisy_student import config
from noisy_student.config import derived
from noisy_student.metrics.formatting import duration
from noisy_student.runtime.devices import Devices
from noisy_student.runtime.speed import TRAINING, measure
from noisy_student.train.build import batch_norm_momentum
from noisy_student.train.learner import Learner, name_of
from noisy_student.train.step import Batch


def random_batches(learner: Learner) -> Iterator[Batch]:
    """Returns endless micro-batches for the replicas: one batch of random images, in memory."""
    size = derived.preprocess_spec(learner.settings.model).image_size
    layout, rng = learner.layout, np.random.default_rng(0)

    def images(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)

    batch = {
        "images": images(layout.labeled_rows),
        "labels": np.zeros(layout.labeled_rows, np.int32),
    }
    if rows := layout.unlabeled_rows:
        classes = learner.num_classes
        batch["unlabeled_images"] = images(rows)
        batch["probabilities"] = np.full((rows, classes), 1 / classes, np.float32)
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    return learner.devices.distribute(lambda hosts, host: dataset)


def describe(
    settings: config.TrainConfig, num_labeled: int, num_classes: int, seconds: float
) -> str:
    """Describes a training of so many expected seconds; epochs count labeled images."""
    size = derived.preprocess_spec(settings.model).image_size
    steps, o = settings.last_step(num_labeled), settings.optimizer
    parameters = derived.model_cost(settings.model, num_classes).parameters
    return (
        f"{name_of(settings)}: {settings.model.name}, {parameters:,} parameters, input "
        f"{size}x{size}x3\n"
        f"  batch {settings.batch_size} labeled + {settings.unlabeled_batch_size} unlabeled, "
        f"{steps} steps, {steps * settings.images_per_step:,} images\n"
        f"  {o.name}, learning rate {o.learning_rate:.4g} ({o.schedule}), "
        f"weight decay {o.weight_decay:g}, noise {settings.noise}\n"
        f"  batch norm momentum {batch_norm_momentum(settings, num_labeled):g}\n"
        f"  about {duration(seconds)}"
    )


def dry_run(settings: config.TrainConfig, splits: sources.Splits, devices: Devices) -> None:
    """Prints the description of a training, with its expected time on this machine."""
    num_labeled, num_classes = len(splits.labeled), len(splits.class_names)
    cost, speed = derived.model_cost(settings.model, num_classes), measure(devices)
    steps = settings.last_step(num_labeled)
    seconds = speed.seconds(cost, steps * settings.images_per_step, steps, TRAINING)
    seconds = speed.start(cost) + seconds / devices.num_accelerators
    print(describe(settings, num_labeled, num_classes, seconds))
    print(f"  on {devices.describe()}, {speed.describe()}")
