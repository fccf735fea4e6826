r"""Measures a saved model: accuracy, corruptions, perturbations, attacks, published benchmarks.

    python -m noisy_student.evaluate --model=lite0.keras --dataset=folder --test_dir=photos/test \
        --benchmarks=clean,corruptions,perturbations,fgsm,pgd --output_dir=/tmp/eval
    python -m noisy_student.evaluate --model=lite0.keras --benchmarks=imagenet_a,imagenet_c \
        --imagenet_a_dir=imagenet-a --imagenet_c_dir=imagenet-c --output_dir=/tmp/eval
    python -m noisy_student.evaluate --model=lite0.keras --benchmarks=imagenet_r,imagenet_c \
        --imagenet_c_dir=tfds:imagenet2012_corrupted --data_dir=~/tensorflow_datasets \
        --output_dir=/tmp/eval

Each benchmark leaves one JSON file. One whose file already answers the same question (same weights,
images and parameters) is not computed again; corruptions, perturbations and PGD go on with the
first setting that an interrupted run had not finished. --baseline_model sets a second model beside
the first: relative figures, and differences image by image with their intervals.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from data import corruptions, sources
from data.preprocess import PreprocessSpec
from data.sources import splits
from noisy_student import config
from noisy_student.artifacts import model_file
from noisy_student.artifacts.files import file_hash, read_json, write_arrays, write_json
from noisy_student.config import derived
from noisy_student.config.flags import STORED_BENCHMARKS
from noisy_student.evaluate import attacks, perturbations, resumable
from noisy_student.evaluate import corruptions as corrupted
from noisy_student.evaluate import stored as published
from noisy_student.evaluate.evaluated_model import Subject
from noisy_student.metrics import benchmarks, calibration, compare, per_image
from noisy_student.runtime import inference
from noisy_student.runtime.devices import Devices, make_devices

# What a request says of the parts that are asked for, on which a single part does not depend.
_WHICH_PARTS = ("names", "severities", "epsilons", "parts")


def run(
    model_path: str | Path,
    name: str,
    examples: sources.Examples | None,
    output_dir: str | Path,
    settings: config.EvaluationConfig,
    devices: Devices,
) -> dict[str, dict[str, Any]]:
    """Runs the benchmarks of ``settings`` that are not on disk yet.

    Args:
        model_path: a saved model.
        name: what reports call it.
        examples: labeled test images; their classes are matched to the model's by name, and a
            model that knows more decides among theirs. None: only stored benchmarks are asked for.
        output_dir: receives ``<benchmark>.json`` and ``predictions.npz``.
        settings: benchmarks and parameters.
        devices: from ``make_devices``.

    Returns:
        benchmark -> content of its file; accuracies in percent.

    Raises:
        ValueError: a model, folder or name that is not as it has to be.
    """
    output_dir = Path(output_dir)
    card = model_file.read_card(model_path)
    spec = _spec(card["preprocess"], settings.image_size)
    source = {"weights": file_hash(model_path), "image_size": spec.image_size}
    tested = {name: _part(name, examples, settings) for name in settings.benchmarks}
    requests = {
        benchmark: source | _parameters(benchmark, settings, some, spec.image_size)
        for benchmark, some in tested.items()
    }
    subject: Subject | None = None
    results: dict[str, dict[str, Any]] = {}
    for benchmark, request in requests.items():
        path = output_dir / f"{benchmark}.json"
        if path.exists() and read_json(path)["request"] == request:
            results[benchmark] = read_json(path)
            continue
        if subject is None:
            class_names = card["class_names"] if examples is None else examples.class_names
            with devices.prediction_scope():
                model, _ = model_file.load_model(model_path)
            subject = Subject(
                inference.for_classes(model, card["class_names"], class_names),
                class_names,
                spec,
                settings.batch_size,
                devices.jit_compile,
                settings.seed,
                devices.spread,
            )
        start = time.perf_counter()
        figures = _measure(benchmark, subject, tested[benchmark], output_dir, settings, request)
        results[benchmark] = {
            "benchmark": benchmark,
            "model": name,
            "request": request,
            "seconds": round(time.perf_counter() - start, 2),
            **figures,
        }
        write_json(path, results[benchmark])
    if "imagenet_c" in results:
        _set_relative_mce(results["imagenet_c"], source, output_dir)
    return results


def _set_relative_mce(stored: dict[str, Any], source: dict[str, Any], output_dir: Path) -> None:
    """Relative mCE, where all of ImageNet-C and clean images of just its classes were measured.

    Args:
        stored: the result of ImageNet-C, which is changed, with its file.
        source: what a result on clean images must be of, now or earlier.
        output_dir: has the results.
    """
    path, relative = output_dir / "clean.json", None
    clean = read_json(path) if path.exists() else {"request": {}}
    is_same_model = source.items() <= clean["request"].items()
    if is_same_model and "mce" in stored and stored["classes"] == clean.get("classes"):
        clean_error = 1 - clean["top1"] / 100
        relative = corrupted.relative_mean_corruption_error(stored["errors"], clean_error)
    if stored.get("relative_mce") == relative:
        return
    stored["relative_mce"] = relative
    if relative is None:
        del stored["relative_mce"]
    write_json(output_dir / "imagenet_c.json", stored)


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
    part = {key: value for key, value in request.items() if key not in _WHICH_PARTS}
    if benchmark in STORED_BENCHMARKS:
        return published.measure(
            benchmark, subject, robust.folders[benchmark], robust.data_dir, folder, part
        )
    if benchmark == "clean":
        return _clean(subject, examples, output_dir)
    if benchmark == "corruptions":
        return corrupted.made(
            subject,
            examples,
            request["names"],
            request["severities"],
            folder,
            part,
            robust.corruption_cache,
        )
    if benchmark == "perturbations":
        return perturbations.made(
            subject, examples, request["names"], folder, part, robust.corruption_cache
        )
    if benchmark == "fgsm":
        return attacks.fgsm(subject, examples, attack.fgsm_epsilons, folder)
    return attacks.pgd(
        subject,
        examples,
        attack.pgd_epsilons,
        num_steps=attack.steps,
        step_size=attack.step_size,
        random_start=attack.random_start,
        restarts=attack.restarts,
        folder=folder,
        request=part,
    )


def _clean(subject: Subject, examples: sources.Examples, output_dir: Path) -> dict[str, Any]:
    """Top-1, top-5 and calibration on clean images; keeps the predictions for the gallery."""
    with resumable.bar("clean", len(examples)) as bar:
        labels, table = subject.predictions(examples, bar.update)
    guesses, confidences = table.argmax(1), table.max(1)
    write_arrays(output_dir / "predictions.npz", labels=guesses, confidences=confidences)
    return {
        "num_examples": len(examples),
        "classes": subject.classes_among(labels),
        "top1": inference.top_k_accuracy(table, labels, 1),
        "top5": inference.top_k_accuracy(table, labels, 5),
        "calibration_error": 100
        * calibration.expected_calibration_error(confidences, guesses == labels),
        "by_image": {"top1": per_image.record(examples.ids, guesses != labels)},
    }


def _spec(spec: PreprocessSpec, image_size: int | None) -> PreprocessSpec:
    """The model's preprocessing, at another resolution where one is asked for."""
    if image_size in (None, spec.image_size):
        return spec
    logging.warning("evaluating at %d pixels; the model is for %d", image_size, spec.image_size)
    return dataclasses.replace(spec, image_size=image_size)


