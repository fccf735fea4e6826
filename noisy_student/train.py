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
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data import pipeline, sources
from data.preprocess import PreprocessSpec
from noisy_student import checkpoint, config, inference, manifest, strategy, watch
from noisy_student.session import Session, images_per_step, num_steps, preprocess_spec


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


def _main(settings: config.Config) -> None:
    flags = config.FLAGS
    role: str = flags.role
    if role == "control":
        chosen = settings.control(config.required("control_images"))
    else:
        chosen = settings.teacher if role == "teacher" else config.student(flags.round)
    devices = strategy.make(**dataclasses.asdict(settings.device))
    splits = sources.load_splits(**dataclasses.asdict(settings.data), splits_file=flags.splits_file)
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
