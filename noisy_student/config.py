"""Every flag of every command, read once into frozen dataclasses.

Defaults are the paper's (section 3.1) where it has a value. A recipe is an absl flag file
(``--flagfile=recipes/mnist5k.flags``); flags after it override it. Nothing else in the project
reads a flag: stages take the dataclasses below.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from absl import app, flags, logging

FLAGS = flags.FLAGS

ROLES = ("teacher", "student", "control")
BENCHMARKS = ("clean", "fgsm")


def _define_data_flags() -> None:
    flags.DEFINE_string("dataset", "mnist5k", "mnist5k | folder | tfds:NAME")
    flags.DEFINE_string("data_dir", None, "Directory of tensorflow-datasets (tfds:NAME only).")
    flags.DEFINE_string(
        "labeled_dir",
        None,
        "Folder of labeled training images, one sub-folder per class (--dataset=folder).",
    )
    flags.DEFINE_string(
        "unlabeled_dir", None, "Folder of unlabeled images, flat or nested (--dataset=folder)."
    )
    flags.DEFINE_string(
        "validation_dir",
        None,
        "Folder of validation images, one sub-folder per class; unset: held out of --labeled_dir.",
    )
    flags.DEFINE_string(
        "test_dir",
        None,
        "Folder of test images, one sub-folder per class; unset: 20% of --labeled_dir.",
    )
    flags.DEFINE_string(
        "unlabeled_dataset",
        None,
        "Another data set (tfds:NAME) whose images serve as the unlabeled ones.",
    )
    flags.DEFINE_integer(
        "num_labeled",
        0,
        "Labeled training images kept, stratified; the rest becomes unlabeled. 0: keep all.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "num_validation",
        -1,
        "Validation images held out of the labeled ones, stratified. -1: 10%, at most 10 000 "
        "(mnist5k: 500).",
        lower_bound=-1,
    )
    flags.DEFINE_integer("seed", 0, "Everything random derives from it.", lower_bound=0)


def _define_model_flags() -> None:
    flags.DEFINE_string("teacher_name", "efficientnet-b0", "First teacher: efficientnet-b0 ...")
    flags.DEFINE_float("teacher_width", None, "Width multiplier in place of the name's.")
    flags.DEFINE_float("teacher_depth", None, "Depth multiplier in place of the name's.")
    flags.DEFINE_list(
        "student_name", None, "Students by round, the last repeats; unset: the teacher's."
    )
    flags.DEFINE_list(
        "student_width", None, "Student width multipliers by round, the last repeats."
    )
    flags.DEFINE_list(
        "student_depth", None, "Student depth multipliers by round, the last repeats."
    )
    flags.DEFINE_integer("image_size", None, "Side of the model's input; unset: the name's.")
    flags.DEFINE_bool("small_image", False, "The 32x32 protocol: stages 2 and 3 keep stride 1.")
    flags.DEFINE_list("strides", None, "Strides of the 7 stages, or of the stem and the 7 stages.")
    flags.DEFINE_float("batch_norm_momentum", 0.99, "Of the moving statistics.")
    flags.DEFINE_string(
        "normalization", "imagenet", "Channel mean and deviation: imagenet | svhn | lite | none."
    )


def _define_noise_flags() -> None:
    flags.DEFINE_enum(
        "augment",
        "randaugment",
        ["randaugment", "keras_cv", "none"],
        "Image noise of training; none also leaves out crop and flip.",
    )
    flags.DEFINE_float("magnitude", 27.0, "RandAugment magnitude (10 is full).")
    flags.DEFINE_integer("num_layers", 2, "RandAugment operations per image.")
    flags.DEFINE_bool("flip", True, "Random horizontal flip (off for digits).")
    flags.DEFINE_bool(
        "cutout", False, "Small images: cut a square of half the side out of every image."
    )
    flags.DEFINE_float("dropout_rate", None, "Before the classifier; unset: the model's own.")
    flags.DEFINE_float(
        "stochastic_depth_rate", 0.2, "Drop rate of the last block; the first has 0."
    )


def _define_training_flags() -> None:
    flags.DEFINE_enum("role", "teacher", ROLES, "Of noisy_student.train: what is trained.")
    flags.DEFINE_integer(
        "teacher_batch_size", None, "Labeled batch of teacher and controls; unset: --batch_size."
    )
    flags.DEFINE_integer("batch_size", 2048, "Labeled batch size.")
    flags.DEFINE_list(
        "ratio", ["3"], "Unlabeled images per labeled one, by round, the last repeats."
    )
    flags.DEFINE_float("epochs", 350.0, "Passes over the labeled images.")
    flags.DEFINE_float("train_ratio", 1.0, "Stretches epochs and decay interval, not the warm-up.")
    flags.DEFINE_integer("teacher_steps", None, "Training steps, in place of --epochs.")
    flags.DEFINE_list("student_steps", None, "Training steps by round, in place of --epochs.")
    flags.DEFINE_enum(
        "optimizer", "rmsprop", ["rmsprop", "adamw", "sgd"], "rmsprop is the paper's."
    )
    flags.DEFINE_enum(
        "schedule", "staircase", ["staircase", "cosine", "constant"], "staircase is the paper's."
    )
    flags.DEFINE_float(
        "learning_rate_per_256", 0.016, "Base rate, scaled by the labeled batch / 256."
    )
    flags.DEFINE_float(
        "learning_rate", None, "Base rate as it is, in place of --learning_rate_per_256."
    )
    flags.DEFINE_float("final_learning_rate_per_256", None, "staircase: decay so as to end here.")
    flags.DEFINE_float("warmup_epochs", 5.0, "Linear warm-up.")
    flags.DEFINE_integer("warmup_steps", None, "In place of --warmup_epochs.")
    flags.DEFINE_float("adam_beta2", 0.999, "adamw only.")
    flags.DEFINE_float(
        "weight_decay", 1e-5, "Times sum(v^2)/2 over all variables but batch norm's."
    )
    flags.DEFINE_float("label_smoothing", 0.1, "Of true and of hard labels.")
    flags.DEFINE_float("ema_decay", 0.9999, "Cap of the weight average.")


def _define_label_flags() -> None:
    flags.DEFINE_bool("hard_labels", False, "Train on argmax labels.")
    flags.DEFINE_float("temperature", 1.0, "Of soft pseudo labels.")
    flags.DEFINE_float("min_confidence", 0.3, "Drop pseudo labels below it.", 0.0, 1.0)
    flags.DEFINE_string(
        "images_per_class", "auto", "Target per class, or auto: that of the largest class."
    )
    flags.DEFINE_integer(
        "num_shards", 1, "Files of predictions and of selected records.", lower_bound=1
    )
    flags.DEFINE_integer(
        "shard_index", None, "The only shard of predictions to write; unset: all.", lower_bound=0
    )


def _define_run_flags() -> None:
    flags.DEFINE_string("workdir", "runs/mnist5k", "Directory of the whole run.")
    flags.DEFINE_string("output_dir", None, "Directory of one stage.")
    flags.DEFINE_string(
        "splits_file",
        None,
        "Where one stage keeps the splits (iterate: splits.json in --workdir); unset: drawn anew "
        "from --seed, always the same.",
    )
    flags.DEFINE_string("model", None, "A saved model (.keras).")
    flags.DEFINE_string("predictions_dir", None, "Output of noisy_student.pseudo_label.")
    flags.DEFINE_string("selected_dir", None, "Output of noisy_student.selection.")
    flags.DEFINE_integer("rounds", 2, "Students in a row.", lower_bound=0)
    flags.DEFINE_integer("round", 1, "Of noisy_student.train: which student.", lower_bound=1)
    flags.DEFINE_list(
        "controls",
        [],
        "Supervised controls to train beside the students: student (as many images "
        "as the last student saw), chain (as many as teacher and students saw).",
    )
    flags.DEFINE_integer("control_images", None, "Of --role=control: training images seen.")
    flags.DEFINE_bool(
        "stop_when_worse", False, "Stop after a round that does not improve validation accuracy."
    )
    flags.DEFINE_list("benchmarks", ["clean", "fgsm"], f"Of {', '.join(BENCHMARKS)}.")
    flags.DEFINE_list(
        "epsilons", ["1", "2", "4", "8", "16"], "FGSM step sizes in pixel units (paper, fig. 3)."
    )
    flags.DEFINE_integer("attack_examples", 0, "Test images attacked, the first ones. 0: all.")
    flags.DEFINE_integer("eval_batch_size", 250, "Of every forward-only pass.")
    flags.DEFINE_integer("max_steps", None, "Cut every training short, the schedule unchanged.")
    flags.DEFINE_bool(
        "dry_run", False, "Print configuration, splits, shapes and expected time; touch nothing."
    )
    flags.DEFINE_bool("debug", False, "Show where in the code an error arose.")
    flags.DEFINE_integer("log_every", 50, "Steps between log lines.", 1)
    flags.DEFINE_integer("validate_every", 500, "Steps between validations.", 1)
    flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints.", 1)
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ["auto", "one", "mirrored"],
        "tf.distribute strategy; auto: mirrored where there are several GPUs.",
    )
    flags.DEFINE_enum("precision", "float32", ["float32", "mixed_bfloat16"], "Of activations.")
    flags.DEFINE_integer(
        "intra_op_threads",
        0,
        "CPU threads of a single operation. 0: all cores; 1 suits very small models.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "jit_compile", "auto", ["auto", "on", "off"], "XLA; auto: on where a GPU is used."
    )


_define_data_flags()
_define_model_flags()
_define_noise_flags()
_define_training_flags()
_define_label_flags()
_define_run_flags()


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are split."""

    dataset: str
    data_dir: str | None
    labeled_dir: str | None
    unlabeled_dir: str | None
    validation_dir: str | None
    test_dir: str | None
    unlabeled_dataset: str | None
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
    normalization: str


