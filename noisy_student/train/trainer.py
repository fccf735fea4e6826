"""The stage of one training: inputs, request and files.

The output directory receives ``model.keras`` (averaged weights of the last step), ``best.keras``
(of the best validation accuracy), ``train.json`` (summary and history), ``metrics.jsonl``,
``tensorboard/`` and, last, ``done.json``. When it is run again, an interrupted training continues
from its last checkpoint, and ends with the same bytes as without the interruption.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from absl import logging

from data import randaugment, sources, tfrecord_file
from data.sources import digests
from noisy_student import config
from noisy_student.artifacts import model_file, stage, student_set
from noisy_student.artifacts.files import StrPath, file_hash, read_json, write_json
from noisy_student.artifacts.json_files import LogRow, TrainSummary
from noisy_student.config import derived
from noisy_student.metrics import intervals
from noisy_student.runtime.devices import Devices
from noisy_student.train import batches, build, loop
from noisy_student.train.learner import Learner, name_of
from noisy_student.train.metrics_log import MetricsLog
from noisy_student.train.training_state import TrainingState

_APART = 30.0  # points
_WIDE = 10.0  # points, of an interval


@dataclass(frozen=True)
class Inputs:
    """Results of earlier stages.

    Attributes:
        selected_dir: directory of selected pseudo labels; students need one, and only they do.
        init_model: saved model to start from, or a name of `efficientnet.pretrained`; None: random
            weights. Fine-tuning needs one.
        teacher_model: saved teacher of a student whose `teacher_mode` is "online".
    """

    selected_dir: str | Path | None = None
    init_model: str | Path | None = None
    teacher_model: str | Path | None = None

    def on_disk(self, network: str) -> "Inputs":
        """Returns the inputs with a file path instead of a name of weights."""
        if not self.init_model:
            return self
        path = model_file.given("init_model", str(self.init_model), network)
        return dataclasses.replace(self, init_model=path)


def run(
    settings: config.TrainConfig,
    splits: sources.Splits,
    output_dir: str | Path,
    devices: Devices,
    log: config.LogConfig,
    inputs: Inputs | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainSummary:
    """Starts or continues a training; returns at once if ``output_dir`` is finished.

    Args:
        settings: options of the training.
        splits: labeled images to train on, and validation images.
        output_dir: directory for this training only.
        devices: devices from ``make_devices``.
        log: how often to log, validate and save.
        inputs: results of earlier stages; None: none.
        callbacks: Keras callbacks that observe the steps (`train.callbacks`).

    Returns:
        The content of ``train.json``.

    Raises:
        SystemExit: SIGTERM (exit code 75) or Ctrl-C (130) stopped the training.
        ValueError: settings do not fit the data, records are damaged, or the loss is not finite.
    """
    output_dir, inputs = Path(output_dir), (inputs or Inputs()).on_disk(settings.model.name)
    request = _request(settings, splits, devices, inputs)
    opened = stage.open_stage(output_dir, request, write=devices.is_chief)
    if opened.done:
        return read_json(output_dir / "train.json", TrainSummary)
    teacher = inputs.teacher_model if settings.teacher_mode == "online" else None
    sizes, augments = (len(splits.class_names), len(splits.labeled)), log.augment_on == "device"
    learner = build.build(settings, devices, *sizes, teacher, augments)
    with opened.locked(devices.is_chief), devices.writable(output_dir) as directory:
        state = TrainingState(output_dir, directory, **learner.trackables())

        def save(name: str, row: LogRow) -> None:
            _save_model(learner, directory / name, splits.class_names, row)

        with tfrecord_file.damage_named(batches.record_files(splits, inputs.selected_dir)):
            _restore(learner, inputs, splits.class_names, state)
            data = batches.open_batches(learner, splits, inputs.selected_dir, log)
            last_step = settings.last_step(len(splits.labeled))
            save_best = functools.partial(save, "best.keras")
            metrics = loop.train_loop(learner, data, last_step, log, state, save_best, callbacks)
        save("model.keras", metrics.history[-1])
        _warn_if_apart(learner.name, metrics.history[-1], data.num_validation)
        _warn_if_few(learner.name, metrics.history, data.num_validation)
        summary = _summary(learner, metrics, data.cache.report())
        write_json(directory / "train.json", summary)
        model_hash = file_hash(directory / "model.keras")
        outputs = ("model.keras", "best.keras", "train.json")
        opened.finish(outputs, directory, summary["seconds"], model_hash=model_hash)
        state.remove()
    devices.wait()
    return read_json(output_dir / "train.json", TrainSummary)


def check(
    settings: config.TrainConfig, splits: sources.Splits, devices: Devices, inputs: Inputs
) -> keras.Model:
    """Makes the checks of `run` before its first step, without writing a file.

    Returns:
        The network; its variables have no values.

    Raises:
        ValueError: as in `run`, for the settings and inputs.
    """
    inputs = inputs.on_disk(settings.model.name)
    _request(settings, splits, devices, inputs)
    num_classes = len(splits.class_names)
    network = build.outline(settings, devices, num_classes, len(splits.labeled))
    if inputs.init_model:
        check_start(network, inputs.init_model, splits.class_names)
    return network


def check_start(network: keras.Model, path: StrPath, class_names: tuple[str, ...]) -> None:
    """Refuses a saved model, or a name of `efficientnet.pretrained`, that does not fit a network.

    The network needs no weights; `class_names` are its classes.

    Raises:
        ValueError: the file is not a saved model, or has other layers.
    """
    path = model_file.given("init_model", str(path), network.name)
    source, card = model_file.load_model(path)
    with_head = set(class_names) <= set(card["class_names"])
    model_file.check_fit(network, source, path, with_head=with_head)


def _request(
    settings: config.TrainConfig, splits: sources.Splits, devices: Devices, inputs: Inputs
) -> dict[str, Any]:
    """Returns everything that determines the result of a training, up to rounding."""
    online = settings.teacher_mode == "online"
    if (settings.role == "student") != (inputs.selected_dir is not None):
        raise ValueError(
            f"--role={settings.role} with --selected_dir={inputs.selected_dir}: students need a "
            "directory of selected pseudo labels, and only they do."
        )
    if settings.role == "fixres" and not inputs.init_model:
        raise ValueError("--role=fixres needs --init_model, the model to fine-tune.")
    if online and not inputs.teacher_model:
        raise ValueError("--teacher_mode=online needs --teacher_model.")
    hashes = {
        "labeled": splits.labeled.fingerprint(),
        "validation": splits.validation.fingerprint(),
    }
    images = {"labeled": splits.labeled, "validation": splits.validation}
    if inputs.selected_dir:
        hashes["selected"] = stage.read_done(inputs.selected_dir, "records_hash")["records_hash"]
        student_set.check_classes(inputs.selected_dir, splits.class_names)
        if student_set.is_index(student_set.files_of(inputs.selected_dir)):
            images["unlabeled"] = splits.unlabeled
    if inputs.init_model:
        model_file.read_card(inputs.init_model)  # refuses other files
        hashes["init_model"] = file_hash(inputs.init_model)
    if online and inputs.teacher_model:
        known = model_file.read_card(inputs.teacher_model)["class_names"]
        if known != splits.class_names:
            raise ValueError(
                f"--teacher_model={inputs.teacher_model} has classes {known}, but the data has "
                f"{splits.class_names}."
            )
        hashes["teacher_model"] = file_hash(inputs.teacher_model)
    described = dataclasses.asdict(settings)
    try:
        described["model"]["name"] = derived.identity(settings.model, len(splits.class_names))
    except ValueError as error:
        raise ValueError(f"{name_of(settings)}: {error}") from None
    request = {
        "stage": "train",
        "settings": described,
        "inputs": {**hashes, "images": digests.contents(**images)},
        "precision": devices.precision,
        "batch_norm_groups": build.batch_norm_groups(settings.model, devices.num_replicas),
    }
    if found := derived.settings_hash(settings.model, len(splits.class_names)):
        request["network"] = found
    kinds = (settings.noise.kind, settings.unlabeled_noise.kind)
    if randaugment.REGISTERED and "randaugment" in kinds:
        request["operations"] = list(randaugment.REGISTERED)  # added by a user
    return request


def _restore(
    learner: Learner, inputs: Inputs, class_names: tuple[str, ...], state: TrainingState
) -> None:
    """Restores the last checkpoint, else the initial model, if any."""
    message = ""
    if inputs.init_model:
        # Also before a checkpoint, which lacks the pixel statistics of the initial model.
        message = build.start_from(learner, inputs.init_model, class_names)
    if checkpoint := state.restore():
        message = f"continuing from {checkpoint}"
    if message:
        print(f"{learner.name}: {message}", flush=True)


def _save_model(learner: Learner, path: Path, class_names: tuple[str, ...], row: LogRow) -> None:
    settings = learner.settings
    model_file.save_model(
        learner.average_model,
        path,
        class_names,
        derived.preprocess_spec(settings.model),
        role=settings.role,
        round=settings.round,
        model=derived.describe(settings.model),
        seed=settings.seed,
        step=row["step"],
        validation_top1=row.get("validation_top1"),
    )


def _warn_if_apart(name: str, row: LogRow, num_validation: int) -> None:
    """Warns if validation accuracy is far below training accuracy, by more than chance."""
    if "validation_top1" not in row:
        return
    trained, validated = 100 * row["labeled_accuracy"], row["validation_top1"]
    standard_error = math.sqrt(max(trained * (100 - trained), 1.0) / num_validation)
    if trained - validated > max(_APART, 3 * standard_error):
        logging.warning(
            f"{name}: training accuracy is {trained:.1f}%, but accuracy on the {num_validation} "
            f"validation images is {validated:.1f}% (averaged weights). Either the network "
            "overfits, or the weight averages lag behind: see docs/FAQ.md."
        )


def _warn_if_few(name: str, history: list[LogRow], num_validation: int) -> None:
    """Warns if there are too few validation images to choose ``best.keras``."""
    accuracies = [row["validation_top1"] for row in history if "validation_top1" in row]
    if len(accuracies) < 2:
        return
    best = max(accuracies)
    low, high = intervals.accuracy_interval(best, num_validation)
    if high - low > _WIDE:
        logging.warning(
            f"{name}: best.keras was chosen on only {num_validation} validation images: the 95% "
            f"interval of its accuracy, {best:.1f}%, is {low:.1f} to {high:.1f}%. Prefer "
            "model.keras (last step), or give a larger --num_validation or --validation_dir."
        )


def _summary(
    learner: Learner, metrics: MetricsLog, decoded_once: Mapping[str, object]
) -> TrainSummary:
    settings, history = learner.settings, metrics.history
    last = history[-1]
    accuracies = [row["validation_top1"] for row in history if "validation_top1" in row]
    return {
        "role": settings.role,
        "round": settings.round,
        "model_name": settings.model.name,
        "width": settings.model.width,
        "depth": settings.model.depth,
        "parameters": build.count_parameters(learner.average_model),
        "image_size": derived.preprocess_spec(settings.model).image_size,
        "num_steps": last["step"],
        "images_seen": last["step"] * settings.images_per_step,
        "labeled_batch_size": settings.batch_size,
        "unlabeled_batch_size": settings.unlabeled_batch_size,
        "seconds": round(metrics.seconds, 2),
        "compile_seconds": round(metrics.compile_seconds, 2),
        "final_loss": last["loss"],
        "validation_top1": last.get("validation_top1"),
        "best_validation_top1": max(accuracies, default=None),
        "history": history,
        "decoded_once": dict(decoded_once),
    }
