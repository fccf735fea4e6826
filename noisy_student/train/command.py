r"""Trains a teacher, a student or a supervised baseline (Xie et al., arXiv v4, section 3.1).

    python -m noisy_student.train --flagfile=recipes/mnist5k.flags --role=teacher \
        --output_dir=runs/teacher
    python -m noisy_student.train --flagfile=recipes/mnist5k.flags --role=student \
        --selected_dir=runs/selected --output_dir=runs/student
    python -m noisy_student.train --flagfile=recipes/mnist5k.flags --role=control \
        --control_images=80000 --output_dir=runs/baseline

To resume an interrupted training from its last checkpoint, run the same command again. SIGTERM and
Ctrl-C save a checkpoint, then exit with code 75 and 130.
"""

import dataclasses
from pathlib import Path

from noisy_student import config
from noisy_student.artifacts import disk, stage
from noisy_student.config import derived, schema
from noisy_student.runtime.devices import make_devices
from noisy_student.train import build, timing, trainer


def _main(settings: config.Config) -> None:
    given = settings.group(schema.TrainCommandConfig)
    images = settings.required("control_images") if given.role == "control" else None
    training = settings.training(given.role, given.round, images)
    output_dir = settings.required("output_dir")
    disk.check_writable("output_dir", output_dir)
    devices = make_devices(**dataclasses.asdict(settings.device))
    with devices.chief_first():
        splits = derived.load_splits(settings.data, given.splits_file)
    rounds = settings.rounds
    inputs = trainer.Inputs(given.selected_dir, rounds.init_model, rounds.teacher_model)
    network = trainer.check(training, splits, devices, inputs)
    derived.warn_of_framing([training], splits.labeled)
    derived.warn_of_unused(settings.given, [training])
    derived.warn_of_ranges([training])
    if not (Path(output_dir) / stage.DONE).exists():
        needed = sum(build.disk_bytes(network)) - disk.size(output_dir)
        disk.check_space("output_dir", output_dir, needed, needed)
    if given.dry_run:
        timing.dry_run(training, splits, devices)
        return
    summary = trainer.run(training, splits, output_dir, devices, settings.log, inputs)
    accuracy = summary["validation_top1"]
    result = "" if accuracy is None else f"validation {accuracy:.2f}%, "
    print(f"{given.role}: {result}model in {output_dir}")


def command() -> None:
    """Runs ``python -m noisy_student.train``."""
    config.run(
        _main,
        schema.TrainCommandConfig,
        schema.DataConfig,
        *schema.TRAINING,
        schema.DeviceConfig,
        schema.LogConfig,
    )
