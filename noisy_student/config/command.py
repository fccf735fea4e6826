"""The flags, read once into the frozen dataclasses of `settings`."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, logging

from noisy_student.config.flags import BENCHMARKS, FLAGS, STORED_BENCHMARKS
from noisy_student.config.settings import (
    AttackConfig,
    Config,
    DataConfig,
    DeviceConfig,
    EvaluationConfig,
    LabelConfig,
    LogConfig,
    ModelConfig,
    NoiseConfig,
    OptimizerConfig,
    RobustnessConfig,
    SelectionConfig,
    TrainConfig,
)


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
    for name in ("temperature", "train_ratio"):
        if FLAGS[name].value <= 0:
            raise ValueError(f"--{name}={FLAGS[name].value:g}: must be above 0.")
    per_class = FLAGS.images_per_class
    students = tuple(student(number) for number in range(1, FLAGS.rounds + 1))
    return Config(
        data=data,
        teacher=_teacher(),
        students=students,
        tuned=tuple(map(fixres, students)) if FLAGS.fixres_image_size else (),
        labels=_labels(),
        selection=SelectionConfig(
            min_confidence=FLAGS.min_confidence,
            images_per_class=per_class if per_class in ("auto", "none") else _integer(per_class),
            hard_labels=FLAGS.hard_labels,
            num_shards=FLAGS.num_shards,
            seed=FLAGS.seed,
            max_copies=FLAGS.max_copies,
            index_only=FLAGS.index_only,
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
            FLAGS.cache_decoded_mib,
        ),
        controls=tuple(FLAGS.controls),
        teacher_model=FLAGS.teacher_model,
        init_model=FLAGS.init_model,
        stop_when_worse=FLAGS.stop_when_worse,
        reassign=FLAGS.reassign,
        seed=FLAGS.seed,
    )


def _labels() -> LabelConfig:
    stored = LabelConfig(FLAGS.store_top_k, FLAGS.probabilities_dtype, FLAGS.calibrate)
    if not FLAGS.noised_labels:
        return stored
    for flag, value, why in (
        ("augment", "keras_cv", "whose noise does not follow from the image"),
        ("calibrate", True, "which fits clean images"),
        ("teacher_mode", "online", "whose labels are not stored"),
    ):
        if FLAGS[flag].value == value:
            raise ValueError(f"--noised_labels does not go with --{flag}={value}, {why}.")
    return dataclasses.replace(stored, noise=_noise(), noise_seed=FLAGS.seed)


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
    names = FLAGS.student_name or [FLAGS.teacher_name]
    same = number_of(names, number) == FLAGS.teacher_name
    width = by_round("student_width", number, float, FLAGS.teacher_width if same else None)
    depth = by_round("student_depth", number, float, FLAGS.teacher_depth if same else None)
    ratio = by_round("ratio", number, float, 3.0)
    if ratio <= 0:
        raise ValueError(f"--ratio={ratio}: must be above 0.")
    steps = by_round("student_steps", number, int, None)
    if steps is not None and steps < 1:
        raise ValueError(f"--student_steps={steps}: must be 1 or more.")
    model = _model(number_of(names, number), width, depth)
    return _training("student", number, model, FLAGS.batch_size, ratio, steps)


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
        labeled_weight=1.0,
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


def _noise() -> NoiseConfig:
    return NoiseConfig(
        FLAGS.augment,
        FLAGS.num_layers,
        FLAGS.magnitude,
        FLAGS.flip,
        FLAGS.cutout,
        FLAGS.magnitude_noise,
    )


def _training(
    role: str, number: int, model: ModelConfig, batch_size: int, ratio: float, steps: int | None
) -> TrainConfig:
    scale = batch_size / 256
    rate, final = FLAGS.learning_rate, FLAGS.final_learning_rate_per_256
    optimizer = OptimizerConfig(
        name=FLAGS.optimizer,
        schedule=FLAGS.schedule,
        learning_rate=FLAGS.learning_rate_per_256 * scale if rate is None else rate,
        final_learning_rate=None if final is None else final * scale,
        warmup_steps=FLAGS.warmup_steps,
        warmup_epochs=FLAGS.warmup_epochs,
        epochs=FLAGS.epochs,
        train_ratio=FLAGS.train_ratio,
        adam_beta2=FLAGS.adam_beta2,
        weight_decay=FLAGS.weight_decay,
    )
    return TrainConfig(
        role=role,
        round=number,
        model=model,
        noise=_noise(),
        optimizer=optimizer,
        batch_size=batch_size,
        ratio=ratio,
        steps=steps,
        max_steps=FLAGS.max_steps,
        label_smoothing=FLAGS.label_smoothing,
        hard_labels=FLAGS.hard_labels,
        temperature=FLAGS.temperature,
        ema_decay=FLAGS.ema_decay,
        accumulate_steps=FLAGS.accumulate_steps,
        teacher_mode=FLAGS.teacher_mode if role == "student" else "stored",
        frozen_blocks=0,
        fixres_epochs=0.0,
        seed=1000 * FLAGS.seed + number,
        labeled_weight=FLAGS.labeled_weight if role == "student" else 1.0,
    )


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
        raise ValueError(
            f"--images_per_class={text}: must be auto, none or a whole number above 0."
        )
    return int(text)


def _check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    if value not in choices:
        raise ValueError(f"--{name}={value}: must be of {', '.join(map(str, choices))}.")
