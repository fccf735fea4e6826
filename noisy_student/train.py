"""Trains a teacher, a student or a supervised control: one loop for all (paper, section 3.1).

    python -m noisy_student.train --role=teacher --output_dir=runs/teacher --dataset=mnist5k ...
    python -m noisy_student.train --role=student --selected_dir=runs/selected --output_dir=...

The output directory receives ``model.keras`` (averaged weights of the last step), ``best.keras``
(of the best validation accuracy), ``train.json`` (summary and history), ``metrics.jsonl``,
``tensorboard/`` and, last, ``done.json``. Run again after an interruption, it goes on from the last
checkpoint and ends as if it had not been interrupted.
"""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import efficientnet
from data import pipeline, sources
from data.preprocess import PreprocessSpec
from noisy_student import (
    checkpoint,
    config,
    ema,
    inference,
    losses,
    manifest,
    optimizer,
    schedule,
    strategy,
    watch,
)

Batch = dict[str, tf.Tensor]


def run(
    settings: config.TrainConfig,
    splits: sources.Splits,
    output_dir: str | Path,
    devices: strategy.Devices,
    log: config.LogConfig,
    selected_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Trains, or goes on training, or returns at once where ``output_dir`` is finished.

    Args:
        settings: what to train and how.
        splits: labeled images to train on and validation images to watch.
        output_dir: of this stage alone.
        devices: from ``strategy.make``.
        log: how often to log, validate and save.
        selected_dir: student-ready records; for students, and for them alone.

    Returns:
        The content of ``train.json``.

    Raises:
        ValueError: for settings that do not fit the data, or a loss that is not finite.
    """
    output_dir = Path(output_dir)
    request = _request(settings, splits, selected_dir)
    if manifest.begin(output_dir, request):
        return manifest.read_json(output_dir / "train.json")

    name = f"{settings.role} {settings.round}" if settings.round else settings.role
    spec = preprocess_spec(settings.model)
    selected = sorted(map(str, Path(selected_dir).glob("*.tfrecord"))) if selected_dir else None
    total_steps = num_steps(settings, len(splits.labeled))
    last_step = min(total_steps, settings.max_steps or total_steps)

    session = Session(settings, devices, len(splits.class_names), len(splits.labeled))
    state = checkpoint.TrainingState(output_dir, **session.trackables())
    if restored := state.restore():
        print(f"{name}: going on from {restored}", flush=True)
    step = session.step_number()
    watching = watch.Watch(output_dir, name, step, last_step, images_per_step(settings))

    def validate() -> float:
        batches = pipeline.evaluation_batches(
            splits.validation, spec, batch_size=log.eval_batch_size
        )
        labels, table = inference.predict_all(session.predict, batches, len(splits.validation))
        return inference.top_k_accuracy(table, labels)

    def save(file_name: str, **facts: Any) -> None:
        checkpoint.save_model(
            session.average_model, output_dir / file_name, splits.class_names, spec,
            role=settings.role, round=settings.round, model=dataclasses.asdict(settings.model),
            seed=settings.seed, **facts,
        )  # fmt: skip

    for batch in session.batches(splits.labeled, spec, selected, start_step=step):
        if step >= last_step:
            break
        watching.add(session.train_step(batch))
        step += 1
        validated = step % log.validate_every == 0 or step == last_step
        saved = step % log.checkpoint_every == 0 and step < last_step
        if step % log.log_every == 0 or validated or saved:
            accuracy = validate() if validated else None
            if watching.write(step, session.learning_rate(step - 1), accuracy):
                save("best.keras", step=step, validation_top1=accuracy)
        if saved:
            state.save(step)

    save("model.keras", step=step, validation_top1=watching.history[-1]["validation_top1"])
    summary = _summary(settings, session, spec, step, watching)
    manifest.write_json(output_dir / "train.json", summary)
    watching.close()
    model_hash = manifest.file_hash(output_dir / "model.keras")
    manifest.finish(output_dir, request, summary["seconds"], model_hash=model_hash)
    state.remove()
    return summary


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


def time_steps(session: Session, spec: PreprocessSpec, steps: int = 3) -> float:
    """Seconds of one training step, measured on random images after tracing; for dry runs."""
    settings = session.settings
    size, rng = spec.image_size, np.random.default_rng(0)

    def images(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)

    batch = {"images": images(settings.batch_size), "labels": np.zeros(settings.batch_size, int)}
    if unlabeled := settings.unlabeled_batch_size:
        batch["unlabeled_images"] = images(unlabeled)
        batch["probabilities"] = np.full(
            (unlabeled, session.num_classes), 1 / session.num_classes, np.float32
        )
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    batches = iter(session.devices.strategy.experimental_distribute_dataset(dataset))
    session.train_step(next(batches))
    start = time.perf_counter()
    for _ in range(steps):
        parts = session.train_step(next(batches))
    parts["loss"].numpy()
    return (time.perf_counter() - start) / steps


def dry_run(
    settings: config.TrainConfig, splits: sources.Splits, devices: strategy.Devices
) -> float:
    """Prints model, shapes, steps and expected time of one training; touches no file.

    Returns:
        The expected seconds.
    """
    session = Session(settings, devices, len(splits.class_names), len(splits.labeled))
    spec = preprocess_spec(settings.model)
    steps = num_steps(settings, len(splits.labeled))
    steps = min(steps, settings.max_steps or steps)
    seconds = steps * time_steps(session, spec)
    o, size = settings.optimizer, spec.image_size
    print(
        f"{settings.role} {settings.round}: {settings.model.name}, "
        f"{session.model.count_params():,} parameters, input {size}x{size}x3\n"
        f"  batch {settings.batch_size} labeled + {settings.unlabeled_batch_size} unlabeled, "
        f"{steps} steps, {steps * images_per_step(settings):,} images\n"
        f"  {o.name}, rate {o.learning_rate:.4g} ({o.schedule}), weight decay {o.weight_decay:g}, "
        f"noise {settings.noise}\n"
        f"  about {seconds:.0f} s on {devices.describe()} (3 steps measured)"
    )
    return seconds


def _summary(
    settings: config.TrainConfig,
    session: Session,
    spec: PreprocessSpec,
    step: int,
    watching: watch.Watch,
) -> dict[str, Any]:
    trainable = session.model.trainable_variables
    return {
        "role": settings.role,
        "round": settings.round,
        "model_name": settings.model.name,
        "width": settings.model.width,
        "depth": settings.model.depth,
        "parameters": int(sum(np.prod(v.shape) for v in trainable)),
        "image_size": spec.image_size,
        "num_steps": step,
        "images_seen": step * images_per_step(settings),
        "labeled_batch_size": settings.batch_size,
        "unlabeled_batch_size": settings.unlabeled_batch_size,
        "seconds": round(watching.seconds, 2),
        "final_loss": watching.history[-1]["loss"],
        "validation_top1": watching.history[-1]["validation_top1"],
        "best_validation_top1": max(r.get("validation_top1", 0.0) for r in watching.history),
        "history": watching.history,
    }


def _request(
    settings: config.TrainConfig, splits: sources.Splits, selected_dir: str | Path | None
) -> dict[str, Any]:
    """What decides the result of a training."""
    if (settings.role == "student") != (selected_dir is not None):
        raise ValueError(
            f"--role={settings.role} with --selected_dir={selected_dir}: students need a directory "
            "of selected pseudo labels, and only they do."
        )
    inputs = {
        "labeled": splits.labeled.fingerprint(),
        "validation": splits.validation.fingerprint(),
    }
    if selected_dir:
        done = Path(selected_dir) / manifest.DONE
        if not done.exists():
            raise ValueError(f"--selected_dir={selected_dir} has no {manifest.DONE}: not finished.")
        inputs["selected"] = manifest.read_json(done)["records_hash"]
    return {"stage": "train", "settings": dataclasses.asdict(settings), "inputs": inputs}


def _check_divisible(settings: config.TrainConfig, replicas: int) -> None:
    for flag, size in (
        ("batch_size", settings.batch_size),
        ("ratio * batch_size", settings.unlabeled_batch_size),
    ):
        if size % replicas:
            raise ValueError(f"--{flag} = {size} cannot be split evenly over {replicas} replicas.")


def _main(settings: config.Config) -> None:
    flags = config.FLAGS
    role: str = flags.role
    if role == "control":
        chosen = settings.control(config.required("control_images"))
    else:
        chosen = settings.teacher if role == "teacher" else config.student(flags.round)
    splits = sources.load_splits(**dataclasses.asdict(settings.data), splits_file=flags.splits_file)
    devices = strategy.make(**dataclasses.asdict(settings.device))
    if flags.dry_run:
        dry_run(chosen, splits, devices)
        return
    output_dir = config.required("output_dir")
    summary = run(chosen, splits, output_dir, devices, settings.log, flags.selected_dir)
    print(f"{role}: validation {summary['validation_top1']:.2f}%, model in {output_dir}")


if __name__ == "__main__":
    config.run(
        _main,
        ["role", "round", "output_dir", "selected_dir", "control_images", "splits_file", "dataset",
         "num_labeled", "seed", "teacher_name", "student_name", "image_size", "small_image",
         "batch_size", "ratio", "epochs", "teacher_steps", "student_steps", "optimizer",
         "learning_rate", "schedule", "augment", "magnitude", "dropout_rate",
         "stochastic_depth_rate", "strategy", "precision", "max_steps", "dry_run"],
    )  # fmt: skip
