"""One training in memory: model, averages, optimizer, batches and the compiled step.

The step is the paper's: one forward pass over labeled and pseudo-labeled images together, one loss,
one update (section 2). It has static shapes and no Python side effects, and runs as it is on one
device or, under a strategy, on several.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

import efficientnet
from data import pipeline, sources
from data.preprocess import PreprocessSpec
from noisy_student import config, ema, inference, losses, optimizer, schedule, strategy

Batch = dict[str, tf.Tensor]


class Session:
    """Model, averages and optimizer of one training, and its compiled step."""

    def __init__(
        self,
        settings: config.TrainConfig,
        devices: strategy.Devices,
        num_classes: int,
        num_labeled: int,
    ):
        """Builds everything in the strategy's scope.

        Args:
            settings: what to train.
            devices: where.
            num_classes: of the classifier.
            num_labeled: labeled images, on which the epochs are counted.
        """
        _check_divisible(settings, devices.num_replicas)
        self.settings = settings
        self.devices = devices
        self.num_classes = num_classes
        keras.utils.set_random_seed(settings.seed)  # initial weights
        with devices.strategy.scope():
            self.model = build_model(settings.model, num_classes)
            self.average_model = build_model(settings.model, num_classes)
            self.average = ema.WeightAverage(self.model, self.average_model, settings.ema_decay)
            self.average.reset()
            self.learning_rate = make_schedule(settings, num_labeled)
            self.optimizer = optimizer.build(
                settings.optimizer.name,
                self.learning_rate,
                adam_beta2=settings.optimizer.adam_beta2,
            )
            self.optimizer.build(self.model.trainable_variables)
        self._decayed = [v for v in self.model.trainable_variables if efficientnet.is_decayed(v)]
        self.train_step = tf.function(
            self._global_step, jit_compile=devices.jit_compile, reduce_retracing=True
        )
        self.predict = inference.predict_step(self.average_model, devices.jit_compile)

    def trackables(self) -> dict[str, Any]:
        """All that a checkpoint must hold; noise and batches are functions of the step."""
        return {"model": self.model, "average": self.average_model, "optimizer": self.optimizer}

    def step_number(self) -> int:
        """Finished training steps."""
        return int(self.optimizer.iterations.numpy())

    def batches(
        self,
        labeled: sources.Examples,
        spec: PreprocessSpec,
        selected_files: list[str] | None,
        start_step: int,
    ) -> Iterator[Batch]:
        """Endless batches for ``train_step`` from step ``start_step`` on."""
        dataset = pipeline.training_batches(
            labeled,
            spec,
            pipeline.Augmentation(**dataclasses.asdict(self.settings.noise)),
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            num_classes=self.num_classes,
            selected_files=selected_files,
            unlabeled_batch_size=self.settings.unlabeled_batch_size,
            start_step=start_step,
        )
        if self.devices.num_replicas > 1:
            return iter(self.devices.strategy.experimental_distribute_dataset(dataset))
        return iter(dataset)

    def _global_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """One update from a global batch; returns the parts of its loss."""
        shares = self.devices.strategy.run(self._replica_step, args=(batch,))
        self.average.update(tf.convert_to_tensor(self.optimizer.iterations))
        return {
            name: self.devices.strategy.reduce("SUM", share, axis=None)
            for name, share in shares.items()
        }

    def _replica_step(self, batch: Batch) -> dict[str, tf.Tensor]:
        """One replica's forward pass over labeled and unlabeled images together, and its update."""
        settings = self.settings
        labeled_size = batch["images"].shape[0]
        images, targets = batch["images"], None
        if settings.unlabeled_batch_size:
            images = tf.concat([images, batch["unlabeled_images"]], axis=0)
            targets = losses.unlabeled_targets(
                batch["probabilities"], hard=settings.hard_labels,
                label_smoothing=settings.label_smoothing, temperature=settings.temperature,
            )  # fmt: skip
        seed = tf.stack([settings.seed, tf.cast(self.optimizer.iterations, tf.int32)])
        with tf.GradientTape() as tape:
            with efficientnet.noise_scope(seed, *self._positions()):
                logits = self.model(images, training=True)
            loss, parts = losses.student_loss(
                logits[:labeled_size],
                batch["labels"],
                logits[labeled_size:] if targets is not None else None,
                targets,
                ratio=settings.ratio,
                label_smoothing=settings.label_smoothing,
                decayed_variables=self._decayed,
                weight_decay=settings.optimizer.weight_decay,
                global_labeled=settings.batch_size,
                global_unlabeled=settings.unlabeled_batch_size,
                num_replicas=self.devices.num_replicas,
            )
        variables = self.model.trainable_variables
        # Keras optimizers sum the gradients over the replicas themselves.
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return parts

    def _positions(self) -> tuple[tf.Tensor | None, int | None]:
        """Where this replica's images, labeled then unlabeled, stand in the global batch."""
        replicas = self.devices.num_replicas
        if replicas == 1:
            return None, None
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        b = self.settings.batch_size // replicas
        u = self.settings.unlabeled_batch_size // replicas
        unlabeled = self.settings.batch_size + replica * u + tf.range(u)
        positions = tf.concat([replica * b + tf.range(b), unlabeled], axis=0)
        return positions, images_per_step(self.settings)


