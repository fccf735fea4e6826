"""Use of a saved or converted model as the first teacher, instead of training one."""

from pathlib import Path

import keras

from data import pipeline, sources
from data.sources import digests
from efficientnet import hub
from noisy_student import config
from noisy_student.artifacts import model_file, stage
from noisy_student.artifacts.files import copy_file, file_hash, read_json, write_json
from noisy_student.artifacts.json_files import TrainSummary
from noisy_student.runtime import inference
from noisy_student.runtime.devices import Devices
from noisy_student.train.build import count_parameters


def on_disk(settings: config.Config) -> config.Config:
    """Returns the options with a file path instead of the name of a given teacher.

    Raises:
        ValueError: see `model_file.given`.
    """
    name = settings.rounds.teacher_model
    if not name:
        return settings
    network = hub.network_of(name, settings.rounds.teacher_name)
    return settings.replace(teacher_model=model_file.given("teacher_model", name, network))


def run(
    model_path: str | Path,
    validation: sources.Examples,
    output_dir: str | Path,
    devices: Devices,
    batch_size: int,
) -> TrainSummary:
    """Copies a model into ``output_dir`` and evaluates it, or returns at once if finished.

    Writes the same files as a training, so that the rounds can continue from either.

    Args:
        model_path: a ``.keras`` file with a card, which has all classes of ``validation``.
        validation: labeled images to measure its accuracy on.
        output_dir: directory for this stage only.
        devices: devices from ``make_devices``.
        batch_size: images per batch.

    Returns:
        The content of ``train.json``.

    Raises:
        ValueError: the file is not such a model, or lacks a class.
    """
    output_dir = Path(output_dir)
    card = model_file.read_card(model_path)
    model_hash = file_hash(model_path)
    inputs = {"model": model_hash, "validation": validation.fingerprint()}
    inputs["images"] = digests.content(validation)
    opened = stage.open_stage(output_dir, {"stage": "adopt", "inputs": inputs})
    if opened.done:
        return read_json(output_dir / "train.json", TrainSummary)
    model, accuracy = _measure(model_path, validation, devices, batch_size)
    copy_file(model_path, output_dir / "model.keras")
    summary: TrainSummary = {
        "role": "teacher",
        "round": 0,
        "given_model": str(model_path),
        "model_name": model.name,
        "parameters": count_parameters(model),
        "image_size": card["preprocess"].image_size,
        "num_steps": 0,
        "images_seen": 0,
        "seconds": round(opened.seconds, 2),
        "validation_top1": accuracy,
        "best_validation_top1": accuracy,
        "history": [],
    }
    write_json(output_dir / "train.json", summary)
    outputs = ("model.keras", "train.json")
    opened.finish(outputs, seconds=summary["seconds"], model_hash=model_hash)
    result = "" if accuracy is None else f", val {accuracy:.1f}%"
    print(f"teacher: {model_path} ({model.name}){result}", flush=True)
    return summary


def _measure(
    model_path: str | Path, validation: sources.Examples, devices: Devices, batch_size: int
) -> tuple[keras.Model, float | None]:
    """Returns the model and its top-1 accuracy in percent, if there are images."""
    with devices.prediction_scope():
        model, card = model_file.load_model(model_path)
    logits = inference.for_classes(model, card["class_names"], validation.class_names)
    predict = devices.spread(inference.predict_step(logits, devices.jit_compile))
    batches = pipeline.evaluation_batches(validation, card["preprocess"], batch_size=batch_size)
    return model, inference.accuracy(predict, batches, len(validation))
