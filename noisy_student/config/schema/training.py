"""Options for rounds and trainings."""

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
    """Rounds: the teacher, its students and their initial weights."""

    rounds: int = option(
        2, "Number of students. Each becomes the teacher of the next.", low=0, high=MAX_ROUNDS
    )
    teacher_model: str | None = option(
        None,
        "Model to use as the first teacher instead of training one: a saved or converted model, or "
        "published weights as in --init_model.",
        remote=True,
    )
    init_model: str | None = option(
        None,
        "Initial weights of every training: a saved or converted model (.keras), a file or URL of "
        "published weights, imagenet, or a name such as timm/tf_efficientnet_b0.ns_jft_in1k or "
        "hf:OWNER/NAME. teacher (iterate only): each student starts from its teacher's weights.",
        remote=True,
    )
    frozen_blocks: int = option(
        -1,
        "Number of first blocks to freeze, with the stem, in trainings from given weights "
        "(--init_model, fine-tuning). 0: only the stem; -1: nothing.",
        low=-1,
        high=1000,
    )
    head_steps: int = option(
        0,
        "Number of first steps that train only the classifier, in trainings from given weights "
        "(--init_model).",
        low=0,
    )
    teacher_name: str = option(
        "efficientnet-b0",
        "Network of the first teacher: an EfficientNet, keras:NAME for keras.applications, a "
        ".keras file, or module:function, called as function(num_classes, image_size) to return a "
        "model that takes RGB 0..255.",
    )
    teacher_width: float | None = option(
        None, "Width multiplier of the teacher. Unset: its network's default.", low=0.01, high=100
    )
    teacher_depth: float | None = option(
        None, "Depth multiplier of the teacher. Unset: its network's default.", low=0.01, high=100
    )
    student_name: tuple[str, ...] | None = option(
        None, "Networks of the students. Unset: the teacher's.", per_round=True
    )
    student_model: str | None = option(
        None, "Network and initial weights of the students; same as --student_name=FILE."
    )
    model_fn: str | None = option(
        None,
        "Network, as module:function, of the teacher, and of the students unless they are given "
        "another.",
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
        "Unlabeled images per labeled image in each step of a student.",
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
        "Supervised baselines to train for comparison. student: on as many images as the last "
        "student saw; chain: on as many as the teacher and all students saw together.",
        choices=("student", "chain"),
    )
    stop_when_worse: bool = option(
        False, "Stop after the first round that does not improve validation accuracy."
    )
    reassign: bool = option(
        False, "From round 2 on, relabel the images selected in round 1 instead of selecting again."
    )
    selection_model: str | None = option(
        None,
        "Saved or converted model (.keras) that selects images once, for all rounds (paper: B0); "
        "teachers relabel this selection. Unset: each teacher selects anew.",
    )
    selection_dir: str | None = option(
        None,
        "Folder of the selection of --selection_model, which runs may share. Unset: in --workdir. "
        "Without --selection_model, its subfolder selected holds a finished selection to use.",
    )

    def with_names(self) -> "RoundsConfig":
        """Returns the options with all networks moved to `teacher_name` and `student_name`.

        Raises:
            ValueError: Both `student_model` and `student_name` are given.
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
    """Learning rates, absolute or scaled by the labeled batch size."""

    learning_rate_per_256: float = option(
        0.016,
        "Base learning rate per 256 labeled images in the batch, scaled linearly.",
        low=0,
        high=1000,
    )
    learning_rate: float | None = option(
        None,
        "Base learning rate, not scaled. Unset: use --learning_rate_per_256.",
        substitute="learning_rate_per_256",
        low=0,
        high=1000,
    )
    final_learning_rate_per_256: float | None = option(
        None,
        "Final learning rate of a staircase schedule, per 256 labeled images.",
        low=0,
        high=1000,
    )

    def base(self, batch_size: int) -> float:
        """Returns the base learning rate of a training."""
        if self.learning_rate is not None:
            return self.learning_rate
        return self.learning_rate_per_256 * (batch_size / 256)

    def final(self, batch_size: int) -> float | None:
        """Returns the final learning rate of a training, if given."""
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
    epochs: float = option(350.0, "Epochs over the labeled images.", low=0.001, high=100_000)
    train_ratio: float = option(
        1.0,
        "Multiplies the epochs and the decay interval, but not the warm-up.",
        low=0.001,
        high=1000,
    )
    adam_beta2: float = option(0.999, "beta_2 of adamw.", low=0, below=1)
    weight_decay: float = option(
        1e-5,
        "Weight decay: factor on sum(v^2)/2 over all variables except batch norm's.",
        low=0,
        high=1000,
    )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training: one teacher, student or supervised baseline.

    ``steps`` is the length of the schedule, or None if the epochs determine it; ``max_steps`` stops
    a training earlier. ``unlabeled_batch_size`` is ratio * batch_size, rounded up. Each step sums
    the gradients of ``accumulate_steps`` equal parts of its batch. ``unlabeled_noise`` applies to
    students. The stem and the first ``frozen_blocks`` blocks are frozen; -1 freezes nothing, as in
    trainings from random weights. The first ``head_steps`` steps train only the classifier.

    The role "fixres" fine-tunes a model for ``fixres_epochs`` epochs of labeled images. Its
    learning rate continues from the end of the schedule that the other fields describe.
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
        "Stop every training after this many steps, for a trial; the schedule keeps its full "
        "length. If no pseudo label then reaches --min_confidence, all are used.",
        low=1,
    )
    label_smoothing: float = option(
        0.1, "Label smoothing, of true labels and of hard pseudo labels.", low=0, below=1
    )
    hard_labels: bool = option(
        False, "Use hard pseudo labels: the most likely class instead of probabilities."
    )
    temperature: float = option(
        1.0,
        "Temperature T of soft pseudo labels: the targets are p^(1/T), normalized.",
        low=0.01,
        high=100,
    )
    ema_decay: float = option(
        0.9999, "Maximum decay of the exponential moving average of the weights.", low=0, high=1
    )
    accumulate_steps: int = option(
        1,
        "Micro-batches per step, for batches that do not fit in memory. Gradients are summed; "
        "batch norm sees one micro-batch at a time.",
        low=1,
        high=1_000_000,
    )
    teacher_mode: str = option(
        "stored",
        "Source of the pseudo labels. stored: those of the selected set; online: the teacher "
        "labels a clean copy of each image within the step.",
        choices=("stored", "online"),
    )
    frozen_blocks: int
    fixres_epochs: float
    seed: int
    head_steps: int = 0
    unlabeled_noise: UnlabeledNoiseConfig = UnlabeledNoiseConfig()
    labeled_weight: float = option(
        1.0,
        "Weight of the labeled images in a student's loss (paper: 1). 0: train on pseudo labels "
        "only; batch norm still sees labeled images.",
        low=0,
        high=1000,
    )

    @property
    def unlabeled_batch_size(self) -> int:
        """Unlabeled images per step; 0 for supervised training."""
        # The published code takes the ceiling. Rounded first: 100 * 0.07 is 7.000000000000001.
        return math.ceil(round(self.ratio * self.batch_size, 6))

    @property
    def images_per_step(self) -> int:
        """Labeled and unlabeled images of one step."""
        return self.batch_size + self.unlabeled_batch_size

    def num_steps(self, num_labeled: int) -> int:
        """Returns the length of the schedule in steps, as given or computed from the epochs."""
        if self.role == "fixres":
            return max(1, round(self.fixres_epochs * num_labeled / self.batch_size))
        if self.steps is not None:
            return self.steps
        epochs = self.optimizer.epochs * self.optimizer.train_ratio
        return max(1, round(epochs * num_labeled / self.batch_size))

    def last_step(self, num_labeled: int) -> int:
        """Returns the number of steps to train: the smaller of `num_steps` and `max_steps`."""
        steps = self.num_steps(num_labeled)
        return min(steps, self.max_steps or steps)


@dataclass(frozen=True)
class FixResConfig:
    """Fine-tuning at a higher resolution (FixRes)."""

    fixres_image_size: int | None = option(
        None, "Image size for fine-tuning. Unset: no fine-tuning.", low=1, high=MAX_SIDE
    )
    fixres_epochs: float = option(
        1.5, "Epochs of fine-tuning over the labeled images.", low=0.001, high=100_000
    )
