"""Options of rounds and trainings."""

import dataclasses
import math
from dataclasses import dataclass

from noisy_student.config.option import option
from noisy_student.config.schema.data import MAX_ROUNDS
from noisy_student.config.schema.model import (
    MAX_SIDE,
    ModelConfig,
    NoiseConfig,
    UnlabeledNoiseConfig,
)


@dataclass(frozen=True)
class RoundsConfig:
    """Rounds: the teacher, its students and what they start from."""

    rounds: int = option(
        2, "Number of students, each taught by the one before.", low=0, high=MAX_ROUNDS
    )
    teacher_model: str | None = option(
        None,
        "Model to use as the first teacher; none is trained then. A saved or converted one, or "
        "published weights as in --init_model.",
        remote=True,
    )
    init_model: str | None = option(
        None,
        "Weights that every training starts from: a saved or converted model (.keras), a file or "
        "URL of published weights, imagenet, or a name like timm/tf_efficientnet_b0.ns_jft_in1k or "
        "hf:OWNER/NAME. The word teacher (iterate only): each student starts from its own teacher.",
        remote=True,
    )
    frozen_blocks: int = option(
        -1,
        "Blocks that trainings from given weights (--init_model, fine-tuning) leave unchanged, and "
        "the stem with them. 0: the stem alone; -1: nothing.",
        low=-1,
        high=1000,
    )
    head_steps: int = option(
        0,
        "First steps of trainings from given weights (--init_model) in which the classifier alone "
        "learns.",
        low=0,
    )
    teacher_name: str = option(
        "efficientnet-b0",
        "Network of the first teacher: an EfficientNet, keras:NAME of keras.applications, a .keras "
        "file, or module:function, which is given the number of classes and the image size and "
        "returns a model for RGB 0..255.",
    )
    teacher_width: float | None = option(
        None, "Width multiplier of the teacher. Unset: that of its network.", low=0.01, high=100
    )
    teacher_depth: float | None = option(
        None, "Depth multiplier of the teacher. Unset: that of its network.", low=0.01, high=100
    )
    student_name: tuple[str, ...] | None = option(
        None, "Networks of the students. Unset: the teacher's.", per_round=True
    )
    student_model: str | None = option(
        None, "Network of the students and its first weights, as --student_name=FILE."
    )
    model_fn: str | None = option(
        None, "Network of the teacher and, if they have none of their own, of the students."
    )
    student_width: tuple[float, ...] | None = option(
        None, "Width multipliers of the students.", per_round=True, low=0.01, high=100
    )
    student_depth: tuple[float, ...] | None = option(
        None, "Depth multipliers of the students.", per_round=True, low=0.01, high=100
    )
    batch_size: int = option(2048, "Labeled images per step.", low=1, high=1_000_000)
    teacher_batch_size: int | None = option(
        None,
        "Batch size of the teacher and supervised baselines. Unset: --batch_size.",
        low=1,
        high=1_000_000,
    )
    ratio: tuple[float, ...] = option(
        (3.0,),
        "Unlabeled images per labeled image of a student's step.",
        per_round=True,
        low=0.001,
        high=1000,
    )
    teacher_steps: int | None = option(
        None, "Training steps of the teacher. Unset: --epochs.", low=1, substitute="train_ratio"
    )
    student_steps: tuple[int, ...] | None = option(
        None,
        "Training steps of the students. Unset: --epochs.",
        low=1,
        per_round=True,
        substitute="train_ratio",
    )
    controls: tuple[str, ...] = option(
        (),
        "Supervised baselines to train beside the students, on as many images as the last student "
        "saw (student) or as teacher and students saw together (chain).",
        choices=("student", "chain"),
    )
    stop_when_worse: bool = option(
        False, "Stop after a round that does not improve validation accuracy."
    )
    reassign: bool = option(
        False, "From round 2 on, relabel the images selected in round 1 instead of selecting again."
    )
    selection_model: str | None = option(
        None,
        "Saved or converted model (.keras) that selects once for all rounds (the paper: B0); "
        "teachers relabel its selection. Unset: teachers select.",
    )
    selection_dir: str | None = option(
        None,
        "Folder of that selection, shared by runs. Unset: in --workdir. Without --selection_model "
        "a finished selection is in its folder selected.",
    )

    def with_names(self) -> "RoundsConfig":
        """Returns the options with the names of all networks in `teacher_name`, `student_name`.

        Raises:
            ValueError: the students are named twice.
        """
        if self.student_name and self.student_model:
            raise ValueError(
                f"--student_model={self.student_model} excludes --student_name: give one of them."
            )
        students = (self.student_model,) if self.student_model else self.student_name
        return dataclasses.replace(
            self, teacher_name=self.model_fn or self.teacher_name, student_name=students
        )

    @property
    def selects_once(self) -> bool:
        """True if all rounds share one selection."""
        return bool(self.selection_model or self.selection_dir)


