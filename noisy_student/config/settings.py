"""Defines `Config`: the options of a run, and the settings of its stages derived from them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from noisy_student.config import option, schema
from noisy_student.config.schema import ModelConfig, NoiseConfig, TrainConfig
from noisy_student.config.schema.data import LEAST_VALIDATION

T = TypeVar("T")


class Config:
    """Every option of a run, and the settings of its stages.

    Attributes:
        given: Options that were given, by name, in their types.
        options: All options by name, as given or at their defaults.
        data, labels, selection, evaluation, device, log: Settings of the stages.
        rounds: Number of rounds and initial weights.
        teacher: Training of the first teacher.
        students: Trainings of the students, one per round.
        tuned: Fine-tunings of the students; empty without ``fixres_image_size``.
    """

    def __init__(self, **options: Any):
        """Checks options and derives the settings.

        Args:
            **options: Values by flag name, as text or Python values. A list option also takes a
                single item.

        Raises:
            ValueError: An option does not exist, a value is not allowed, or options exclude each
                other.
        """
        known = option.named((*schema.RUN, *schema.TOOLS))
        for name in options:
            if name not in known:
                raise option.unknown(name, known)
        self.given = {name: known[name].parse(value) for name, value in options.items()}
        self.options = {name: known[name].default for name in known} | self.given
        seed, hard_labels = self.options["seed"], self.options["hard_labels"]
        least = LEAST_VALIDATION if self.options["auto"] else 0
        self.data = self.group(schema.DataConfig, least_validation=least)
        self.rounds = self.group(schema.RoundsConfig).with_names()
        self.device = self.group(schema.DeviceConfig)
        self.log = self.group(schema.LogConfig)
        self.labels = self._labels(seed)
        self.selection = self.group(schema.SelectionConfig, seed=seed, hard_labels=hard_labels)
        self.evaluation = self.group(
            schema.EvaluationConfig,
            attack=self.group(schema.AttackConfig),
            robustness=self.group(schema.RobustnessConfig, data_dir=self.data.data_dir),
            batch_size=self.log.eval_batch_size,
            seed=seed,
        )
        self.teacher = self._teacher()
        numbers = range(1, self.rounds.rounds + 1)
        self.students = tuple(map(self.student, numbers))
        tuned = self.options["fixres_image_size"] is not None
        self.tuned = tuple(map(self.fixres, numbers)) if tuned else ()
        self._check_profile_steps()
        self._check_start()
        if self.log.augment_on == "device" and "keras_cv" in (
            self.teacher.noise.kind,
            self.options["unlabeled_augment"],
        ):
            raise ValueError("--augment_on=device: keras_cv's RandAugment only runs on the host.")

    def replace(self, **options: Any) -> "Config":
        """Returns this configuration with some options replaced."""
        return Config(**{**self.given, **options})

    def group(self, group: type[T], **derived: Any) -> T:
        """Returns one dataclass of `schema`, with its own defaults for options that are not given.

        Commands may have options of one name with other defaults. `derived` are fields that are no
        options.
        """
        options = option.options_of(cast(type, group))
        values = {field: self.given.get(o.name, o.default) for field, o in options.items()}
        return group(**values | derived)

    def required(self, name: str) -> Any:
        """Returns an option that must be given, or raises ValueError."""
        value = self.options[name]
        if value is None:
            text = option.named((*schema.RUN, *schema.TOOLS))[name].help
            raise ValueError(f"--{name} is required: {text}")
        return value

    def to_json(self) -> dict[str, Any]:
        """Returns the options of a run by name, as ``config.json`` records them."""
        return {o.name: o.to_json(self.options[o.name]) for o in option.named(schema.RUN).values()}

    def changed_flags(self) -> list[str]:
        """Returns the options of a run that differ from their defaults, as flags, sorted."""
        known = sorted(option.named(schema.RUN).values(), key=lambda each: each.name)
        values = [(each, self.options[each.name]) for each in known]
        return [each.to_flag(value) for each, value in values if value != each.default]

    def student(self, number: int) -> TrainConfig:
        """Returns the training of the student of round ``number`` (from 1), also beyond the last.

        Widths and depths that are not given are the teacher's if both have the same network.
        """
        rounds = self.rounds
        name = _of_round(rounds.student_name, number, rounds.teacher_name)
        same = name == rounds.teacher_name
        model = self.group(
            ModelConfig,
            name=name,
            width=_of_round(rounds.student_width, number, rounds.teacher_width if same else None),
            depth=_of_round(rounds.student_depth, number, rounds.teacher_depth if same else None),
        )
        return self._training(
            role="student",
            round=number,
            model=model,
            batch_size=rounds.batch_size,
            ratio=_of_round(rounds.ratio, number, None),
            steps=_of_round(rounds.student_steps, number, None),
            frozen_blocks=rounds.frozen_blocks if rounds.init_model else -1,
            head_steps=rounds.head_steps,
            unlabeled_noise=self.group(schema.UnlabeledNoiseConfig),
        )

    def fixres(self, number: int) -> TrainConfig:
        """Returns the fine-tuning of a student at ``fixres_image_size`` on clean labeled images."""
        student, size = self.student(number), self.required("fixres_image_size")
        tuning = self.group(schema.FixResConfig)
        return dataclasses.replace(
            student,
            role="fixres",
            model=dataclasses.replace(student.model, image_size=size),
            noise=dataclasses.replace(student.noise, kind="none"),
            ratio=0.0,
            teacher_mode="stored",
            frozen_blocks=self.rounds.frozen_blocks,
            head_steps=0,
            fixres_epochs=tuning.fixres_epochs,
            labeled_weight=1.0,
            unlabeled_noise=schema.UnlabeledNoiseConfig(),
        )

    def control(self, images_seen: int) -> TrainConfig:
        """Returns the supervised baseline: the last student's model and noise on labeled data."""
        last = self.students[-1] if self.students else self.teacher
        return dataclasses.replace(
            self.teacher,
            role="control",
            model=last.model,
            noise=last.noise,
            steps=-(-images_seen // self.teacher.batch_size),
            seed=last.seed,
        )

    def training(
        self, role: str, number: int = 1, control_images: int | None = None
    ) -> TrainConfig:
        """Returns the training of a model: "teacher", "student", "control" or "fixres".

        `number` is the round of a student or fine-tuning, `control_images` what a baseline sees.
        """
        if role == "control":
            return self.control(control_images or 1)
        if role == "teacher":
            return self.teacher
        return self.fixres(number) if role == "fixres" else self.student(number)

    def trainings(self) -> tuple[TrainConfig, ...]:
        """Returns the trainings of all rounds in order, without a given teacher."""
        rounds = [self.students, self.tuned] if self.tuned else [self.students]
        teacher = () if self.rounds.teacher_model else (self.teacher,)
        return (*teacher, *(training for pair in zip(*rounds, strict=True) for training in pair))

    def _teacher(self) -> TrainConfig:
        rounds = self.rounds
        teacher = self._training(
            role="teacher",
            round=0,
            model=self.group(
                ModelConfig,
                name=rounds.teacher_name,
                width=rounds.teacher_width,
                depth=rounds.teacher_depth,
            ),
            batch_size=rounds.teacher_batch_size or rounds.batch_size,
            ratio=0.0,
            steps=rounds.teacher_steps,
            frozen_blocks=-1 if rounds.init_model in (None, "teacher") else rounds.frozen_blocks,
            head_steps=rounds.head_steps,
        )
        return dataclasses.replace(teacher, teacher_mode="stored", labeled_weight=1.0)

    def _training(self, *, round: int, batch_size: int, **derived: Any) -> TrainConfig:
        """Returns a training; ``derived`` holds the other fields that are not options."""
        rates = self.group(schema.RatesConfig)
        return self.group(
            TrainConfig,
            round=round,
            batch_size=batch_size,
            noise=self.group(NoiseConfig),
            optimizer=self.group(
                schema.OptimizerConfig,
                learning_rate=rates.base(batch_size),
                final_learning_rate=rates.final(batch_size),
            ),
            fixres_epochs=0.0,
            seed=1000 * self.data.seed + round,
            **derived,
        )

    def _labels(self, seed: int) -> schema.LabelConfig:
        if not self.options["noised_labels"]:
            return self.group(schema.LabelConfig)
        for name, value, why in (
            ("augment", "keras_cv", "whose noise is not determined by the image"),
            ("calibrate", True, "which is fitted on clean images"),
            ("teacher_mode", "online", "whose labels are not stored"),
        ):
            if self.options[name] == value:
                raise ValueError(f"--noised_labels excludes --{name}={value}, {why}.")
        return self.group(schema.LabelConfig, noise=self.group(NoiseConfig), noise_seed=seed)

    def _check_start(self) -> None:
        """Refuses options that need given weights if there are none."""
        rounds = self.rounds
        if rounds.frozen_blocks >= 0 and not (rounds.init_model or self.tuned):
            raise ValueError(
                f"--frozen_blocks={rounds.frozen_blocks} would freeze random weights: give "
                "--init_model, or --fixres_image_size for fine-tuning."
            )
        if rounds.head_steps and rounds.init_model in (None, "teacher"):
            raise ValueError(
                f"--head_steps={rounds.head_steps} only applies to trainings from given weights: "
                "give --init_model."
            )

    def _check_profile_steps(self) -> None:
        steps = self.log.profile_steps
        if steps is not None and (len(steps) != 2 or steps[0] >= steps[1]):
            raise ValueError(
                f"--profile_steps={','.join(map(str, steps))}: must be FIRST,END with FIRST below "
                "END."
            )


def _of_round(values: Sequence[Any] | None, number: int, unset: Any) -> Any:
    """Returns the entry for round ``number`` (from 1) of a list whose last entry repeats."""
    return values[min(number, len(values)) - 1] if values else unset