def _part(
    benchmark: str, examples: sources.Examples | None, settings: config.EvaluationConfig
) -> sources.Examples | None:
    """The test images that a benchmark is measured on."""
    attack, robust = settings.attack, settings.robustness
    counts = {
        "corruptions": robust.examples,
        "perturbations": robust.examples,
        "fgsm": attack.fgsm_examples,
        "pgd": attack.pgd_examples,
    }
    return examples and splits.sample(examples, counts.get(benchmark, 0))


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
        place = robust.folders[benchmark]
        return {"folder": place, "parts": published.parts_of(benchmark, place, robust.data_dir)}
    if examples is None:
        raise ValueError(f"--benchmarks={benchmark} needs labeled test images.")
    request: dict[str, Any] = {"examples": examples.fingerprint()}
    if benchmark == "corruptions":
        known, usual = corruptions.CORRUPTIONS, corruptions.TEST_CORRUPTIONS
        names = _names(benchmark, robust.corruptions, known, usual)
        severities = sorted(set(robust.severities))
        request |= {"names": names, "severities": severities, "count": robust.examples}
        request["seed"] = settings.seed
    elif benchmark == "perturbations":
        usual = perturbations.names_at(image_size)
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
    if unknown or not chosen:
        raise ValueError(
            f"--{flag}={','.join(unknown)}: must be the word all, or of {', '.join(known)}."
        )
    return list(dict.fromkeys(chosen))


