r"""Measures a saved model: accuracy, corruptions, perturbations, attacks, published benchmarks.

    python -m noisy_student.evaluate --model=lite0.keras --dataset=folder --test_dir=photos/test \
        --benchmarks=clean,corruptions,perturbations,fgsm,pgd --output_dir=/tmp/eval
    python -m noisy_student.evaluate --model=lite0.keras --benchmarks=imagenet_a,imagenet_c \
        --imagenet_a_dir=imagenet-a --imagenet_c_dir=imagenet-c --output_dir=/tmp/eval

Each benchmark leaves one JSON file. One whose file already answers the same question (same weights,
images and parameters) is not computed again; corruptions and perturbations go on where an
interrupted run stopped.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from data import corruptions, pipeline, robustness_sets, sources
from data.preprocess import PreprocessSpec
from noisy_student import (
    attacks,
    checkpoint,
    config,
    corrupted,
    inference,
    manifest,
    perturbed,
    robustness,
    strategy,
)
from noisy_student.flags import STORED_BENCHMARKS
from noisy_student.subject import Subject


def run(
    model_path: str | Path,
    name: str,
    examples: sources.Examples | None,
    output_dir: str | Path,
    settings: config.EvaluationConfig,
    devices: strategy.Devices,
) -> dict[str, dict[str, Any]]:
    """Runs the benchmarks of ``settings`` that are not on disk yet.

    Args:
        model_path: a saved model.
        name: what reports call it.
        examples: labeled test images; their classes are matched to the model's by name, and a
            model that knows more decides among theirs. None: only stored benchmarks are asked for.
        output_dir: receives ``<benchmark>.json`` and ``predictions.npz``.
        settings: benchmarks and parameters.
        devices: from ``strategy.make``.

    Returns:
        benchmark -> content of its file; accuracies in percent.

    Raises:
        ValueError: a model, folder or name that is not as it has to be.
    """
    output_dir = Path(output_dir)
    card = checkpoint.read_card(model_path)
    spec = _spec(card["preprocess"], settings.image_size)
    source = {"weights": manifest.file_hash(model_path), "image_size": spec.image_size}
    subject: Subject | None = None
    results: dict[str, dict[str, Any]] = {}
    for benchmark in settings.benchmarks:
        path = output_dir / f"{benchmark}.json"
        request = source | _parameters(benchmark, settings, examples, spec.image_size)
        if path.exists() and manifest.read_json(path)["request"] == request:
            results[benchmark] = manifest.read_json(path)
            continue
        if subject is None:
            class_names = card["class_names"] if examples is None else examples.class_names
            model, _ = checkpoint.load_model(model_path)
            subject = Subject(
                inference.for_classes(model, card["class_names"], class_names), class_names, spec,
                settings.batch_size, devices.jit_compile, settings.seed,
            )  # fmt: skip
        start = time.perf_counter()
        figures = _measure(benchmark, subject, examples, output_dir, settings, request)
        results[benchmark] = {
            "benchmark": benchmark, "model": name, "request": request,
            "seconds": round(time.perf_counter() - start, 2), **figures,
        }  # fmt: skip
        manifest.write_json(path, results[benchmark])
    return results


def _measure(
    benchmark: str,
    subject: Subject,
    examples: sources.Examples | None,
    output_dir: Path,
    settings: config.EvaluationConfig,
    request: dict[str, Any],
) -> dict[str, Any]:
    """The figures of one benchmark."""
    attack, robust, folder = settings.attack, settings.robustness, output_dir / benchmark
    part = {k: v for k, v in request.items() if k not in ("names", "severities")}
    if benchmark in STORED_BENCHMARKS:
        return _stored(benchmark, subject, str(robust.folders[benchmark]), folder, part)
    if benchmark == "clean":
        return _clean(subject, examples, output_dir)
    if benchmark == "corruptions":
        return corrupted.made(
            subject, _first(examples, robust.examples), request["names"], robust.severities,
            folder, part,
        )  # fmt: skip
    if benchmark == "perturbations":
        first = _first(examples, robust.examples)
        return perturbed.made(subject, first, request["names"], folder, part)
    if benchmark == "fgsm":
        first = _first(examples, attack.fgsm_examples)
        return attacks.fgsm(subject, first, attack.fgsm_epsilons)
    first = _first(examples, attack.pgd_examples)
    return attacks.pgd(
        subject, first, attack.pgd_epsilons, num_steps=attack.steps,
        step_size=attack.step_size, random_start=attack.random_start, restarts=attack.restarts,
        folder=folder,
    )  # fmt: skip


def _clean(subject: Subject, examples: sources.Examples, output_dir: Path) -> dict[str, Any]:
    """Top-1, top-5 and calibration on clean images; keeps the predictions for the gallery."""
    batches = pipeline.evaluation_batches(examples, subject.spec, batch_size=subject.batch_size)
    labels, table = inference.predict_all(subject.predict, batches, len(examples))
    output_dir.mkdir(parents=True, exist_ok=True)
    guesses, confidences = table.argmax(1), table.max(1)
    np.savez(output_dir / "predictions.npz", labels=guesses, confidences=confidences)
    return {
        "num_examples": len(examples),
        "top1": inference.top_k_accuracy(table, labels, 1),
        "top5": inference.top_k_accuracy(table, labels, 5),
        "calibration_error": 100
        * robustness.expected_calibration_error(confidences, guesses == labels),
    }


def _stored(
    benchmark: str, subject: Subject, root: str, folder: Path, request: dict[str, Any]
) -> dict[str, Any]:
    """A published benchmark as downloaded."""
    if benchmark == "imagenet_a":
        return _imagenet_a(subject, root)
    if benchmark in ("imagenet_c", "cifar10_c"):
        figures = corrupted.stored(subject, _open(benchmark, root), folder, request)
        if benchmark == "imagenet_c" and not figures["missing"]:
            figures["mce"] = corrupted.mean_corruption_error(figures["errors"])
        return figures
    figures = perturbed.stored(subject, _open(benchmark, root), folder, request)
    if benchmark == "imagenet_p" and not figures["missing"]:
        figures["mfr"] = robustness.mean_flip_rate(figures["flip_probability"])
    return figures


def _open(
    benchmark: str, root: str
) -> robustness_sets.CorruptedImages | robustness_sets.PerturbedVideos:
    opened = getattr(robustness_sets, benchmark)(root)
    for what, items in (("missing", opened.missing), ("unknown", opened.unknown)):
        if items:
            listed = ", ".join(" ".join(map(str, np.atleast_1d(item))) for item in items[:5])
            logging.warning("%s: %d %s (%s, ...)", root, len(items), what, listed)
    return opened


def _imagenet_a(subject: Subject, root: str) -> dict[str, Any]:
    """Top-1 among the classes that are present, as published, and among all of the model's."""
    examples = sources.load_examples("folder", folder=root, class_names=subject.class_names)
    batches = pipeline.evaluation_batches(examples, subject.spec, batch_size=subject.batch_size)
    labels, table = inference.predict_all(subject.predict, batches, len(examples))
    present = np.unique(labels)
    among = present[table[:, present].argmax(axis=1)]
    return {
        "num_examples": len(examples),
        "num_classes": len(present),
        "top1": 100 * float(np.mean(among == labels)),
        "top1_all_classes": inference.top_k_accuracy(table, labels),
    }


