"""What a run is asked to do: frozen dataclasses, which all stages take instead of flags."""

import dataclasses
from dataclasses import dataclass


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
    unlabeled_fraction: float = 1.0
    unlabeled_skew: float = 1.0


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
    ``frozen_blocks`` blocks stay as they are, unless it is 0. ``labeled_weight`` is that of the
    labeled part of the loss.
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
    labeled_weight: float = 1.0

    @property
    def unlabeled_batch_size(self) -> int:
        """Unlabeled images per step; 0 for supervised training."""
        return round(self.ratio * self.batch_size)

    @property
    def images_per_step(self) -> int:
        """Labeled and unlabeled images of one step."""
        return self.batch_size + self.unlabeled_batch_size

    def num_steps(self, num_labeled: int) -> int:
        """Returns the length of the schedule: as given, or from the epochs of labeled images."""
        if self.role == "fixres":
            return max(1, round(self.fixres_epochs * num_labeled / self.batch_size))
        if self.steps is not None:
            return self.steps
        epochs = self.optimizer.epochs * self.optimizer.train_ratio
        return max(1, round(epochs * num_labeled / self.batch_size))


@dataclass(frozen=True)
class LogConfig:
    """What does not change the result of a training; ``cache_decoded_mib`` bounds memory."""

    log_every: int
    validate_every: int
    checkpoint_every: int
    eval_batch_size: int
    steps_per_execution: int
    profile_steps: tuple[int, int] | None
    cache_decoded_mib: int = 2048


@dataclass(frozen=True)
class SelectionConfig:
    """Filter and balance of pseudo labels (paper, section 3.1)."""

    min_confidence: float
    images_per_class: int | str  # or "auto", or "none"
    hard_labels: bool
    num_shards: int
    seed: int
    max_copies: int | None = None
    index_only: bool = False


@dataclass(frozen=True)
class LabelConfig:
    """What pseudo labels are made of, and what of them is stored.

    With ``noise`` the teacher is noised, which the method is not: images by this, drawn from
    ``noise_seed``, and the network by its own dropout and stochastic depth.
    """

    store_top_k: int | None = None
    probabilities_dtype: str = "float16"
    calibrate: bool = False
    noise: NoiseConfig | None = None
    noise_seed: int | None = None


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
    labels: LabelConfig
    selection: SelectionConfig
    evaluation: EvaluationConfig
    device: DeviceConfig
    log: LogConfig
    controls: tuple[str, ...]
    teacher_model: str | None
    init_model: str | None
    stop_when_worse: bool
    reassign: bool
    seed: int

    def control(self, images_seen: int) -> TrainConfig:
        """The last student's model and noise on labeled data alone, for ``images_seen`` images."""
        last = self.students[-1] if self.students else self.teacher
        batch = self.teacher.batch_size
        return dataclasses.replace(
            self.teacher,
            role="control",
            model=last.model,
            noise=last.noise,
            steps=-(-images_seen // batch),
            seed=last.seed,
        )