def build_model(settings: config.ModelConfig, num_classes: int) -> keras.Model:
    """The model of ``settings``, for any resolution."""
    arguments = dataclasses.asdict(settings)
    arguments.pop("image_size")
    return efficientnet.build_model(num_classes=num_classes, **arguments)


def preprocess_spec(settings: config.ModelConfig) -> PreprocessSpec:
    """Resolution and crop of the model's images."""
    size = settings.image_size
    if size is None:
        size = 32 if settings.small_image else efficientnet.CONFIGS[settings.name].resolution
    return PreprocessSpec(image_size=size, small_image=settings.small_image)


def num_steps(settings: config.TrainConfig, num_labeled: int) -> int:
    """Length of the schedule: as given, or epochs * train_ratio passes over the labeled images."""
    if settings.steps is not None:
        return settings.steps
    o = settings.optimizer
    return max(1, round(o.epochs * o.train_ratio * num_labeled / settings.batch_size))


def images_per_step(settings: config.TrainConfig) -> int:
    """Labeled and unlabeled images of one step."""
    return settings.batch_size + settings.unlabeled_batch_size


def make_schedule(settings: config.TrainConfig, num_labeled: int) -> schedule.LearningRate:
    """The learning rate of ``settings``; epochs count labeled images."""
    o = settings.optimizer
    total = num_steps(settings, num_labeled)
    steps_per_epoch = num_labeled / settings.batch_size
    if o.schedule == "staircase" and o.warmup_steps is None:
        return schedule.LearningRate.paper(
            o.learning_rate, steps_per_epoch, train_ratio=o.train_ratio,
            final=o.final_learning_rate, total_steps=total, warmup_epochs=o.warmup_epochs,
        )  # fmt: skip
    warmup = o.warmup_steps
    if warmup is None:
        warmup = int(o.warmup_epochs * steps_per_epoch)
    decay_steps = schedule.DECAY_EPOCHS * o.train_ratio * steps_per_epoch
    return schedule.LearningRate(
        o.schedule, o.learning_rate, warmup_steps=warmup, decay_steps=decay_steps,
        total_steps=total,
    )  # fmt: skip


def _check_divisible(settings: config.TrainConfig, replicas: int) -> None:
    for flag, size in (
        ("batch_size", settings.batch_size),
        ("ratio * batch_size", settings.unlabeled_batch_size),
    ):
        if size % replicas:
            raise ValueError(f"--{flag} = {size} cannot be split evenly over {replicas} replicas.")
