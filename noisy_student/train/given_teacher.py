"""Takes a saved or converted model as the first teacher, in place of training one.

What it leaves behind is what a training leaves behind, so that the rounds go on from either.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from data import pipeline, sources
from noisy_student.artifacts import model_file, stage
from noisy_student.artifacts.files import copy_file, file_hash, read_json, write_json
from noisy_student.runtime import inference
from noisy_student.runtime.devices import Devices


def run(
    model_path: str | Path,
    validation: sources.Examples,
    output_dir: str | Path,
    devices: Devices,
    batch_size: int,
) -> dict[str, Any]:
    """Copies a model into ``output_dir`` and measures it, or returns at once where that is done.

    Args:
        model_path: a ``.keras`` file with a card; it must know all classes of ``validation``.
        validation: labeled images to measure it on.
        output_dir: of this stage alone; receives ``model.keras``, ``train.json``, ``done.json``.
        devices: from ``make_devices``.
        batch_size: images at a time.

    Returns:
        The content of ``train.json``.

    Raises:
        ValueError: for a file that is no such model, or does not know the classes.
    """
    start = time.perf_counter()
    output_dir = Path(output_dir)
    card = model_file.read_card(model_path)
    model_hash = file_hash(model_path)
    inputs = {"model": model_hash, "validation": validation.fingerprint()}
    request = {"stage": "adopt", "inputs": inputs}
    if stage.begin(output_dir, request):
        return read_json(output_dir / "train.json")

    with devices.prediction_scope():
        model, _ = model_file.load_model(model_path)
    decide = inference.for_classes(model, card["class_names"], validation.class_names)
    step = devices.spread(inference.predict_step(decide, devices.jit_compile))
    batches = pipeline.evaluation_batches(validation, card["preprocess"], batch_size=batch_size)
    accuracy = inference.accuracy(step, batches, len(validation))

    copy_file(model_path, output_dir / "model.keras")
    summary = {
        "role": "teacher",
        "round": 0,
        "given_model": str(model_path),
        "model_name": model.name,
        "parameters": int(sum(np.prod(v.shape) for v in model.trainable_variables)),
        "image_size": card["preprocess"].image_size,
        "num_steps": 0,
        "images_seen": 0,
        "seconds": round(time.perf_counter() - start, 2),
        "validation_top1": accuracy,
        "best_validation_top1": accuracy,
        "history": [],
    }
    write_json(output_dir / "train.json", summary)
    stage.finish(output_dir, request, summary["seconds"], model_hash=model_hash)
    told = "" if accuracy is None else f", validation {accuracy:.1f}%"
    print(f"teacher: {model_path} ({model.name}){told}", flush=True)
    return summary
