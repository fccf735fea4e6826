"""Times a few training steps on random images, for dry runs."""

import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from data import sources
from noisy_student import config
from noisy_student.config import derived
from noisy_student.runtime.devices import Devices
from noisy_student.train import build, step
from noisy_student.train.build import Learner
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


def time_steps(learner: Learner, steps: int = 3) -> float:
    """Returns the seconds of one training step, measured on random images after tracing."""
    batches, run_steps = random_batches(learner), step.compile_steps(learner)
    run_steps(batches, 1).numpy()
    start = time.perf_counter()
    run_steps(batches, steps).numpy()
    return (time.perf_counter() - start) / steps


def dry_run(settings: config.TrainConfig, splits: sources.Splits, devices: Devices) -> float:
    """Prints model, shapes, steps and expected time of one training; writes no file.

    Returns:
        The expected seconds.
    """
    learner = build.build(settings, devices, len(splits.class_names), len(splits.labeled))
    size = derived.preprocess_spec(settings.model).image_size
    steps = settings.last_step(len(splits.labeled))
    seconds = steps * time_steps(learner)
    o = settings.optimizer
    print(
        f"{settings.role} {settings.round}: {settings.model.name}, "
        f"{learner.model.count_params():,} parameters, input {size}x{size}x3\n"
        f"  batch {settings.batch_size} labeled + {settings.unlabeled_batch_size} unlabeled, "
        f"{steps} steps, {steps * settings.images_per_step:,} images\n"
        f"  {o.name}, learning rate {o.learning_rate:.4g} ({o.schedule}), "
        f"weight decay {o.weight_decay:g}, noise {settings.noise}\n"
        f"  batch norm momentum {learner.settings.model.batch_norm_momentum:g}\n"
        f"  about {seconds:.0f} s on {devices.describe()} (3 steps measured)"
    )
    return seconds
