"""The in-memory state of one training."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

import efficientnet
from data import pipeline
from data.preprocess import PreprocessSpec
from noisy_student import config, ema, losses, schedule
from noisy_student.batch_layout import Layout
from noisy_student.config import derived
from noisy_student.runtime.devices import Devices


@dataclass(frozen=True)
class Learner:
    """Everything that one training holds in memory."""

    # Options of the training, with the momentum of batch norm that its length allows.
    settings: config.TrainConfig
    devices: Devices  # devices it runs on
    layout: Layout  # placement of a step's images
    model: keras.Model  # network in training
    average_model: keras.Model  # the same network with averaged weights, the one that is saved
    average: ema.WeightAverage  # keeps average_model up to date
    learning_rate: schedule.LearningRate  # schedule, a function of the finished steps
    optimizer: keras.optimizers.Optimizer  # optimizer of model, built
    # Seed of the network's noise, int64 []. A variable, so that trainings of all seeds and rounds
    # compile to one program.
    seed: tf.Variable
    # Network that labels the unlabeled images within the step; None: labels are stored.
    teacher: keras.Model | None
    teacher_spec: PreprocessSpec | None  # preprocessing of the teacher's images
    # The step applies the noise of whole batches, which batches come without.
    augments: bool = False

    @property
    def name(self) -> str:
        """Display name of the training."""
        return name_of(self.settings)

    @property
    def loss(self) -> losses.LossConfig:
        """Terms of the loss."""
        s = self.settings
        return losses.LossConfig(
            s.ratio, s.label_smoothing, s.optimizer.weight_decay, s.labeled_weight
        )

    @property
    def noises(self) -> tuple[pipeline.Augmentation, pipeline.Augmentation]:
        """Image noise of labeled and of unlabeled images."""
        own = derived.augmentation(self.settings.noise)
        noises = own, derived.unlabeled_augmentation(self.settings)
        labeled, unlabeled = (dataclasses.replace(n, on_device=self.augments) for n in noises)
        return labeled, unlabeled

    @property
    def noised_rows(self) -> dict[str, int]:
        """Number of rows with each kind of noise from which unlabeled images are exempt."""
        noise = self.settings.unlabeled_noise
        kinds = {"dropout": noise.dropout, "stochastic_depth": noise.stochastic_depth}
        return {kind: self.layout.labeled_rows for kind, noised in kinds.items() if not noised}

    @property
    def num_classes(self) -> int:
        """Number of classes of the classifier."""
        return self.model.output_shape[-1]

    @property
    def finished_steps(self) -> int:
        """Number of finished training steps."""
        return int(self.optimizer.iterations.numpy())

    @property
    def decayed_variables(self) -> list[keras.Variable]:
        """Variables with weight decay."""
        return [v for v in self.model.trainable_variables if efficientnet.is_decayed(v)]

    def trackables(self) -> dict[str, Any]:
        """Returns what a checkpoint must hold; noise and batches are functions of the step."""
        return {"model": self.model, "average": self.average_model, "optimizer": self.optimizer}


def name_of(settings: config.TrainConfig) -> str:
    """Returns the display name of a training, such as "student 1"."""
    return f"{settings.role} {settings.round}" if settings.round else settings.role
