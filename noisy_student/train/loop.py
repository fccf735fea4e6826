"""Trains a teacher, a student or a supervised control: one loop for all (paper, section 3.1).

    python -m noisy_student.train --role=teacher --output_dir=runs/teacher --dataset=mnist5k ...
    python -m noisy_student.train --role=student --selected_dir=runs/selected --output_dir=...

The output directory receives ``model.keras`` (averaged weights of the last step), ``best.keras``
(of the best validation accuracy), ``train.json`` (summary and history), ``metrics.jsonl``,
``tensorboard/`` and, last, ``done.json``. Run again after an interruption, it goes on from the last
checkpoint and ends as if it had not been interrupted. A SIGTERM saves a checkpoint and exits with
code 75 (`interruption.EXIT_CODE`).
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data import pipeline, sources, tfrecord_file
from data.pipeline.decoded import DecodedCache
from data.preprocess import PreprocessSpec
from noisy_student import config
from noisy_student.artifacts import model_file, stage, student_set
from noisy_student.artifacts.files import file_hash, read_json, write_json
from noisy_student.config import derived
from noisy_student.runtime import inference, preemption
from noisy_student.runtime.devices import Devices, make_devices
from noisy_student.train import progress
from noisy_student.train.session import Session, batch_norm_groups


def run(
    settings: config.TrainConfig,
    splits: sources.Splits,
    output_dir: str | Path,
    devices: Devices,
    log: config.LogConfig,
    selected_dir: str | Path | None = None,
    init_model: str | Path | None = None,
    teacher_model: str | Path | None = None,
) -> dict[str, Any]:
    """Trains, or goes on training, or returns at once where ``output_dir`` is finished.

    Args:
        settings: what to train and how.
        splits: labeled images to train on and validation images to watch.
        output_dir: of this stage alone.
        devices: from ``make_devices``.
        log: how often to log, validate and save.
        selected_dir: student-ready records; for students, and for them alone.
        init_model: a saved model to start from; None: random weights. Fine-tuning needs one.
        teacher_model: the saved teacher of a student whose ``teacher_mode`` is "online".

    Returns:
        The content of ``train.json``.

    Raises:
        SystemExit: with `interruption.EXIT_CODE` where a SIGTERM stopped the training.
        ValueError: for settings that do not fit the data, records that turn out to be damaged, or
            a loss that is not finite.
    """
    output_dir = Path(output_dir)
    request = _request(settings, splits, devices, selected_dir, init_model, teacher_model)
    if stage.begin(output_dir, request, write=devices.is_chief):
        return read_json(output_dir / "train.json")
    selected = student_set.files_of(selected_dir) if selected_dir else None
    teacher = teacher_model if settings.teacher_mode == "online" else None
    session = Session(settings, devices, len(splits.class_names), len(splits.labeled), teacher)
    cache = DecodedCache(log.cache_decoded_mib << 20)
    with devices.writable(output_dir) as directory:
        state = model_file.TrainingState(output_dir, directory, **session.trackables())
        records = [*splits.labeled.record_files(), *splits.validation.record_files()]
        indexed = student_set.is_index(selected)
        records += splits.unlabeled.record_files() if indexed else selected or []
        with tfrecord_file.damage_named(records):
            watching = _train(session, splits, directory, log, selected, init_model, state, cache)
        summary = _summary(session, derived.preprocess_spec(settings.model), watching)
        summary["decoded_once"] = cache.report()
        write_json(directory / "train.json", summary)
        watching.close()
        model_hash = file_hash(directory / "model.keras")
        stage.finish(directory, request, summary["seconds"], model_hash=model_hash)
        state.remove()
    devices.wait()
    return read_json(output_dir / "train.json")


def _train(
    session: Session,
    splits: sources.Splits,
    directory: Path,
    log: config.LogConfig,
    selected: list[str] | None,
    init_model: str | Path | None,
    state: model_file.TrainingState,
    cache: DecodedCache,
) -> progress.Watch:
    """From the last checkpoint to ``model.keras``; `SystemExit` where a SIGTERM stops it."""
    settings, devices = session.settings, session.devices
    name = f"{settings.role} {settings.round}" if settings.round else settings.role
    spec = derived.preprocess_spec(settings.model)
    # Also before a restored state, which has the weights but not the start's pixel statistics.
    told = session.start_from(init_model, splits.class_names) if init_model else ""
    if restored := state.restore():
        told = f"going on from {restored}"
    if told:
        print(f"{name}: {told}", flush=True)
    step, last_step = session.step_number(), _last_step(settings, len(splits.labeled))
    watching = progress.Watch(
        directory,
        name,
        step,
        last_step,
        settings.images_per_step,
        session.parts,
        log.profile_steps,
        show=devices.is_chief,
    )

    def save(file_name: str, **facts: Any) -> None:
        model_file.save_model(
            session.average_model,
            directory / file_name,
            splits.class_names,
            spec,
            role=settings.role,
            round=settings.round,
            model=dataclasses.asdict(settings.model),
            seed=settings.seed,
            **facts,
        )

    batches = session.batches(splits.labeled, spec, selected, step, splits.unlabeled, cache)
    validation = pipeline.evaluation_batches(
        splits.validation, spec, batch_size=log.eval_batch_size, cache=cache, name="validation"
    )
    if told := cache.in_words():
        print(f"{name}: {told}", flush=True)
    with preemption.Listener() as signals:
        while step < last_step:
            watching.before(step)
            count = _steps_until_event(step, last_step, log)
            watching.add(session.run(batches, count))
            step += count
            validated = step % log.validate_every == 0 or step == last_step
            stopped = devices.any(signals.requested) and step < last_step
            saved = stopped or (step % log.checkpoint_every == 0 and step < last_step)
            if step % log.log_every == 0 or validated or saved:
                accuracy = None
                if validated:
                    accuracy = inference.accuracy(
                        session.predict, validation, len(splits.validation)
                    )
                best = watching.write(step, session.learning_rate(step - 1), accuracy)
                if devices.any(best and devices.is_chief):  # the chief has the whole history
                    save("best.keras", step=step, validation_top1=accuracy)
            if saved:
                state.save(step)
            if stopped:
                watching.close()
                print(f"{name}: stopped by SIGTERM after step {step}, to be continued", flush=True)
                raise SystemExit(preemption.EXIT_CODE)
    save("model.keras", step=step, validation_top1=watching.history[-1].get("validation_top1"))
    return watching


def _last_step(settings: config.TrainConfig, num_labeled: int) -> int:
    steps = settings.num_steps(num_labeled)
    return min(steps, settings.max_steps or steps)


def _steps_until_event(step: int, last_step: int, log: config.LogConfig) -> int:
    """How many steps to take in one call, which does not cross a log line or the like."""
    ends = [last_step, step + log.steps_per_execution]
    ends += [
        (step // every + 1) * every
        for every in (log.log_every, log.validate_every, log.checkpoint_every)
    ]
    ends += [edge for edge in log.profile_steps or () if edge > step]
    return min(ends) - step


def time_steps(session: Session, spec: PreprocessSpec, steps: int = 3) -> float:
    """Seconds of one training step, measured on random images after tracing; for dry runs."""
    size, rng = spec.image_size, np.random.default_rng(0)

    def images(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)

    layout = session.layout
    batch = {
        "images": images(layout.labeled_rows),
        "labels": np.zeros(layout.labeled_rows, np.int32),
    }
    if rows := layout.unlabeled_rows:
        classes = session.num_classes
        batch["unlabeled_images"] = images(rows)
        batch["probabilities"] = np.full((rows, classes), 1 / classes, np.float32)
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    batches = session.devices.distribute(lambda hosts, host: dataset)
    session.run(batches).numpy()
    start = time.perf_counter()
    session.run(batches, steps).numpy()
    return (time.perf_counter() - start) / steps


def dry_run(settings: config.TrainConfig, splits: sources.Splits, devices: Devices) -> float:
    """Prints model, shapes, steps and expected time of one training; touches no file.

    Returns:
        The expected seconds.
    """
    session = Session(settings, devices, len(splits.class_names), len(splits.labeled))
    spec = derived.preprocess_spec(settings.model)
    steps = _last_step(settings, len(splits.labeled))
    seconds = steps * time_steps(session, spec)
    o, size = settings.optimizer, spec.image_size
    print(
        f"{settings.role} {settings.round}: {settings.model.name}, "
        f"{session.model.count_params():,} parameters, input {size}x{size}x3\n"
        f"  batch {settings.batch_size} labeled + {settings.unlabeled_batch_size} unlabeled, "
        f"{steps} steps, {steps * settings.images_per_step:,} images\n"
        f"  {o.name}, rate {o.learning_rate:.4g} ({o.schedule}), weight decay {o.weight_decay:g}, "
        f"noise {settings.noise}\n"
        f"  about {seconds:.0f} s on {devices.describe()} (3 steps measured)"
    )
    return seconds


def _summary(session: Session, spec: PreprocessSpec, watching: progress.Watch) -> dict[str, Any]:
    settings, step = session.settings, session.step_number()
    trainable = session.average_model.trainable_variables  # frozen blocks counted, too
    accuracies = [row["validation_top1"] for row in watching.history if "validation_top1" in row]
    return {
        "role": settings.role,
        "round": settings.round,
        "model_name": settings.model.name,
        "width": settings.model.width,
        "depth": settings.model.depth,
        "parameters": int(sum(np.prod(v.shape) for v in trainable)),
        "image_size": spec.image_size,
        "num_steps": step,
        "images_seen": step * settings.images_per_step,
        "labeled_batch_size": settings.batch_size,
        "unlabeled_batch_size": settings.unlabeled_batch_size,
        "seconds": round(watching.seconds, 2),
        "final_loss": watching.history[-1]["loss"],
        "validation_top1": watching.history[-1].get("validation_top1"),
        "best_validation_top1": max(accuracies) if accuracies else None,
        "history": watching.history,
    }


def _request(
    settings: config.TrainConfig,
    splits: sources.Splits,
    devices: Devices,
    selected_dir: str | Path | None,
    init_model: str | Path | None,
    teacher_model: str | Path | None,
) -> dict[str, Any]:
    """What decides the result of a training, up to rounding."""
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
        inputs["selected"] = stage.read_done(selected_dir)["records_hash"]
    if settings.role == "fixres" and not init_model:
        raise ValueError("--role=fixres needs --init_model, the model to fine-tune.")
    if settings.teacher_mode == "online" and not teacher_model:
        raise ValueError("--teacher_mode=online needs --teacher_model.")
    models = {"init_model": init_model}
    if settings.teacher_mode == "online":
        models["teacher_model"] = teacher_model
        known = model_file.read_card(teacher_model)["class_names"]
        if known != splits.class_names:
            raise ValueError(
                f"--teacher_model={teacher_model} knows the classes {known}, not the data's "
                f"{splits.class_names}."
            )
    for name, file in models.items():
        if file:
            model_file.read_card(file)  # refuses what is no model
            inputs[name] = file_hash(file)
    return {
        "stage": "train",
        "settings": dataclasses.asdict(settings),
        "inputs": inputs,
        "precision": devices.precision,
        "batch_norm_groups": batch_norm_groups(settings.model, devices.num_replicas),
    }


def _main(settings: config.Config) -> None:
    flags = config.FLAGS
    role: str = flags.role
    if role == "control":
        chosen = settings.control(config.required("control_images"))
    elif role == "fixres":
        chosen = config.fixres(config.student(flags.round))
    else:
        chosen = settings.teacher if role == "teacher" else config.student(flags.round)
    devices = make_devices(**dataclasses.asdict(settings.device))
    with devices.chief_first():
        splits = derived.load_splits(settings.data, flags.splits_file)
    if flags.dry_run:
        dry_run(chosen, splits, devices)
        return
    output_dir = config.required("output_dir")
    summary = run(
        chosen,
        splits,
        output_dir,
        devices,
        settings.log,
        flags.selected_dir,
        settings.init_model,
        settings.teacher_model,
    )
    accuracy = summary["validation_top1"]
    told = "" if accuracy is None else f"validation {accuracy:.2f}%, "
    print(f"{role}: {told}model in {output_dir}")


def command() -> None:
    """Runs the command."""
    config.run(
        _main,
        [
            "role",
            "round",
            "output_dir",
            "selected_dir",
            "init_model",
            "teacher_mode",
            "teacher_model",
            "fixres_image_size",
            "frozen_blocks",
            "control_images",
            "splits_file",
            "dataset",
            "num_labeled",
            "seed",
            "teacher_name",
            "student_name",
            "image_size",
            "small_image",
            "batch_size",
            "ratio",
            "epochs",
            "teacher_steps",
            "student_steps",
            "optimizer",
            "learning_rate",
            "schedule",
            "labeled_weight",
            "augment",
            "magnitude",
            "dropout_rate",
            "stochastic_depth_rate",
            "strategy",
            "batch_norm_replicas",
            "accumulate_steps",
            "steps_per_execution",
            "precision",
            "cache_decoded_mib",
            "max_steps",
            "dry_run",
        ],
    )
