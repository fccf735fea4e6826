"""Trains a teacher, a student or a supervised baseline (Xie et al., CVPR 2020, section 3.1).

    python -m noisy_student.train --role=teacher --output_dir=runs/teacher --dataset=mnist5k ...
    python -m noisy_student.train --role=student --selected_dir=runs/selected --output_dir=...

Run again after an interruption, a training continues from its last checkpoint. SIGTERM saves a
checkpoint and exits with code 75, Ctrl-C with code 130.
"""

import dataclasses

from noisy_student import config
from noisy_student.config import derived
from noisy_student.runtime.devices import make_devices
from noisy_student.train import timing, trainer


def _main(settings: config.Config) -> None:
    flags = config.FLAGS
    role: str = flags.role
    if role == "control":
        chosen = settings.control(config.required("control_images"))
    elif role == "fixres":
        chosen = config.fixres(config.student(flags.round))
    else:
        chosen = settings.teacher if role == "teacher" else config.student(flags.round)
    devices = make_devices(**dataclasses.asdict(settings.device))
    with devices.chief_first():
        splits = derived.load_splits(settings.data, flags.splits_file)
    if flags.dry_run:
        timing.dry_run(chosen, splits, devices)
        return
    output_dir = config.required("output_dir")
    summary = trainer.run(
        chosen,
        splits,
        output_dir,
        devices,
        settings.log,
        trainer.Inputs(flags.selected_dir, settings.init_model, settings.teacher_model),
    )
    accuracy = summary["validation_top1"]
    result = "" if accuracy is None else f"validation {accuracy:.2f}%, "
    print(f"{role}: {result}model in {output_dir}")


def command() -> None:
    """Runs the command."""
    config.run(
        _main,
        [
            "role",
            "round",
            "output_dir",
            "selected_dir",
            "init_model",
            "teacher_mode",
            "teacher_model",
            "fixres_image_size",
            "frozen_blocks",
            "control_images",
            "splits_file",
            "dataset",
            "num_labeled",
            "seed",
            "teacher_name",
            "student_name",
            "image_size",
            "small_image",
            "batch_size",
            "ratio",
            "epochs",
            "teacher_steps",
            "student_steps",
            "optimizer",
            "learning_rate",
            "schedule",
            "labeled_weight",
            "augment",
            "magnitude",
            "dropout_rate",
            "stochastic_depth_rate",
            "strategy",
            "batch_norm_replicas",
            "accumulate_steps",
            "steps_per_execution",
            "precision",
            "cache_decoded_mib",
            "max_steps",
            "dry_run",
        ],
    )