def _spec(spec: PreprocessSpec, image_size: int | None) -> PreprocessSpec:
    """The model's preprocessing, at another resolution where one is asked for."""
    if image_size in (None, spec.image_size):
        return spec
    logging.warning("evaluating at %d pixels; the model is for %d", image_size, spec.image_size)
    return dataclasses.replace(spec, image_size=image_size)


def _first(examples: sources.Examples, count: int) -> sources.Examples:
    return examples.take(np.arange(min(count or len(examples), len(examples))))


def _parameters(
    benchmark: str,
    settings: config.EvaluationConfig,
    examples: sources.Examples | None,
    image_size: int,
) -> dict[str, Any]:
    """What the result of a benchmark depends on, besides the weights and the resolution."""
    attack, robust = settings.attack, settings.robustness
    if benchmark in STORED_BENCHMARKS:
        if robust.folders[benchmark] is None:
            raise ValueError(f"--benchmarks={benchmark} needs --{benchmark}_dir.")
        return {"folder": robust.folders[benchmark]}
    if examples is None:
        raise ValueError(f"--benchmarks={benchmark} needs labeled test images.")
    request: dict[str, Any] = {"examples": examples.fingerprint()}
    if benchmark == "corruptions":
        known, usual = corruptions.CORRUPTIONS, corruptions.TEST_CORRUPTIONS
        names = _names(benchmark, robust.corruptions, known, usual)
        severities = list(robust.severities)
        request |= {"names": names, "severities": severities, "count": robust.examples}
        request["seed"] = settings.seed
    elif benchmark == "perturbations":
        usual = perturbed.names_at(image_size)
        names = _names(benchmark, robust.perturbations, usual, usual)
        request |= {"names": names, "count": robust.examples, "seed": settings.seed}
    elif benchmark == "fgsm":
        request |= {"epsilons": list(attack.fgsm_epsilons), "count": attack.fgsm_examples}
    elif benchmark == "pgd":
        request |= {"epsilons": list(attack.pgd_epsilons), "count": attack.pgd_examples}
        request |= {"steps": attack.steps, "step_size": attack.step_size, "seed": settings.seed}
        request |= {"random_start": attack.random_start, "restarts": attack.restarts}
    return request