@dataclass(frozen=True)
class NoiseConfig:
    """Image noise; the fields of ``data.pipeline.Augmentation``."""

    kind: str
    num_layers: int
    magnitude: float
    flip: bool
    cutout: bool


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
    ``max_steps`` cuts the run short. ``unlabeled_batch_size`` is ratio * batch_size.
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


@dataclass(frozen=True)
class SelectionConfig:
    """Filter and balance of pseudo labels (paper, section 3.1)."""

    min_confidence: float
    images_per_class: int | str
    hard_labels: bool
    num_shards: int
    seed: int


@dataclass(frozen=True)
class EvaluationConfig:
    """Benchmarks and their parameters."""

    benchmarks: tuple[str, ...]
    epsilons: tuple[float, ...]
    attack_examples: int
    batch_size: int


@dataclass(frozen=True)
class DeviceConfig:
    """Devices and number formats."""

    strategy: str
    precision: str
    jit_compile: str
    intra_op_threads: int


@dataclass(frozen=True)
class Config:
    """All of a run."""

    data: DataConfig
    teacher: TrainConfig
    students: tuple[TrainConfig, ...]
    selection: SelectionConfig
    evaluation: EvaluationConfig
    device: DeviceConfig
    log: LogConfig
    controls: tuple[str, ...]
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
    return Config(
        data=data,
        teacher=_teacher(),
        students=tuple(_student(number) for number in range(1, FLAGS.rounds + 1)),
        selection=SelectionConfig(
            min_confidence=FLAGS.min_confidence,
            images_per_class="auto" if per_class == "auto" else _integer(per_class),
            hard_labels=FLAGS.hard_labels,
            num_shards=FLAGS.num_shards,
            seed=FLAGS.seed,
        ),
        evaluation=EvaluationConfig(
            benchmarks=tuple(FLAGS.benchmarks),
            epsilons=_numbers("epsilons", float),
            attack_examples=FLAGS.attack_examples,
            batch_size=FLAGS.eval_batch_size,
        ),
        device=DeviceConfig(
            FLAGS.strategy, FLAGS.precision, FLAGS.jit_compile, FLAGS.intra_op_threads
        ),
        log=LogConfig(
            FLAGS.log_every, FLAGS.validate_every, FLAGS.checkpoint_every, FLAGS.eval_batch_size
        ),
        controls=tuple(FLAGS.controls),
        stop_when_worse=FLAGS.stop_when_worse,
        seed=FLAGS.seed,
    )


