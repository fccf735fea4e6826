"""One training in memory: model, averages, optimizer, batches and the compiled step.

The step is the paper's: one forward pass over labeled and pseudo-labeled images together, one loss,
one update (section 2). It has static shapes and no Python side effects, and runs as it is on one
device or, under a strategy, on several. Where memory does not hold the images of a step, the
gradients of its parts are added up before the update.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

import efficientnet
from data import pipeline, sources
from data.pipeline.decoded import DecodedCache
from data.preprocess import PreprocessSpec
from efficientnet import synced_norm, weights
from noisy_student import config, ema, losses, optimizer, schedule
from noisy_student.artifacts import model_file
from noisy_student.batch_layout import Layout
from noisy_student.config import derived
from noisy_student.runtime import inference
from noisy_student.runtime.devices import Devices

Batch = dict[str, tf.Tensor]


LOSS_PARTS = ("loss", "labeled_loss", "unlabeled_loss", "l2_loss")
LABELED_PARTS = (*LOSS_PARTS, "labeled_accuracy", "labeled_confidence")
UNLABELED_PARTS = ("unlabeled_accuracy", "unlabeled_confidence")


class Session:
    """Model, averages and optimizer of one training, and its compiled step."""

    def __init__(
        self,
        settings: config.TrainConfig,
        devices: Devices,
        num_classes: int,
        num_labeled: int,
        teacher: str | os.PathLike[str] | None = None,
    ):
        """Builds everything in the strategy's scope.

        Args:
            settings: what to train.
            devices: where.
            num_classes: of the classifier.
            num_labeled: labeled images, on which the epochs are counted.
            teacher: saved model that labels the unlabeled images within the step; None: their
                labels are stored.

        Raises:
            ValueError: a batch size that replicas and accumulated steps cannot share evenly.
        """
        self.settings = settings
        self.devices = devices
        self.num_classes = num_classes
        self.layout = Layout(
            settings.batch_size,
            settings.unlabeled_batch_size,
            devices.num_replicas,
            settings.accumulate_steps,
        )
        keras.utils.set_random_seed(settings.seed)  # initial weights
        with devices.strategy.scope():
            self.model = build_model(settings.model, num_classes)
            _freeze(self.model, settings.frozen_blocks)
            self.average_model = build_model(settings.model, num_classes)
            self.average = ema.WeightAverage(self.model, self.average_model, settings.ema_decay)
            self.average.reset()
            self._teacher, self._teacher_spec = _load_teacher(teacher)
            self.learning_rate = make_schedule(settings, num_labeled)
            self.optimizer = optimizer.build(
                settings.optimizer.name,
                self.learning_rate,
                adam_beta2=settings.optimizer.adam_beta2,
            )
            self.optimizer.build(self.model.trainable_variables)
            self._gradient_sums = []
            if settings.accumulate_steps > 1:
                self._gradient_sums = [_gradient_sum(v) for v in self.model.trainable_variables]
        self._decayed = [v for v in self.model.trainable_variables if efficientnet.is_decayed(v)]
        compiled = functools.partial(tf.function, jit_compile=devices.jit_compile)
        self._update = compiled(self._update_from_batch)
        self._add = compiled(self._add_gradients)
        self._apply = compiled(self._apply_gradient_sums)
        self._run = tf.function(self._steps, reduce_retracing=True)
        self.predict = inference.predict_step(self.average_model, devices.jit_compile)
        if batch_norm_groups(settings.model, devices.num_replicas) == 1:
            # Else replicas have statistics of their own, and what is saved is the mean of them.
            self.predict = devices.spread(self.predict)

    def start_from(self, path: str | os.PathLike[str], class_names: tuple[str, ...]) -> str:
        """Takes the weights of a saved model (`checkpoint.start_from`), the averages too."""
        spec = derived.preprocess_spec(self.settings.model)
        told = model_file.start_from(self.model, path, class_names, spec)
        normalize = self.model.get_layer("normalize")
        weights.set_normalization(self.average_model, normalize.mean, normalize.std)
        self.average.reset()
        return told

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
        unlabeled: sources.Examples | None = None,
        cache: DecodedCache | None = None,
    ) -> Iterator[Batch]:
        """Endless batches for ``run`` from step ``start_step`` on, for the replicas of this host.

        Selected files that are an index need the ``unlabeled`` images. A ``cache`` holds what is
        decoded once.

        With accumulated steps one of these batches is a part of a step's: the images of a step are
        the same.
        """
        layout = self.layout

        def of_host(hosts: int, host: int) -> tf.data.Dataset:
            # Repeated rows may be another host's: then every host makes all rows.
            shards = (1, 0) if layout.is_padded else (hosts, host)
            micro_batches = pipeline.training_batches(
                labeled,
                spec,
                pipeline.Augmentation(**dataclasses.asdict(self.settings.noise)),
                batch_size=layout.micro_labeled,
                seed=self.settings.seed,
                num_classes=self.num_classes,
                selected_files=selected_files,
                selected_examples=unlabeled,
                unlabeled_batch_size=layout.micro_unlabeled,
                start_step=start_step * layout.micro_batches,
                clean_spec=self._teacher_spec,
                num_shards=shards[0],
                shard_index=shards[1],
                cache=cache,
            )
            return layout.per_replica(micro_batches, hosts, host)

        return self.devices.distribute(of_host)

    def run(self, batches: Iterator[Batch], count: int = 1) -> tf.Tensor:
        """Takes ``count`` training steps in one call of the devices.

        Returns:
            What ``parts`` names, of the global batch of every step: float32 [count, parts].
        """
        return self._run(batches, tf.constant(count))

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what ``run`` returns of a step."""
        return LABELED_PARTS + (UNLABELED_PARTS if self.settings.unlabeled_batch_size else ())

    def _steps(self, batches: Iterator[Batch], count: tf.Tensor) -> tf.Tensor:
        """Float32 [count, parts]."""
        table = tf.TensorArray(tf.float32, count, element_shape=[len(self.parts)])
        for step in tf.range(count):
            if self.layout.micro_batches == 1:
                parts = self._update(next(batches))
            else:
                parts = tf.zeros([len(self.parts)])
                for micro_batch in tf.range(self.layout.micro_batches):
                    parts += self._add(next(batches), micro_batch)
                self._apply()
            table = table.write(step, parts)
        return table.stack()

    def _update_from_batch(self, batch: Batch) -> tf.Tensor:
        """One update from a global batch; returns the parts, float32 [parts]."""

        def on_replica(batch: Batch) -> tf.Tensor:
            gradients, parts = self._gradients(batch, 0)
            self._apply_to_weights(gradients)
            return parts

        shares = self.devices.strategy.run(on_replica, (batch,))
        self._update_average()
        return self.devices.strategy.reduce("SUM", shares, axis=None)

    def _add_gradients(self, batch: Batch, micro_batch: tf.Tensor) -> tf.Tensor:
        """Adds the gradients of a part of a global batch; returns its share of the parts."""

        def on_replica(batch: Batch, micro_batch: tf.Tensor) -> tf.Tensor:
            gradients, parts = self._gradients(batch, micro_batch)
            for total, gradient in zip(self._gradient_sums, gradients, strict=True):
                total.assign_add(gradient)
            return parts

        shares = self.devices.strategy.run(on_replica, (batch, micro_batch))
        return self.devices.strategy.reduce("SUM", shares, axis=None)

    def _apply_gradient_sums(self) -> None:
        """One update from the gradients added up, which start again at zero."""

        def on_replica() -> None:
            self._apply_to_weights([tf.convert_to_tensor(total) for total in self._gradient_sums])
            for total in self._gradient_sums:
                total.assign(tf.zeros_like(total))

        self.devices.strategy.run(on_replica)
        self._update_average()

    def _apply_to_weights(self, gradients: list[tf.Tensor]) -> None:
        # Keras optimizers sum the gradients over the replicas themselves.
        pairs = zip(gradients, self.model.trainable_variables, strict=True)
        self.optimizer.apply_gradients(pairs)

    def _update_average(self) -> None:
        self.average.update(tf.convert_to_tensor(self.optimizer.iterations))

    def _pseudo_labels(self, batch: Batch) -> tf.Tensor:
        """The teacher's distributions, float32 [rows, C]: stored ones, or those of this step."""
        if self._teacher is None:
            return batch["probabilities"]
        logits = self._teacher(batch["unlabeled_clean_images"], training=False)
        return tf.nn.softmax(tf.cast(logits, tf.float32))

    def _gradients(
        self, batch: Batch, micro_batch: tf.Tensor | int
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """One replica's forward pass over labeled and unlabeled images together, and its gradients.

        Returns:
            Gradients of the trainable variables, and what ``parts`` names as float32 [parts]: both
            are shares that sum over replicas and micro-batches.
        """
        settings, layout = self.settings, self.layout
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        mask = layout.mask(replica) if layout.is_padded else None
        images, targets = batch["images"], None
        if layout.unlabeled:
            images = tf.concat([images, batch["unlabeled_images"]], axis=0)
            targets = losses.unlabeled_targets(
                self._pseudo_labels(batch),
                hard=settings.hard_labels,
                label_smoothing=settings.label_smoothing,
                temperature=settings.temperature,
            )
        seed = tf.stack([settings.seed, tf.cast(self.optimizer.iterations, tf.int32)])
        with tf.GradientTape() as tape:
            numbers = layout.numbers(replica, micro_batch)
            with efficientnet.noise_scope(seed, numbers, layout.total, layout.runs):
                logits = self.model(images, training=True)
            labeled, unlabeled = logits[: layout.labeled_rows], logits[layout.labeled_rows :]
            loss, parts = losses.student_loss(
                labeled,
                batch["labels"],
                unlabeled if layout.unlabeled else None,
                targets,
                ratio=settings.ratio,
                labeled_weight=settings.labeled_weight,
                label_smoothing=settings.label_smoothing,
                decayed_variables=self._decayed,
                weight_decay=settings.optimizer.weight_decay,
                global_labeled=layout.labeled,
                global_unlabeled=layout.unlabeled,
                num_replicas=layout.replicas * layout.micro_batches,
                labeled_mask=mask,
            )
        gradients = tape.gradient(loss, self.model.trainable_variables)
        shown = [parts[name] for name in LOSS_PARTS]
        shown += losses.watched(labeled, batch["labels"], layout.labeled, mask)
        if layout.unlabeled:
            choice = tf.argmax(targets, axis=-1, output_type=tf.int32)
            shown += losses.watched(unlabeled, choice, layout.unlabeled)
        return gradients, tf.stack(shown)


def _freeze(model: keras.Model, num_blocks: int) -> None:
    """Fixes the stem and the first blocks, if any: no updates, no noise, batch norm as it is."""
    if not num_blocks:
        return
    blocks = [layer for layer in model.layers if layer.name.startswith("blocks_")]
    if num_blocks > len(blocks):
        raise ValueError(f"--frozen_blocks={num_blocks}: {model.name} has {len(blocks)} blocks.")
    for layer in (model.get_layer("stem_conv"), model.get_layer("stem_bn"), *blocks[:num_blocks]):
        layer.trainable = False


def _load_teacher(
    path: str | os.PathLike[str] | None,
) -> tuple[keras.Model | None, PreprocessSpec | None]:
    """A teacher and how its images are made."""
    if path is None:
        return None, None
    teacher, card = model_file.load_model(path)
    teacher.trainable = False
    return teacher, card["preprocess"]


def _gradient_sum(variable: keras.Variable) -> tf.Variable:
    return tf.Variable(
        tf.zeros(variable.shape),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )


def build_model(settings: config.ModelConfig, num_classes: int) -> keras.Model:
    """The model of ``settings``, for any resolution."""
    arguments = dataclasses.asdict(settings)
    arguments.pop("image_size")
    return efficientnet.build_model(num_classes=num_classes, **arguments)


def batch_norm_groups(settings: config.ModelConfig, num_replicas: int) -> int:
    """Parts of a batch that batch norm takes statistics of, each its own."""
    return num_replicas // synced_norm.group_size(settings.batch_norm_replicas, num_replicas)


def make_schedule(settings: config.TrainConfig, num_labeled: int) -> schedule.LearningRate:
    """The learning rate of ``settings``; epochs count labeled images.

    Raises:
        ValueError: fine-tuning after a schedule that ended at 0; a final rate for a schedule that
            has none.
    """
    o = settings.optimizer
    if settings.role == "fixres":
        trained = dataclasses.replace(settings, role="student")
        end = float(make_schedule(trained, num_labeled)(trained.num_steps(num_labeled)))
        if not end > 0:
            raise ValueError(
                f"--role=fixres goes on at the rate with which --schedule={o.schedule} ends, "
                "which is 0: give --schedule=constant and --learning_rate."
            )
        return schedule.LearningRate("constant", end)
    total = settings.num_steps(num_labeled)
    steps_per_epoch = num_labeled / settings.batch_size
    if o.schedule == "staircase":
        return schedule.LearningRate.paper(
            o.learning_rate,
            steps_per_epoch,
            train_ratio=o.train_ratio,
            final=o.final_learning_rate,
            total_steps=total,
            warmup_epochs=o.warmup_epochs,
            warmup_steps=o.warmup_steps,
        )
    if o.final_learning_rate is not None:
        raise ValueError(
            f"--final_learning_rate_per_256 goes with --schedule=staircase, not {o.schedule}."
        )
    warmup = o.warmup_steps
    if warmup is None:
        warmup = int(o.warmup_epochs * steps_per_epoch)
    return schedule.LearningRate(
        o.schedule, o.learning_rate, warmup_steps=warmup, total_steps=total
    )