def _names(
    flag: str, chosen: Sequence[str], known: Sequence[str], usual: Sequence[str]
) -> list[str]:
    if tuple(chosen) == ("all",):
        return list(usual)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ValueError(f"--{flag}={unknown[0]}: must be all or of {', '.join(known)}.")
    return list(chosen)


def _main(settings: config.Config) -> None:
    path = config.required("model")
    devices = strategy.make(**dataclasses.asdict(settings.device))
    chosen = settings.evaluation
    clean = set(chosen.benchmarks) - set(STORED_BENCHMARKS)
    class_names = checkpoint.read_card(path)["class_names"]
    examples = _test_images(settings.data, class_names) if clean else None
    if config.FLAGS.dry_run:
        count = f"{len(examples)} images, " if examples else ""
        print(f"{path}: {count}benchmarks {', '.join(chosen.benchmarks)}")
        return
    output_dir = Path(config.required("output_dir"))
    results = run(path, Path(path).parent.name, examples, output_dir, chosen, devices)
    for benchmark, result in results.items():
        print(f"{benchmark}: {_in_words(result)}")
    if baseline := config.FLAGS.baseline_model:
        theirs = run(baseline, "baseline", examples, output_dir / "baseline", chosen, devices)
        for benchmark in results:
            if text := _relative(results[benchmark], theirs[benchmark]):
                print(f"{benchmark} relative to {baseline} = 100: {text}")


def _test_images(data: config.DataConfig, class_names: tuple[str, ...]) -> sources.Examples:
    """The test images of the data set; of folders and records ``--test_dir`` alone is read."""
    if data.dataset in ("folder", "records"):
        folder = config.required("test_dir")
        return sources.load_examples(data.dataset, folder=folder, class_names=class_names)
    splits_file = config.FLAGS.splits_file
    return sources.load_splits(**dataclasses.asdict(data), splits_file=splits_file).test


def _in_words(result: dict[str, Any]) -> str:
    count = f"{result['num_examples']} images"
    if "epsilons" in result:
        pairs = zip(result["epsilons"], result["top1"], strict=True)
        return ", ".join(f"{top1:.2f}% at {e:g}" for e, top1 in pairs) + f" ({count})"
    if "errors" in result:
        known = f", mCE {result['mce']:.1f}" if "mce" in result else ""
        return f"mean error {result['mean_error']:.2f}%{known} ({_coverage(result)}{count})"
    if "flip_probability" in result:
        known = f", mFR {result['mfr']:.1f}" if "mfr" in result else ""
        mean = result["mean_flip_probability"]
        return f"mean flip probability {mean:.2f}%{known} ({_coverage(result)}{count})"
    if "num_classes" in result:
        return (
            f"top-1 {result['top1']:.2f}% among the {result['num_classes']} classes present, "
            f"{result['top1_all_classes']:.2f}% among all ({count})"
        )
    return f"top-1 {result['top1']:.2f}%, top-5 {result['top5']:.2f}% ({count})"


def _coverage(result: dict[str, Any]) -> str:
    return f"{len(result['missing'])} parts missing, " if result.get("missing") else ""


def _relative(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The mean over corruptions or perturbations of our figure divided by the baseline's."""
    if "errors" in ours:
        pairs = [(by, theirs["errors"][name]) for name, by in ours["errors"].items()]
        ratios = [sum(by.values()) / max(sum(base.values()), 1e-9) for by, base in pairs]
        return f"corruption error {100 * np.mean(ratios):.1f}"
    if "flip_probability" in ours:
        partial = robustness.partial_flip_rate(ours["flip_probability"], theirs["flip_probability"])
        return f"flip rate {partial.percent:.1f}"
    return ""


if __name__ == "__main__":
    config.run(
        _main,
        ["model", "output_dir", "benchmarks", "epsilons", "pgd_epsilons", "fgsm_examples",
         "pgd_examples",
         "attack_steps", "attack_step_size", "attack_random_start", "attack_restarts",
         "corruptions", "severities", "perturbations", "robustness_examples", "baseline_model",
         *(f"{name}_dir" for name in STORED_BENCHMARKS), "dataset", "data_dir", "test_dir",
         "seed", "splits_file", "test_image_size", "eval_batch_size", "dry_run"],
    )  # fmt: skip