def student(number: int) -> TrainConfig:
    """The student of round ``number`` (from 1), also beyond ``--rounds``."""
    return _student(number)


def required(name: str) -> Any:
    """The value of a flag that the command at hand cannot do without."""
    value = FLAGS[name].value
    if value is None:
        raise ValueError(f"--{name} is required here: {FLAGS[name].help}")
    return value


def values() -> dict[str, Any]:
    """Every flag of this project and its value, for the record."""
    return {flag.name: flag.value for flag in FLAGS.flags_by_module_dict()[__name__]}


def run(main: Callable[[Config], None], key_flags: Sequence[str] = ()) -> None:
    """Runs a command: parses flags, prints bad input as one line and exits with 2.

    ``key_flags`` are those that ``--help`` shows; ``--helpfull`` shows all.
    """
    for name in key_flags:
        FLAGS.register_key_flag_for_module(sys.argv[0], FLAGS[name])

    def guarded(argv: list[str]) -> None:
        if not FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
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
        normalization=FLAGS.normalization,
    )


def _training(
    role: str, number: int, model: ModelConfig, batch_size: int, ratio: float, steps: int | None
) -> TrainConfig:
    noise = NoiseConfig(FLAGS.augment, FLAGS.num_layers, FLAGS.magnitude, FLAGS.flip, FLAGS.cutout)
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


def _integer(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"--images_per_class={text}: must be auto or a whole number above 0.")
    return int(text)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"--{name}={value}: must be of {', '.join(choices)}.")