def _main(settings: config.Config) -> None:
    path = config.required("model")
    devices = make_devices(**dataclasses.asdict(settings.device))
    chosen = settings.evaluation
    clean = set(chosen.benchmarks) - set(STORED_BENCHMARKS)
    class_names = model_file.read_card(path)["class_names"]
    examples = _test_images(settings.data, class_names) if clean else None
    if config.FLAGS.dry_run:
        count = f"{len(examples)} images, " if examples else ""
        print(f"{path}: {count}benchmarks {', '.join(chosen.benchmarks)}")
        return
    output_dir = Path(config.required("output_dir"))
    if baseline := config.FLAGS.baseline_model:
        model_file.read_card(baseline)  # refuses what is no model before the long work
    results = run(path, Path(path).parent.name, examples, output_dir, chosen, devices)
    for benchmark, result in results.items():
        print(f"{benchmark}: {in_words(result)}")
    if baseline:
        theirs = run(baseline, "baseline", examples, output_dir / "baseline", chosen, devices)
        for text in compared(results, theirs):
            print(text)


def _test_images(data: config.DataConfig, class_names: tuple[str, ...]) -> sources.Examples:
    """The test images of the data set; of folders and records ``--test_dir`` alone is read."""
    if data.dataset in ("folder", "records"):
        folder = config.required("test_dir")
        return sources.load_examples(data.dataset, folder=folder, class_names=class_names)
    splits_file = config.FLAGS.splits_file
    return derived.load_splits(data, splits_file).test


def in_words(result: dict[str, Any]) -> str:
    """A result in one line, as the command prints it."""
    count = f"{result['num_examples']} images"
    if "epsilons" in result:
        pairs = zip(result["epsilons"], result["top1"], strict=True)
        return ", ".join(f"{top1:.2f}% at {e:g}" for e, top1 in pairs) + f" ({count})"
    if "errors" in result:
        known = f", mCE {result['mce']:.1f}" if "mce" in result else ""
        known += f", relative mCE {result['relative_mce']:.1f}" if "relative_mce" in result else ""
        return f"mean error {result['mean_error']:.2f}%{known} ({_coverage(result)}{count})"
    if "flip_probability" in result:
        known = f", mFR {result['mfr']:.1f}" if "mfr" in result else ""
        mean, distance = result["mean_flip_probability"], result.get("mean_top5_distance")
        known += "" if distance is None else f", mean top-5 distance {distance:.2f} of 15"
        return f"mean flip probability {mean:.2f}%{known} ({_coverage(result)}{count})"
    if "num_classes" in result:
        return (
            f"top-1 {result['top1']:.2f}% among the {result['num_classes']} classes present, "
            f"{result['top1_all_classes']:.2f}% among all ({count})"
        )
    return f"top-1 {result['top1']:.2f}%, top-5 {result['top5']:.2f}% ({count})"


def _coverage(result: dict[str, Any]) -> str:
    return f"{len(result['missing'])} parts missing, " if result.get("missing") else ""


def compared(ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yields one line for each comparison of a model with a baseline."""
    for benchmark, content in ours.items():
        if benchmark in (*benchmarks.CORRUPTED, *benchmarks.PERTURBED):
            relative = compare.relative(benchmark, content, theirs[benchmark], "the baseline")
            if relative:
                yield f"{benchmark}: {relative['name']}: {relative['percent']:.1f}"
    contents = {name: {"ours": ours[name], "theirs": theirs[name]} for name in ours}
    for verdict in compare.verdicts(contents, "theirs", "ours"):
        low, high = verdict["interval"]
        yield (
            f"{verdict['benchmark']}: {verdict['after']:.1f}% vs. {verdict['before']:.1f}%,"
            f" gain {verdict['points']:+.1f} points (95% interval {low:+.1f} to {high:+.1f})"
        )


def command() -> None:
    """Runs the command."""
    config.run(
        _main,
        [
            "model",
            "output_dir",
            "benchmarks",
            "epsilons",
            "pgd_epsilons",
            "fgsm_examples",
            "pgd_examples",
            "attack_steps",
            "attack_step_size",
            "attack_random_start",
            "attack_restarts",
            "corruptions",
            "severities",
            "perturbations",
            "robustness_examples",
            "corruption_cache",
            "baseline_model",
            *(f"{name}_dir" for name in STORED_BENCHMARKS),
            "dataset",
            "data_dir",
            "test_dir",
            "seed",
            "splits_file",
            "test_image_size",
            "eval_batch_size",
            "dry_run",
        ],
    )
