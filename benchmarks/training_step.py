"""Training steps: bare, fed by the pipeline, with the log, and with checkpoints.

    python benchmarks/training_step.py [--steps=200] [--rounds=3]

Each arm trains the teacher of the default recipe, whose step is the shortest, for as many steps: on
a batch in memory, or on the digits by way of crop and RandAugment. Arms take turns, so that other
work on the machine strikes all alike. Printed: milliseconds a step by the
clock and of CPU time and, of the rounds, the median ratios to the bare step of the same round. A
log line is written every 50 steps (the default); the time of a checkpoint is measured alone and
spread over 500 steps (the default).
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import flags

from noisy_student import config
from noisy_student.artifacts import model_file
from noisy_student.config import derived
from noisy_student.runtime.devices import make_devices
from noisy_student.train import progress
from noisy_student.train.session import Session

LOG_EVERY, CHECKPOINT_EVERY = 50, 500


def make_session() -> tuple[Session, tf.data.Iterator, tf.data.Iterator]:
    """The teacher of the default recipe, one batch of random images for ever, and its own ones."""
    recipe = Path(__file__).resolve().parents[1] / "recipes" / "mnist5k.flags"
    flags.FLAGS(["training_step", f"--flagfile={recipe}"])
    given = config.from_flags()
    settings, devices = given.teacher, make_devices(**dataclasses.asdict(given.device))
    session = Session(settings, devices, num_classes=10, num_labeled=100)
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.integers(0, 256, (settings.batch_size, 32, 32, 3), dtype=np.uint8),
        "labels": rng.integers(0, 10, settings.batch_size).astype("int32"),
    }
    splits = derived.load_splits(given.data)
    fed = session.batches(splits.labeled, derived.preprocess_spec(settings.model), None, 0)
    return session, iter(tf.data.Dataset.from_tensors(batch).repeat()), fed


def now() -> np.ndarray:
    """Seconds by the clock and of this process' CPU time."""
    return np.array([time.perf_counter(), time.process_time()])


def bare(session: Session, batches: tf.data.Iterator, steps: int) -> np.ndarray:
    """Seconds (as of `now`) of ``steps`` steps and nothing else."""
    start = now()
    for _ in range(steps):
        table = session.run(batches)
    table.numpy()
    return now() - start


def logged(session: Session, batches: tf.data.Iterator, steps: int) -> np.ndarray:
    """The same with progress, metrics.jsonl and TensorBoard."""
    with tempfile.TemporaryDirectory() as directory:
        watching = progress.Watch(
            Path(directory),
            "training",
            0,
            steps,
            session.settings.images_per_step,
            session.parts,
            show=False,
        )
        start = now()
        for step in range(1, steps + 1):
            watching.before(step - 1)
            watching.add(session.run(batches))
            if step % LOG_EVERY == 0:
                watching.write(step, session.learning_rate(step - 1), None)
        seconds = now() - start
        watching.close()
    return seconds


def checkpoint_seconds(session: Session, repeats: int = 5) -> float:
    """Median seconds of saving a checkpoint."""
    with tempfile.TemporaryDirectory() as directory:
        state = model_file.TrainingState(directory, **session.trackables())
        times = []
        for step in range(repeats):
            start = time.perf_counter()
            state.save(step)
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    session, batches, own_batches = make_session()
    bare(session, batches, 5)  # tracing
    bare(session, own_batches, 5)
    ratios, steps_bare = [], []
    for _ in range(arguments.rounds):
        seconds = [
            bare(session, batches, arguments.steps),
            bare(session, own_batches, arguments.steps),
            logged(session, batches, arguments.steps),
        ]
        times = 1000 * np.array(seconds) / arguments.steps
        steps_bare.append(times[0, 0])
        ratios.append(times[0] / times[1:])
        names = zip(("bare", "fed", "logged"), times.round(2), strict=True)
        print("; ".join(f"{name} {row} ms" for name, row in names), "(clock, CPU)", flush=True)
    step = statistics.median(steps_bare) / 1000
    for name, (clock, cpu) in zip(("fed", "with the log"), np.median(ratios, axis=0), strict=True):
        print(f"speed {name}: {clock:.3f} of the bare step's, by CPU time {cpu:.3f}")
    saving = checkpoint_seconds(session)
    share = saving / (step * CHECKPOINT_EVERY)
    print(f"checkpoint: {1000 * saving:.0f} ms, {share:.2%} of {CHECKPOINT_EVERY} steps")


if __name__ == "__main__":
    main()