@dataclass(frozen=True)
class RatesConfig:
    """Learning rates: as given, or scaled by the labeled batch size."""

    learning_rate_per_256: float = option(
        0.016, "Base learning rate for a labeled batch of 256, scaled linearly.", low=0, high=1000
    )
    learning_rate: float | None = option(
        None,
        "Base learning rate, not scaled. Unset: --learning_rate_per_256.",
        substitute="learning_rate_per_256",
        low=0,
        high=1000,
    )
    final_learning_rate_per_256: float | None = option(
        None,
        "Learning rate at the end of a staircase schedule, for a batch of 256.",
        low=0,
        high=1000,
    )

    def base(self, batch_size: int) -> float:
        """Returns the base learning rate of a training."""
        if self.learning_rate is not None:
            return self.learning_rate
        return self.learning_rate_per_256 * (batch_size / 256)

    def final(self, batch_size: int) -> float | None:
        """Returns the last learning rate of a training, if it is given."""
        final = self.final_learning_rate_per_256
        return None if final is None else final * (batch_size / 256)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optimizer and schedule."""

    name: str = option(
        "rmsprop",
        "Optimizer (paper: rmsprop).",
        name="optimizer",
        choices=("rmsprop", "adamw", "sgd"),
    )
    schedule: str = option(
        "staircase",
        "Learning-rate schedule (paper: staircase).",
        choices=("staircase", "cosine", "constant"),
    )
    learning_rate: float
    final_learning_rate: float | None
    warmup_epochs: float = option(5.0, "Epochs of linear warm-up.", low=0, high=100_000)
    warmup_steps: int | None = option(
        None, "Steps of linear warm-up. Unset: --warmup_epochs.", low=0
    )
    epochs: float = option(350.0, "Epochs, counted in labeled images.", low=0.001, high=100_000)
    train_ratio: float = option(
        1.0, "Factor on epochs and decay interval, not on the warm-up.", low=0.001, high=1000
    )
    adam_beta2: float = option(0.999, "Second-moment decay of adamw.", low=0, below=1)
    weight_decay: float = option(
        1e-5, "Factor on sum(v^2)/2 over all variables except batch norm's.", low=0, high=1000
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training: one teacher, student or supervised baseline.

    ``steps`` is the length of the schedule, ``None`` where it follows from the epochs;
    ``max_steps`` cuts the run short. ``unlabeled_batch_size`` is ratio * batch_size, rounded up.
    Each step's gradients come from ``accumulate_steps`` equal parts of its images, one after the
    other. ``unlabeled_noise`` belongs to students. The stem and the first ``frozen_blocks`` blocks
    stay as they are, unless it is -1, as in trainings from random weights. In the first
    ``head_steps`` all but the classifier's weights do.

    A ``role`` of "fixres" fine-tunes a model for ``fixres_epochs`` of labeled images. Its rate goes
    on from the end of the schedule of its training, which the other fields describe.
    """

    role: str
    round: int
    model: ModelConfig
    noise: NoiseConfig
    optimizer: OptimizerConfig
    batch_size: int
    ratio: float
    steps: int | None
    max_steps: int | None = option(
        None,
        "For a trial: stop every training after this many steps, on the schedule of the whole "
        "length. If no pseudo label then reaches --min_confidence, all are used.",
        low=1,
    )
    label_smoothing: float = option(0.1, "Smoothing of true and of hard labels.", low=0, below=1)
    hard_labels: bool = option(False, "Train on the most likely class, not on probabilities.")
    temperature: float = option(
        1.0,
        "Temperature T of soft pseudo labels: a student's targets are p^(1/T).",
        low=0.01,
        high=100,
    )
    ema_decay: float = option(0.9999, "Largest decay of the weight average.", low=0, high=1)
    accumulate_steps: int = option(
        1,
        "Micro-batches per step, for batches that memory does not hold. Gradients are summed; "
        "batch norm sees one micro-batch at a time.",
        low=1,
        high=1_000_000,
    )
    teacher_mode: str = option(
        "stored",
        "Source of a student's pseudo labels: stored in the selected set, or an online teacher "
        "that labels a clean copy of each image within the step.",
        choices=("stored", "online"),
    )
    frozen_blocks: int
    fixres_epochs: float
    seed: int
    head_steps: int = 0
    unlabeled_noise: UnlabeledNoiseConfig = UnlabeledNoiseConfig()
    labeled_weight: float = option(
        1.0,
        "Weight of the labeled images in a student's loss (paper: 1). 0: pseudo labels only; batch "
        "norm still sees labeled images.",
        low=0,
        high=1000,
    )

    @property
    def unlabeled_batch_size(self) -> int:
        """Unlabeled images per step; 0 for supervised training."""
        # Published: the ceiling. Rounded before, since 100 * 0.07 is 7.000000000000001.
        return math.ceil(round(self.ratio * self.batch_size, 6))

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

    def last_step(self, num_labeled: int) -> int:
        """Returns the number of steps to take: `num_steps`, unless `max_steps` is less."""
        steps = self.num_steps(num_labeled)
        return min(steps, self.max_steps or steps)


@dataclass(frozen=True)
class FixResConfig:
    """Fine-tuning at a larger resolution (FixRes)."""

    fixres_image_size: int | None = option(
        None, "Image size of the fine-tuning. Unset: no fine-tuning.", low=1, high=MAX_SIDE
    )
    fixres_epochs: float = option(
        1.5, "Epochs of the fine-tuning, counted in labeled images.", low=0.001, high=100_000
    )
