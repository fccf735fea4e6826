"""Sizes a run to fit its images, this machine and a time budget (``--auto``).

Given flags always take precedence. Choices are printed with their reasons and stored in the work
directory (`FILE`), so that a rerun uses the same ones, regardless of the speed of the machine. The
constants are those of the small recipes (docs/RESULTS.md), or rules of thumb between them and the
paper's.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import logging

from data import sources
from noisy_student import config
from noisy_student.artifacts.files import read_json, write_json
from noisy_student.artifacts.json_files import Sizing
from noisy_student.config import derived, option, schema
from noisy_student.config.schema.data import LEAST_VALIDATION
from noisy_student.estimate import Counts, estimate
from noisy_student.metrics.formatting import duration
from noisy_student.metrics.intervals import accuracy_interval
from noisy_student.runtime.devices import Devices
from noisy_student.runtime.speed import Speed, measure

FILE = "auto.json"
_SAMPLE = 100  # labeled images whose sizes are looked at
_SMALL = 64  # pixels, up to which images keep their size
_IN_TIME = 0.7  # of the budget: machines slow down, and images must be read
_LEAST_STEPS, _FEW_STEPS = 100, 10_000
_MANY = 20_000  # images that a full EfficientNet needs from random weights
_ROUNDS_FROM = 10.0  # minutes, for a second student


@dataclass(frozen=True)
class _Network:
    """A candidate: sizes of the networks, and the side of larger images.

    Attributes:
        image_size: maximum side of the input.
        width, depth: multipliers of the teacher.
        students: widths of the students.
    """

    image_size: int
    width: float
    depth: float
    students: tuple[float, ...]


# From slow to fast.
_NETWORKS = (
    _Network(224, 1.0, 1.0, (1.0,)),
    _Network(192, 0.75, 0.5, (0.75, 1.0)),
    _Network(160, 0.5, 0.3, (0.5, 0.75)),
    _Network(128, 0.25, 0.3, (0.5, 0.75)),
    _Network(96, 0.25, 0.3, (0.25, 0.5)),
)


def sized(
    settings: config.Config,
    splits: sources.Splits,
    devices: Devices,
    workdir: str | Path,
    *,
    write: bool,
) -> config.Config:
    """Returns the options including the choices of ``--auto``, and prints these.

    Args:
        settings: options of the run; returned unchanged without ``auto``.
        splits: its images.
        devices: its devices, whose speed is measured unless choices are stored.
        workdir: directory of the run, which may hold earlier choices.
        write: whether to store the choices there.

    Raises:
        ValueError: the stored choices were made for another time budget.
    """
    if not settings.options["auto"]:
        return settings
    path, minutes = Path(workdir) / FILE, settings.options["minutes"]
    if path.exists():
        stored = read_json(path, Sizing)
        if stored["minutes"] != minutes:
            raise ValueError(
                f"--minutes={minutes:g}: {path} has choices for --minutes={stored['minutes']:g}. "
                "Give another --workdir, or flags for the options to change."
            )
    else:
        stored = choose(settings, splits, measure(devices), devices)
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, stored)
    print(f"options chosen by --auto for --minutes={minutes:g} (flags take precedence):")
    print(f"  {_validation_line(settings, splits)}")
    known = option.named(schema.RUN)
    choices = {k: v for k, v in stored["choices"].items() if k not in settings.given}
    chosen = settings.replace(**choices)
    for name in choices:
        print(f"  {known[name].to_flag(chosen.options[name])}: {stored['reasons'][name]}")
    if seconds := stored.get("seconds"):
        print(f"  expected total: {duration(seconds)}, including compilation")
        if seconds > 60 * minutes:
            logging.warning(
                f"--minutes={minutes:g} is too short: the smallest run takes about "
                f"{duration(seconds)} on this machine."
            )
    return chosen


class _Choices:
    """Options of a run, completed choice by choice."""

    def __init__(self, settings: config.Config, counts: Counts, speed: Speed, devices: Devices):
        """Starts from the options that are given."""
        self.settings, self.given = settings, settings.given.keys()
        self.reasons: dict[str, str] = {}
        self.counts, self.speed, self.devices = counts, speed, devices

    def take(self, reason: str, **options: Any) -> None:
        """Sets options that are not given."""
        new = {name: value for name, value in options.items() if name not in self.given}
        self.settings = self.settings.replace(**new)
        self.reasons |= dict.fromkeys(new, reason)

    def has(self, *names: str) -> bool:
        """Returns True if one of the options is given."""
        return not self.given.isdisjoint(names)

    def seconds(self, **options: Any) -> float:
        """Returns the time of a run with further options, except given ones."""
        new = {name: value for name, value in options.items() if name not in self.given}
        # A trial of a few steps (--max_steps) has the networks of the whole run.
        settings = self.settings.replace(**new | {"max_steps": None})
        return estimate(settings, self.counts, self.speed, self.devices.num_accelerators).seconds


def choose(
    settings: config.Config, splits: sources.Splits, speed: Speed, devices: Devices
) -> Sizing:
    """Chooses the options of a run that are not given."""
    choices = _Choices(settings, Counts.of(splits), speed, devices)
    _choose_labels(choices)
    _choose_batches(choices)
    _choose_optimizer(choices)
    _choose_sizes(choices, splits.labeled)
    _choose_averages(choices)
    known = option.named(schema.RUN)
    values = choices.settings.options
    return {
        "minutes": settings.options["minutes"],
        "choices": {name: known[name].to_json(values[name]) for name in choices.reasons},
        "reasons": choices.reasons,
        "seconds": estimate(
            choices.settings, choices.counts, speed, devices.num_accelerators
        ).seconds,
    }


def _validation_line(settings: config.Config, splits: sources.Splits) -> str:
    """Returns the number of validation images and its reason."""
    count, labeled = len(splits.validation), len(splits.labeled)
    if count:
        low, high = accuracy_interval(80, count)
        reason = f"95% interval of an accuracy of 80%: {low:.0f} to {high:.0f}%"
    elif settings.data.num_validation < 0:
        reason = (
            f"10% of {labeled} labeled images is fewer than {LEAST_VALIDATION}, too few to be "
            "useful: all are used for training, without best.keras and validation accuracies"
        )
    else:
        reason = "given"
    return f"--num_validation={count}: {reason}"


def _choose_labels(choices: _Choices) -> None:
    """Chooses the number of students and the threshold of their labels."""
    minutes, classes = choices.settings.options["minutes"], choices.counts.classes
    if minutes < _ROUNDS_FROM:
        choices.take(f"less than {_ROUNDS_FROM:g} minutes: one student", rounds=1)
    else:
        choices.take("the second student trains on better labels", rounds=2)
    chance = 1 / max(classes, 2)
    choices.take(
        f"30% of the way from chance ({classes} classes) to 1; gives the paper's 0.3 for 1000 "
        "classes",
        min_confidence=round(chance + 0.3 * (1 - chance), 2),
    )


def _choose_batches(choices: _Choices) -> None:
    """Chooses batch sizes and the ratio of unlabeled to labeled images."""
    counts, devices = choices.counts, choices.devices
    share = counts.unlabeled / counts.labeled
    choices.take(
        f"square root of {counts.unlabeled} unlabeled / {counts.labeled} labeled images, clipped "
        "to 1..7",
        ratio=(float(min(7, max(1, round(math.sqrt(share))))),),
    )
    scale, where = (
        (1, "CPUs") if devices.on_cpu else (4 * devices.num_accelerators, "GPUs and TPUs")
    )
    if not choices.has("batch_size"):
        choices.take(f"small batches and many steps suit {where}", teacher_batch_size=48 * scale)
    choices.take(f"small batches and many steps suit {where}", batch_size=16 * scale)


def _choose_optimizer(choices: _Choices) -> None:
    """Chooses optimizer, schedule and rate."""
    start = choices.settings.rounds.init_model
    if not choices.has("optimizer"):
        rate = 0.003 if start in (None, "teacher") else 0.001
        reason = "short training: AdamW needs fewer steps than the paper's RMSProp"
        choices.take(reason, optimizer="adamw", adam_beta2=0.99)
        if not choices.has("learning_rate_per_256"):
            which = "random" if rate == 0.003 else "pretrained"
            choices.take(f"suits AdamW from {which} weights", learning_rate=rate)
    if not choices.has("final_learning_rate_per_256"):
        choices.take("decays to 0 for any number of steps", schedule="cosine")
    if _is_pretrained(choices):
        choices.take(
            "the first layers of pretrained weights transfer without training", frozen_blocks=3
        )


def _choose_sizes(choices: _Choices, labeled: sources.Examples) -> None:
    """Chooses the largest image size, networks and steps that the time allows."""
    side, smallest = derived.sides(labeled, _SAMPLE)
    is_small = side <= _SMALL and not choices.has("image_size", "small_image")
    if is_small:
        _keep_small(choices, side, smallest)
    is_small |= choices.settings.teacher.model.small_image
    limit = 60 * choices.settings.options["minutes"] * _IN_TIME
    candidates = _candidates(choices, side, is_small)
    for options in candidates:
        seconds = choices.seconds(**options, **_steps(choices))
        if seconds <= limit:
            break
    share = 1.0
    if seconds > limit:
        start = choices.seconds(**options, **_steps(choices, 0.0))
        share = max(0.0, (limit - start) / max(seconds - start, 1e-9))
    if len(candidates) == 1:
        reason = "the only size to choose from"
    elif share == 1:
        reason = f"largest of {len(candidates)} sizes to finish in time"
    else:
        reason = f"smallest of {len(candidates)} sizes, since none finishes all steps in time"
    reason += f" on {choices.devices.describe()}"
    choices.take(reason, **options)
    steps, wanted = _steps(choices, share), _images(choices)
    for (name, value), images in zip(steps.items(), wanted, strict=False):
        reason = f"{images:,.0f} images for {choices.counts.labeled} labeled ones"
        if share < 1:
            reason = f"shortened to fit --minutes; a full training takes {reason}"
        if value == _LEAST_STEPS:
            reason = f"the minimum; {reason}"
        choices.take(reason, **{name: value})


def _keep_small(choices: _Choices, side: int, smallest: int) -> None:
    """Chooses the protocol for small images, at their original size."""
    reason = f"images of {side} pixels keep their size"
    choices.take(reason, small_image=True, image_size=max(side, 8))
    if smallest < side:
        choices.take(
            f"some images are smaller, down to {smallest} pixels", enlarge_small_image=True
        )
    if choices.devices.on_cpu and not _is_pretrained(choices):
        later = (1, 1, 1) if side <= 40 else (2, 1, 1)
        reason = "halves the feature maps, then reduces them to 4 to 8 pixels, to suit a CPU"
        choices.take(reason, strides=(2, 1, 2, 2, later[0], 1, 1, 1))


def _candidates(choices: _Choices, side: int, is_small: bool) -> list[dict[str, Any]]:
    """Returns sizes of images and networks, from slow to fast."""
    counts, start = choices.counts, choices.settings.rounds.init_model
    named = ("teacher_name", "student_name", "teacher_model", "teacher_width", "teacher_depth")
    fixed = _is_pretrained(choices) or choices.has(*named, "student_width", "student_depth")
    found: list[dict[str, Any]] = []
    for network in _NETWORKS:
        options: dict[str, Any] = {}
        if not is_small:
            given = choices.settings.options["image_size"]
            size = given or min(network.image_size, max(side, _NETWORKS[-1].image_size))
            options |= {"image_size": size, "crop_padding": size // 7}
        if not fixed:
            students = (network.width,) if start == "teacher" else network.students
            options |= {"teacher_width": network.width, "teacher_depth": network.depth}
            options |= {"student_width": students, "student_depth": (network.depth,)}
        is_full = network.width == 1 and not fixed
        if options not in found and not (is_full and counts.labeled + counts.unlabeled < _MANY):
            found.append(options)
    if is_small and _is_pretrained(choices):
        return [{"strides": (1, 1, 1, 2, 2, 1, 2, 1)}, {"strides": (1, 1, 2, 2, 2, 1, 2, 1)}]
    return found


def _images(choices: _Choices) -> tuple[float, float]:
    """Returns the number of images that the teacher and each student should see."""
    labeled = choices.counts.labeled
    if _is_pretrained(choices):
        return 300 * math.sqrt(labeled), 750 * math.sqrt(labeled)
    images = max(10_000 * math.sqrt(labeled), 30 * labeled)
    return images, 2 * images


def _steps(choices: _Choices, share: float = 1.0) -> dict[str, Any]:
    """Returns the steps in which trainings see a fraction of their images."""
    settings = choices.settings
    if choices.has("epochs", "train_ratio"):
        return {}
    teacher, student = _images(choices)
    found: dict[str, Any] = {"teacher_steps": _round(share * teacher / settings.teacher.batch_size)}
    if settings.students:
        found["student_steps"] = (_round(share * student / settings.students[0].images_per_step),)
    return found


def _choose_averages(choices: _Choices) -> None:
    """Chooses the options that depend on the number of steps: warm-up and averages."""
    settings, labeled = choices.settings, choices.counts.labeled
    steps = min(each.num_steps(labeled) for each in (settings.teacher, *settings.students))
    if not choices.has("warmup_epochs"):
        choices.take("a tenth of the steps, at most 100", warmup_steps=min(100, steps // 10))
    choices.take(
        "an average of 1 / 25 of the steps, at most the paper's",
        ema_decay=min(0.9999, max(0.9, round(1 - 25 / steps, 4))),
    )
    if steps < _FEW_STEPS:
        reason = f"statistics of few batches suit {steps:,} steps"
        choices.take(reason, batch_norm_momentum=0.9)


def _is_pretrained(choices: _Choices) -> bool:
    return choices.settings.rounds.init_model not in (None, "teacher")


def _round(steps: float) -> int:
    """Rounds a number of steps to two digits, with a minimum."""
    digits = max(0, math.floor(math.log10(max(steps, 1))) - 1)
    return max(_LEAST_STEPS, round(steps / 10**digits) * 10**digits)
