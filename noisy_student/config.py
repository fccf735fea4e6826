"""The flags, read once into frozen dataclasses: what all stages take instead of flags."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from absl import app, logging

from noisy_student.flags import BENCHMARKS, FLAGS, STORED_BENCHMARKS


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are split."""

    dataset: str
    data_dir: str | None
    labeled_dir: str | None
    unlabeled_dir: str | None
    validation_dir: str | None
    test_dir: str | None
    unlabeled_records: list[str]
    unlabeled_dataset: str | None
    labeled_split: str | None
    test_split: str | None
    unlabeled_split: str | None
    exclude: str | None
    num_labeled: int
    num_validation: int
    seed: int


@dataclass(frozen=True)
class ModelConfig:
    """Arguments of ``efficientnet.build_model`` but for the number of classes."""

    name: str
    width: float | None
    depth: float | None
    image_size: int | None
    small_image: bool
    strides: tuple[int, ...] | None
    dropout_rate: float | None
    stochastic_depth_rate: float
    batch_norm_momentum: float
    batch_norm_replicas: str
    normalization: str


@dataclass(frozen=True)
class NoiseConfig:
    """Image noise; the fields of ``data.pipeline.Augmentation``."""

    kind: str
    num_layers: int
    magnitude: float
    flip: bool
    cutout: bool
    magnitude_noise: float = 0.0


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer and learning-rate schedule; rates are those of the batch actually used."""

    name: str
    schedule: str
    learning_rate: float
    final_learning_rate: float | None
    warmup_steps: int | None
    warmup_epochs: float
    epochs: float
    train_ratio: float
    adam_beta2: float
    weight_decay: float


@dataclass(frozen=True)
class TrainConfig:
    """One training: the teacher, a student or a supervised control.

    ``steps`` is the length of the schedule, ``None`` where it follows from the epochs;
    ``max_steps`` cuts the run short. ``unlabeled_batch_size`` is ratio * batch_size. Each step's
    gradients come from ``accumulate_steps`` equal parts of its images, one after the other.

    A ``role`` of "fixres" fine-tunes a model for ``fixres_epochs`` of labeled images, at the rate
    with which its training, described by the other fields, ended; the stem and the first
    ``frozen_blocks`` blocks stay as they are, unless it is 0.
    """

    role: str
    round: int
    model: ModelConfig
    noise: NoiseConfig
    optimizer: OptimizerConfig
    batch_size: int
    ratio: float
    steps: int | None
    max_steps: int | None
    label_smoothing: float
    hard_labels: bool
    temperature: float
    ema_decay: float
    accumulate_steps: int
    teacher_mode: str
    frozen_blocks: int
    fixres_epochs: float
    seed: int

    @property
    def unlabeled_batch_size(self) -> int:
        """Unlabeled images per step; 0 for supervised training."""
        return round(self.ratio * self.batch_size)


@dataclass(frozen=True)
class LogConfig:
    """What does not change the result of a training."""

    log_every: int
    validate_every: int
    checkpoint_every: int
    eval_batch_size: int
    steps_per_execution: int
    profile_steps: tuple[int, int] | None


@dataclass(frozen=True)
class SelectionConfig:
    """Filter and balance of pseudo labels (paper, section 3.1)."""

    min_confidence: float
    images_per_class: int | str
    hard_labels: bool
    num_shards: int
    seed: int


@dataclass(frozen=True)
class AttackConfig:
    """Adversarial attacks; sizes in pixel units. Numbers of examples may be 0: all."""

    fgsm_epsilons: tuple[float, ...]
    fgsm_examples: int
    pgd_epsilons: tuple[float, ...]
    pgd_examples: int
    steps: int
    step_size: float | None
    random_start: bool
    restarts: int


@dataclass(frozen=True)
class RobustnessConfig:
    """Corruptions and perturbations made here, and where stored benchmarks lie.

    Names are ("all",) or some; ``examples`` 0: all. ``folders``: benchmark -> folder or
    tfds:NAME, which tensorflow-datasets keeps in ``data_dir``.
    """

    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    perturbations: tuple[str, ...]
    examples: int
    folders: dict[str, str | None]
    corruption_cache: str | None = None
    data_dir: str | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """Benchmarks and their parameters."""

    benchmarks: tuple[str, ...]
    attack: AttackConfig
    robustness: RobustnessConfig
    batch_size: int
    image_size: int | None
    seed: int


@dataclass(frozen=True)
class DeviceConfig:
    """Devices and number formats."""

    strategy: str
    precision: str
    jit_compile: str
    intra_op_threads: int
    tpu: str | None


@dataclass(frozen=True)
class Config:
    """All of a run; ``tuned`` are the students' fine-tunings, if any."""

    data: DataConfig
    teacher: TrainConfig
    students: tuple[TrainConfig, ...]
    tuned: tuple[TrainConfig, ...]
    selection: SelectionConfig
    evaluation: EvaluationConfig
    device: DeviceConfig
    log: LogConfig
    controls: tuple[str, ...]
    teacher_model: str | None
    init_model: str | None
    stop_when_worse: bool
    seed: int

    def control(self, images_seen: int) -> TrainConfig:
        """The last student's model and noise on labeled data alone, for ``images_seen`` images."""
        last = self.students[-1] if self.students else self.teacher
        batch = self.teacher.batch_size
        return dataclasses.replace(
            self.teacher, role="control", model=last.model, noise=last.noise,
            steps=-(-images_seen // batch), seed=last.seed,
        )  # fmt: skip


def from_flags() -> Config:
    """Reads every flag.

    Raises:
        ValueError: naming the flag and the values it may have.
    """
    data = DataConfig(**{f.name: FLAGS[f.name].value for f in dataclasses.fields(DataConfig)})
    for benchmark in FLAGS.benchmarks:
        _check_choice("benchmarks", benchmark, BENCHMARKS)
    for control in FLAGS.controls:
        _check_choice("controls", control, ("student", "chain"))
    per_class = FLAGS.images_per_class
    students = tuple(_student(number) for number in range(1, FLAGS.rounds + 1))
    return Config(
        data=data,
        teacher=_teacher(),
        students=students,
        tuned=tuple(map(fixres, students)) if FLAGS.fixres_image_size else (),
        selection=SelectionConfig(
            min_confidence=FLAGS.min_confidence,
            images_per_class="auto" if per_class == "auto" else _integer(per_class),
            hard_labels=FLAGS.hard_labels,
            num_shards=FLAGS.num_shards,
            seed=FLAGS.seed,
        ),
        evaluation=_evaluation(),
        device=DeviceConfig(
            FLAGS.strategy, FLAGS.precision, FLAGS.jit_compile, FLAGS.intra_op_threads, FLAGS.tpu
        ),
        log=LogConfig(
            FLAGS.log_every,
            FLAGS.validate_every,
            FLAGS.checkpoint_every,
            FLAGS.eval_batch_size,
            FLAGS.steps_per_execution,
            _profile_steps(),
        ),
        controls=tuple(FLAGS.controls),
        teacher_model=FLAGS.teacher_model,
        init_model=FLAGS.init_model,
        stop_when_worse=FLAGS.stop_when_worse,
        seed=FLAGS.seed,
    )


def _evaluation() -> EvaluationConfig:
    severities = _numbers("severities", int)
    for severity in severities:
        _check_choice("severities", severity, (1, 2, 3, 4, 5))
    if not severities:
        raise ValueError("--severities=: must be of 1, 2, 3, 4, 5.")
    for name in ("epsilons", "pgd_epsilons"):
        for epsilon in _numbers(name, float):
            if epsilon < 0:
                raise ValueError(f"--{name}={epsilon:g}: must be 0 or more, in pixel units.")
    attack = AttackConfig(
        fgsm_epsilons=_numbers("epsilons", float),
        fgsm_examples=FLAGS.fgsm_examples,
        pgd_epsilons=_numbers("pgd_epsilons", float),
        pgd_examples=FLAGS.pgd_examples,
        steps=FLAGS.attack_steps,
        step_size=FLAGS.attack_step_size,
        random_start=FLAGS.attack_random_start,
        restarts=FLAGS.attack_restarts,
    )
    robustness = RobustnessConfig(
        corruptions=tuple(FLAGS.corruptions),
        severities=severities,
        perturbations=tuple(FLAGS.perturbations),
        examples=FLAGS.robustness_examples,
        folders={name: FLAGS[f"{name}_dir"].value for name in STORED_BENCHMARKS},
        corruption_cache=FLAGS.corruption_cache,
        data_dir=FLAGS.data_dir,
    )
    return EvaluationConfig(
        benchmarks=tuple(FLAGS.benchmarks),
        attack=attack,
        robustness=robustness,
        batch_size=FLAGS.eval_batch_size,
        image_size=FLAGS.test_image_size,
        seed=FLAGS.seed,
    )


def student(number: int) -> TrainConfig:
    """The student of round ``number`` (from 1), also beyond ``--rounds``."""
    return _student(number)


def fixres(trained: TrainConfig) -> TrainConfig:
    """Fine-tuning of a trained model at ``--fixres_image_size``, on clean labeled images."""
    size = required("fixres_image_size")
    return dataclasses.replace(
        trained,
        role="fixres",
        model=dataclasses.replace(trained.model, image_size=size),
        noise=dataclasses.replace(trained.noise, kind="none"),
        ratio=0.0,
        teacher_mode="stored",
        frozen_blocks=FLAGS.frozen_blocks,
        fixres_epochs=FLAGS.fixres_epochs,
    )


def required(name: str) -> Any:
    """The value of a flag that the command at hand cannot do without."""
    value = FLAGS[name].value
    if value is None:
        raise ValueError(f"--{name} is required here: {FLAGS[name].help}")
    return value


def run(
    main: Callable[..., None], key_flags: Sequence[str] = (), takes_arguments: bool = False
) -> None:
    """Runs a command: parses flags, prints bad input as one line and exits with 2.

    Args:
        main: called with the configuration.
        key_flags: those that ``--help`` shows; ``--helpfull`` shows all.
        takes_arguments: whether it is also called with the list of arguments that are no flags.
    """
    for name in key_flags:
        FLAGS.register_key_flag_for_module(sys.argv[0], FLAGS[name])

    def guarded(argv: list[str]) -> None:
        if not FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            if takes_arguments:
                main(from_flags(), argv[1:])
                return
            if len(argv) > 1:
                raise ValueError(f"unknown argument {argv[1]}: flags are written --name=value.")
            main(from_flags())
        except ValueError as error:
            if FLAGS.debug:
                raise
            print(f"error: {error}\n(--debug shows where)", file=sys.stderr)
            sys.exit(2)

    app.run(guarded)


def _teacher() -> TrainConfig:
    batch_size = FLAGS.teacher_batch_size or FLAGS.batch_size
    model = _model(FLAGS.teacher_name, FLAGS.teacher_width, FLAGS.teacher_depth)
    return _training("teacher", 0, model, batch_size, 0.0, FLAGS.teacher_steps)


def _student(number: int) -> TrainConfig:
    names = FLAGS.student_name or [FLAGS.teacher_name]
    same = number_of(names, number) == FLAGS.teacher_name
    width = by_round("student_width", number, float, FLAGS.teacher_width if same else None)
    depth = by_round("student_depth", number, float, FLAGS.teacher_depth if same else None)
    ratio = by_round("ratio", number, float, 3.0)
    if ratio <= 0:
        raise ValueError(f"--ratio={ratio}: must be above 0.")
    return _training(
        "student", number, _model(number_of(names, number), width, depth), FLAGS.batch_size, ratio,
        by_round("student_steps", number, int, None),
    )  # fmt: skip


def _model(name: str, width: float | None, depth: float | None) -> ModelConfig:
    return ModelConfig(
        name=name,
        width=width,
        depth=depth,
        image_size=FLAGS.image_size,
        small_image=FLAGS.small_image,
        strides=_numbers("strides", int) if FLAGS.strides else None,
        dropout_rate=FLAGS.dropout_rate,
        stochastic_depth_rate=FLAGS.stochastic_depth_rate,
        batch_norm_momentum=FLAGS.batch_norm_momentum,
        batch_norm_replicas=FLAGS.batch_norm_replicas,
        normalization=FLAGS.normalization,
    )


def _training(
    role: str, number: int, model: ModelConfig, batch_size: int, ratio: float, steps: int | None
) -> TrainConfig:
    noise = NoiseConfig(
        FLAGS.augment, FLAGS.num_layers, FLAGS.magnitude, FLAGS.flip, FLAGS.cutout,
        FLAGS.magnitude_noise,
    )  # fmt: skip
    scale = batch_size / 256
    final = FLAGS.final_learning_rate_per_256
    optimizer = OptimizerConfig(
        name=FLAGS.optimizer,
        schedule=FLAGS.schedule,
        learning_rate=FLAGS.learning_rate or FLAGS.learning_rate_per_256 * scale,
        final_learning_rate=None if final is None else final * scale,
        warmup_steps=FLAGS.warmup_steps,
        warmup_epochs=FLAGS.warmup_epochs,
        epochs=FLAGS.epochs,
        train_ratio=FLAGS.train_ratio,
        adam_beta2=FLAGS.adam_beta2,
        weight_decay=FLAGS.weight_decay,
    )
    return TrainConfig(
        role=role, round=number, model=model, noise=noise, optimizer=optimizer,
        batch_size=batch_size, ratio=ratio, steps=steps, max_steps=FLAGS.max_steps,
        label_smoothing=FLAGS.label_smoothing, hard_labels=FLAGS.hard_labels,
        temperature=FLAGS.temperature, ema_decay=FLAGS.ema_decay,
        accumulate_steps=FLAGS.accumulate_steps,
        teacher_mode=FLAGS.teacher_mode if role == "student" else "stored",
        frozen_blocks=0, fixres_epochs=0.0,
        seed=1000 * FLAGS.seed + number,
    )  # fmt: skip


def number_of(values: Sequence[Any], number: int) -> Any:
    """The entry of round ``number`` (from 1) of a list whose last entry repeats."""
    return values[min(number, len(values)) - 1]


def by_round(name: str, number: int, kind: type, default: Any) -> Any:
    """The value of a by-round flag in round ``number``, as ``kind``."""
    return number_of(_numbers(name, kind), number) if FLAGS[name].value else default


def _numbers(name: str, kind: type) -> tuple[Any, ...]:
    try:
        return tuple(kind(item) for item in FLAGS[name].value)
    except ValueError:
        raise ValueError(
            f"--{name}={','.join(FLAGS[name].value)}: must be a comma-separated list of "
            f"{'whole ' if kind is int else ''}numbers."
        ) from None


def _profile_steps() -> tuple[int, int] | None:
    if not FLAGS.profile_steps:
        return None
    steps = _numbers("profile_steps", int)
    if len(steps) != 2 or not 0 <= steps[0] < steps[1]:
        raise ValueError(
            f"--profile_steps={','.join(FLAGS.profile_steps)}: must be two step numbers, the first "
            "one profiled and the one to stop before."
        )
    return steps


def _integer(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"--images_per_class={text}: must be auto or a whole number above 0.")
    return int(text)


def _check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise ValueError(f"--{name}={value}: must be of {', '.join(map(str, choices))}.")
