"""Training steps: bare, fed by the pipeline, with logging, and with checkpoints.

    python -m benchmarks.training_step [--steps=200] [--rounds=3]

Each arm trains the teacher of the default recipe, whose step is the shortest, for the same number
of steps: on a batch in memory, or on digits that are cropped and augmented by RandAugment. Prints
milliseconds per step of wall time and of CPU time, and median ratios to the bare step of the same
round. Log lines are written every 50 steps, the default. The time of a checkpoint is measured alone
and divided by 500 steps, the default.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import harness
from noisy_student import config
from noisy_student.config import derived
from noisy_student.runtime.devices import make_devices
from noisy_student.train import build, step
from noisy_student.train.batches import training_batches
from noisy_student.train.learner import Learner
from noisy_student.train.metrics_log import MetricsLog
from noisy_student.train.progress import Progress
from noisy_student.train.training_state import TrainingState

LOG_EVERY, CHECKPOINT_EVERY = 50, 500


class Bench:
    """The teacher of the default recipe, its compiled step, random batches and its own ones."""

    def __init__(self) -> None:
        recipe = harness.ROOT / "recipes" / "mnist5k.flags"
        given = config.parse([f"--flagfile={recipe}"])
        devices = make_devices(**dataclasses.asdict(given.device))
        self.learner = build.build(given.teacher, devices, num_classes=10, num_labeled=100)
        self.run = step.compile_steps(self.learner)
        rng, size = np.random.default_rng(0), given.teacher.batch_size
        batch = {
            "images": rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8),
            "labels": rng.integers(0, 10, size).astype("int32"),
        }
        self.random = iter(tf.data.Dataset.from_tensors(batch).repeat())
        self.fed = training_batches(self.learner, derived.load_splits(given.data).labeled)


def bare(bench: Bench, batches: Iterator[step.Batch], steps: int) -> np.ndarray:
    """Returns wall and CPU seconds of the steps alone."""
    start = harness.now()
    for _ in range(steps):
        table = bench.run(batches, 1)
    table.numpy()
    return harness.now() - start


def logged(bench: Bench, batches: Iterator[step.Batch], steps: int) -> np.ndarray:
    """Returns wall and CPU seconds with progress bar, metrics.jsonl and TensorBoard."""
    learner = bench.learner
    images, names = learner.settings.images_per_step, step.metric_names(learner)
    with tempfile.TemporaryDirectory() as directory:
        metrics = MetricsLog("training", Path(directory), names, images, 0)
        progress = Progress("training", 0, steps, images, show=False)
        start = harness.now()
        for number in range(1, steps + 1):
            metrics.add(bench.run(batches, 1))
            progress.update(number)
            if number % LOG_EVERY == 0:
                row = metrics.means(number, learner.learning_rate(number - 1))
                metrics.write(row)
                progress.log(row)
        seconds = harness.now() - start
        metrics.close()
    return seconds


def checkpoint_seconds(learner: Learner, repeats: int = 5) -> float:
    """Returns the median seconds of saving a checkpoint."""
    with tempfile.TemporaryDirectory() as directory:
        state = TrainingState(directory, **learner.trackables())
        times = []
        for number in range(repeats):
            start = time.perf_counter()
            state.save(number)
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Prints the table."""
    arguments = harness.parser(
        __doc__, steps=(200, "Steps per turn."), rounds=(3, "Turns of each arm.")
    ).parse_args()
    bench = Bench()
    bare(bench, bench.random, 5)  # tracing
    bare(bench, bench.fed, 5)
    ratios, steps_bare = [], []
    for _ in range(arguments.rounds):
        seconds = [
            bare(bench, bench.random, arguments.steps),
            bare(bench, bench.fed, arguments.steps),
            logged(bench, bench.random, arguments.steps),
        ]
        times = 1000 * np.array(seconds) / arguments.steps
        steps_bare.append(times[0, 0])
        ratios.append(times[0] / times[1:])
        names = zip(("bare", "fed", "logged"), times.round(2), strict=True)
        print("; ".join(f"{name} {row} ms" for name, row in names), "(wall, CPU)", flush=True)
    step_seconds = statistics.median(steps_bare) / 1000
    for name, (wall, cpu) in zip(("fed", "logged"), np.median(ratios, axis=0), strict=True):
        print(f"speed {name}: {wall:.3f} of the bare step, {cpu:.3f} by CPU time")
    saving = checkpoint_seconds(bench.learner)
    share = saving / (step_seconds * CHECKPOINT_EVERY)
    print(f"checkpoint: {1000 * saving:.0f} ms, {share:.2%} of {CHECKPOINT_EVERY} steps")


if __name__ == "__main__":
    main()
