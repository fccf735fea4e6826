"""Measures a saved model: clean accuracy and FGSM so far, each as one JSON file.

    python -m noisy_student.evaluate --model=runs/mnist5k/round2/student/model.keras \
        --output_dir=/tmp/eval --dataset=folder --test_dir=photos/test --benchmarks=clean,fgsm

A benchmark whose file already answers the same question (same weights, images and parameters) is
not computed again.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from data import pipeline, sources
from noisy_student import adversarial, checkpoint, config, inference, manifest, strategy


def run(
    model_path: str | Path,
    name: str,
    examples: sources.Examples,
    output_dir: str | Path,
    settings: config.EvaluationConfig,
    devices: strategy.Devices,
) -> dict[str, dict[str, Any]]:
    """Runs the benchmarks of ``settings`` that are not on disk yet.

    Args:
        model_path: a saved model.
        name: what reports call it.
        examples: labeled test images; their classes are matched to the model's by name.
        output_dir: receives ``<benchmark>.json`` and ``predictions.npz``.
        settings: benchmarks and parameters.
        devices: from ``strategy.make``.

    Returns:
        benchmark -> content of its file; accuracies in percent.
    """
    output_dir = Path(output_dir)
    card = checkpoint.read_card(model_path)
    examples = with_model_classes(examples, card["class_names"])
    source = {"weights": manifest.file_hash(model_path), "examples": examples.fingerprint()}
    results: dict[str, dict[str, Any]] = {}
    model = None
    for benchmark in settings.benchmarks:
        path = output_dir / f"{benchmark}.json"
        request = source | _parameters(benchmark, settings)
        if path.exists() and manifest.read_json(path)["request"] == request:
            results[benchmark] = manifest.read_json(path)
            continue
        if model is None:
            model = checkpoint.load_model(model_path)[0]
        start = time.perf_counter()
        measure = {"clean": _clean, "fgsm": _fgsm}[benchmark]
        figures = measure(model, card, examples, settings, devices, output_dir)
        results[benchmark] = {
            "benchmark": benchmark, "model": name, "request": request,
            "seconds": round(time.perf_counter() - start, 2), **figures,
        }  # fmt: skip
        manifest.write_json(path, results[benchmark])
    return results


def with_model_classes(
    examples: sources.Examples, class_names: tuple[str, ...]
) -> sources.Examples:
    """The same images with labels that count in the model's classes, matched by name.

    Raises:
        ValueError: listing classes that the model does not know.
    """
    unknown = sorted(set(examples.class_names) - set(class_names))
    if unknown:
        raise ValueError(
            f"the model does not know {len(unknown)} of the test classes ({', '.join(unknown[:5])}"
            f"{', ...' if len(unknown) > 5 else ''}); it knows {', '.join(class_names[:5])}, ..."
        )
    position = {name: index for index, name in enumerate(class_names)}
    table = np.array([position[name] for name in examples.class_names], np.int32)
    return dataclasses.replace(
        examples, labels=table[examples.labels], class_names=tuple(class_names)
    )


def _clean(
    model: tf.keras.Model,
    card: dict[str, Any],
    examples: sources.Examples,
    settings: config.EvaluationConfig,
    devices: strategy.Devices,
    output_dir: Path,
) -> dict[str, Any]:
    """Top-1 and top-5 on clean images; keeps the predictions for the gallery."""
    step = inference.predict_step(model, devices.jit_compile)
    batches = pipeline.evaluation_batches(
        examples, card["preprocess"], batch_size=settings.batch_size
    )
    labels, table = inference.predict_all(step, batches, len(examples))
    output_dir.mkdir(parents=True, exist_ok=True)
    np.savez(output_dir / "predictions.npz", labels=table.argmax(1), confidences=table.max(1))
    return {
        "num_examples": len(examples),
        "top1": inference.top_k_accuracy(table, labels, 1),
        "top5": inference.top_k_accuracy(table, labels, 5),
    }


def _fgsm(
    model: tf.keras.Model,
    card: dict[str, Any],
    examples: sources.Examples,
    settings: config.EvaluationConfig,
    devices: strategy.Devices,
    output_dir: Path,
) -> dict[str, Any]:
    """Top-1 under one signed gradient step of each size (SPEC: pixel units, clipped to 0..255)."""
    count = settings.attack_examples or len(examples)
    examples = examples.take(np.arange(min(count, len(examples))))
    epsilons = (0.0, *settings.epsilons)
    attacked = tf.function(
        lambda images, labels: tf.stack(
            [
                tf.argmax(model(adversary, training=False), -1, tf.int32)
                for adversary in adversarial.fgsm_sweep(model, images, labels, epsilons)
            ]
        ),
        jit_compile=devices.jit_compile,
    )
    batches = pipeline.evaluation_batches(
        examples, card["preprocess"], batch_size=settings.batch_size
    )
    correct = np.zeros(len(epsilons), np.int64)
    total = -(-len(examples) // settings.batch_size)
    for batch in tqdm(batches, "fgsm", total, unit="batch", leave=False, disable=None):
        right = attacked(batch["images"], batch["labels"]).numpy() == batch["labels"].numpy()
        correct += right[:, batch["index"].numpy() >= 0].sum(axis=1)
    return {
        "num_examples": len(examples),
        "epsilons": list(epsilons),
        "top1": [100.0 * int(c) / len(examples) for c in correct],
    }


def _parameters(benchmark: str, settings: config.EvaluationConfig) -> dict[str, Any]:
    if benchmark == "fgsm":
        return {"epsilons": list(settings.epsilons), "attack_examples": settings.attack_examples}
    return {}


def _main(settings: config.Config) -> None:
    path = config.required("model")
    devices = strategy.make(**dataclasses.asdict(settings.device))
    examples = _test_images(settings.data, checkpoint.read_card(path)["class_names"])
    if config.FLAGS.dry_run:
        benchmarks = ", ".join(settings.evaluation.benchmarks)
        print(f"{path}: {len(examples)} images, benchmarks {benchmarks}")
        return
    output_dir = config.required("output_dir")
    results = run(path, Path(path).parent.name, examples, output_dir, settings.evaluation, devices)
    for benchmark, result in results.items():
        print(f"{benchmark}: {_in_words(result)}")


def _test_images(data: config.DataConfig, class_names: tuple[str, ...]) -> sources.Examples:
    """The test images of the data set; of folders ``--test_dir`` alone is read."""
    if data.dataset == "folder":
        folder = config.required("test_dir")
        return sources.load_examples("folder", folder=folder, class_names=class_names)
    splits_file = config.FLAGS.splits_file
    return sources.load_splits(**dataclasses.asdict(data), splits_file=splits_file).test


def _in_words(result: dict[str, Any]) -> str:
    count = f"{result['num_examples']} images"
    if result["benchmark"] == "fgsm":
        pairs = zip(result["epsilons"], result["top1"], strict=True)
        return ", ".join(f"{top1:.2f}% at {e:g}" for e, top1 in pairs) + f" ({count})"
    return f"top-1 {result['top1']:.2f}%, top-5 {result['top5']:.2f}% ({count})"


if __name__ == "__main__":
    config.run(
        _main,
        ["model", "output_dir", "benchmarks", "epsilons", "attack_examples", "dataset", "data_dir",
         "test_dir", "seed", "splits_file", "eval_batch_size", "dry_run"],
    )  # fmt: skip
