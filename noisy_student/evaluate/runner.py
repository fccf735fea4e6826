r"""Evaluates a saved model: accuracy, corruptions, perturbations, attacks, published benchmarks.

    python -m noisy_student.evaluate --model=lite0.keras --dataset=folder --test_dir=photos/test \
        --benchmarks=clean,corruptions,perturbations,fgsm,pgd --output_dir=/tmp/eval
    python -m noisy_student.evaluate --model=lite0.keras --benchmarks=imagenet_a,imagenet_c \
        --imagenet_a_dir=imagenet-a --imagenet_c_dir=imagenet-c --output_dir=/tmp/eval
    python -m noisy_student.evaluate --model=lite0.keras --output_dir=/tmp/eval \
        --benchmarks=imagenet_r,imagenet2012_corrupted --data_dir=~/tensorflow_datasets
    python -m noisy_student.evaluate --model=resnet.keras --class_names=classes.txt \
        --input_range=-1..1 --dataset=folder --test_dir=photos/test --output_dir=/tmp/eval

Each benchmark writes one JSON file. A finished benchmark is not run again for the same weights,
images and options; an interrupted one continues where it stopped. --baseline_model adds a second
model: its results, metrics relative to it, and paired differences with 95% intervals.

Third-party models without a card may be .keras files or SavedModel folders, including those from
TF-Hub. Describe them with --class_names, --image_size, --input_range, --outputs, --interpolation,
--crop_padding (default here: 0) and --small_image. Epsilons are in pixel values 0..255 for any
--input_range. Attacks on models that output probabilities use the gradient of their logarithm.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from data import optional, sources
from data.examples import DecodedExamples, Examples
from data.preprocess import PreprocessSpec
from data.sources import digests
from noisy_student import config
from noisy_student.artifacts import disk, foreign, integrity, model_file
from noisy_student.artifacts.files import file_hash, read_json, remove_leftovers, write_json
from noisy_student.artifacts.foreign import Opened
from noisy_student.artifacts.json_files import evaluation_type
from noisy_student.artifacts.model_file import Card
from noisy_student.config import derived, option, schema
from noisy_student.evaluate import benchmark, resumable
from noisy_student.evaluate.benchmark import Result, Task
from noisy_student.evaluate.comparison import compare
from noisy_student.evaluate.evaluated_model import EvaluatedModel
from noisy_student.runtime import inference
from noisy_student.runtime.devices import Devices, make_devices

_NO_EXAMPLES: Examples = DecodedExamples(
    np.array([], object), np.array([], np.int32), (), images=np.zeros([0, 1, 1, 3], np.uint8)
)


def run(
    model_path: str | Path,
    name: str,
    examples: Examples | None,
    output_dir: str | Path,
    settings: config.EvaluationConfig,
    devices: Devices,
    opened: Opened | None = None,
) -> dict[str, Result]:
    """Runs the benchmarks that are not finished yet.

    Args:
        model_path: a saved model.
        name: name of the model in reports.
        examples: labeled test images. Their classes are matched to the model's by name, and a model
            with more classes decides among these alone. None: no benchmark needs test images.
        output_dir: receives ``<benchmark>.json``, and files of each benchmark.
        settings: benchmarks and their options.
        devices: from `make_devices`.
        opened: the model, if its file has no card.

    Returns:
        Benchmark -> content of its file; accuracies in percent.

    Raises:
        ValueError: a model, folder or option is invalid; the message names it.
    """
    output_dir = Path(output_dir)
    remove_leftovers(output_dir)
    card = opened.card if opened else model_file.read_card(model_path)
    weights = opened.fingerprint if opened else file_hash(model_path)
    spec = _preprocess_spec(card["preprocess"], settings)
    tasks = _tasks(weights, spec, examples, output_dir, settings)

    @functools.cache
    def load() -> EvaluatedModel:
        if opened:
            return _evaluated(opened.model, card, spec, examples, settings, devices)
        with devices.prediction_scope():
            model = model_file.load_model(model_path)[0]
        return _evaluated(model, card, spec, examples, settings, devices)

    results: dict[str, Result] = {}
    for task in tasks:
        path = output_dir / f"{task.name}.json"
        if resumable.is_finished(path, task.request, evaluation_type(task.name)):
            results[task.name] = read_json(path)
            continue
        model, start = load(), time.perf_counter()
        metrics = benchmark.get(task.name).measure(model, task)
        results[task.name] = {
            "benchmark": task.name,
            "model": name,
            "request": task.request,
            "seconds": round(time.perf_counter() - start, 2),
            **metrics,
        }
        file = "predictions.npz" if task.name == "clean" else f"{task.name}/predictions.npz"
        results[task.name] |= integrity.predictions(output_dir, file)
        write_json(path, results[task.name])
    return {name: _complete(result, output_dir) for name, result in results.items()}


def _complete(result: Result, output_dir: Path) -> Result:
    """Returns a result with metrics that need other results, and updates its file."""
    name = result["benchmark"]
    completed = benchmark.get(name).complete(result, output_dir)
    if completed != result:
        write_json(output_dir / f"{name}.json", completed)
    return completed


def check(
    settings: config.EvaluationConfig,
    image_sizes: Iterable[int],
    test_images: Examples | None,
    class_names: Sequence[str],
) -> None:
    """Resolves all benchmarks of models of some image sizes, which need not exist yet.

    Raises:
        ValueError: an option is invalid, a folder is missing, a package is not installed, or a
            stored benchmark has a class or an image that is invalid.
    """
    sizes = {settings.image_size or size for size in image_sizes}
    for number, size in enumerate(sorted(sizes)):
        spec = PreprocessSpec(size, pixels=settings.pixels or "uint8")
        names = [n for n in settings.benchmarks if not number or benchmark.get(n).needs_test_images]
        some = dataclasses.replace(settings, benchmarks=tuple(names))
        _tasks("", spec, test_images, Path(), some)
    for name in settings.benchmarks:
        benchmark.get(name).check_images(settings, class_names)


def missing_packages(settings: config.EvaluationConfig) -> dict[str, str]:
    """Returns the benchmarks that cannot run here -> how to install the package they need."""
    reasons = {
        name: optional.missing(*benchmark.get(name).packages) for name in settings.benchmarks
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _tasks(
    weights: str,
    spec: PreprocessSpec,
    test_images: Examples | None,
    output_dir: Path,
    settings: config.EvaluationConfig,
) -> list[Task]:
    """Resolves all requests before anything is measured, so that errors come early."""
    tasks = []
    for name in settings.benchmarks:
        selected = benchmark.get(name)
        optional.check(*selected.packages)
        request: dict[str, Any] = {"weights": weights, "image_size": spec.image_size}
        if spec.dtype.name != "uint8":
            request["pixels"] = spec.dtype.name
        request |= selected.request(settings, spec.image_size)
        examples = _NO_EXAMPLES
        if selected.needs_test_images:
            if test_images is None or not len(test_images):
                raise ValueError(f"--benchmarks={name} needs labeled test images.")
            examples = selected.select(test_images, settings)
            request["examples"] = examples.fingerprint()
            if found := digests.content(test_images):
                request["images"] = found
        tasks.append(Task(name, settings, request, output_dir / name, examples))
    return tasks


def _preprocess_spec(spec: PreprocessSpec, settings: config.EvaluationConfig) -> PreprocessSpec:
    """Returns the model's preprocessing, with the resolution and pixels that are given."""
    spec = dataclasses.replace(spec, pixels=settings.pixels or spec.pixels)
    image_size = settings.image_size
    if image_size in (None, spec.image_size):
        return spec
    logging.warning("evaluating at %d pixels a model made for %d", image_size, spec.image_size)
    return dataclasses.replace(spec, image_size=image_size)


def _evaluated(
    model: Callable[..., tf.Tensor],
    card: Card,
    spec: PreprocessSpec,
    examples: Examples | None,
    settings: config.EvaluationConfig,
    devices: Devices,
) -> EvaluatedModel:
    class_names = card["class_names"] if examples is None else examples.class_names
    if examples is not None:
        devices = devices.for_steps("evaluation", math.ceil(len(examples) / settings.batch_size))
    return EvaluatedModel(
        inference.for_classes(model, card["class_names"], class_names),
        class_names,
        spec,
        settings.batch_size,
        devices.jit_compile,
        settings.seed,
        devices.spread,
    )


def _main(settings: config.Config) -> None:
    given, options = settings.group(schema.EvaluateCommandConfig), settings.evaluation
    names = {"model": settings.required("model"), "baseline_model": given.baseline_model}
    files = {flag: model_file.find(flag, name) for flag, name in names.items() if name}
    path, baseline = files["model"], files.get("baseline_model")
    devices = make_devices(**dataclasses.asdict(settings.device))
    opened = {flag: _open(flag, file, settings, devices) for flag, file in files.items()}
    cards = {flag: _card(file, opened[flag]) for flag, file in files.items()}
    needs_test_images = any(benchmark.get(name).needs_test_images for name in options.benchmarks)
    class_names = cards["model"]["class_names"]
    examples = _test_images(settings, class_names) if needs_test_images else None
    output_dir = Path(settings.required("output_dir"))
    disk.check_writable("output_dir", output_dir)
    for flag, card in cards.items():
        classes = card["class_names"] if examples is None else examples.class_names
        model_file.check_known(flag, files[flag], card, classes)
        check(options, [card["preprocess"].image_size], examples, classes)
    if given.dry_run:
        count = f"{len(examples)} images, " if examples else ""
        print(f"{path}: {count}benchmarks {', '.join(options.benchmarks)}")
        return
    title = _title(names["model"], path)
    results = run(path, title, examples, output_dir, options, devices, opened["model"])
    for name, result in results.items():
        print(f"{f'{title}, ' if baseline else ''}{name}: {benchmark.get(name).describe(result)}")
    if baseline:
        folder, other = output_dir / "baseline", opened["baseline_model"]
        second = _title(str(given.baseline_model), baseline)
        others = run(baseline, second, examples, folder, options, devices, other)
        second = f"{second} (baseline)"
        for name, result in others.items():
            print(f"{second}, {name}: {benchmark.get(name).describe(result)}")
        for line in compare(results, others, (title, second)):
            print(line)


def _title(given: str, path: str) -> str:
    """Returns what reports call a model: its file, or its folder where all files have one name.

    `given` is the value of the flag, `path` the file found for it.
    """
    if path != given:  # weights by name, which are in a cache
        return given
    file = Path(path).resolve()
    return file.parent.name if file.name in ("model.keras", "best.keras") else file.stem


def _open(flag: str, path: str, settings: config.Config, devices: Devices) -> Opened | None:
    """Opens a model without a card as the options describe it; None: its file has a card.

    Raises:
        ValueError: the description is missing or does not fit, or the model already has a card.
    """
    if foreign.has_card(path):
        described = [n for n in option.options_of(schema.ForeignModelConfig) if n in settings.given]
        if described and flag == "model":
            raise ValueError(f"--{described[0]}: {path} has a card with this information.")
        return None
    if Path(path).is_dir() and devices.num_replicas > 1:
        raise ValueError(
            f"--{flag}={path}: a SavedModel runs on one device only: give --strategy=one."
        )
    description = foreign.Description(
        settings.group(schema.ForeignModelConfig), settings.group(schema.FramingConfig)
    )
    with devices.prediction_scope():
        opened = foreign.open_model(path, description)
    attacks = [name for name in settings.evaluation.benchmarks if name in ("fgsm", "pgd")]
    if attacks and not opened.has_gradients:
        raise ValueError(
            f"--benchmarks={','.join(attacks)}: {path} takes integer pixels, which have no "
            "gradient; --benchmarks=square needs none."
        )
    print(opened.describe(), flush=True)
    return opened


def _card(path: str, opened: Opened | None) -> Card:
    return opened.card if opened else model_file.read_card(path)


def _test_images(settings: config.Config, class_names: tuple[str, ...]) -> Examples:
    """Returns the test images; of folders and records only ``--test_dir`` is read."""
    if settings.data.dataset in sources.ON_DISK:
        return sources.load_examples(derived.test_source(settings), class_names)
    splits_file = settings.group(schema.EvaluateCommandConfig).splits_file
    return derived.load_splits(settings.data, splits_file).test


def command() -> None:
    """Runs ``python -m noisy_student.evaluate``."""
    config.run(
        _main,
        schema.EvaluateCommandConfig,
        *schema.EVALUATION,
        schema.ForeignModelConfig,
        schema.FramingConfig,
        schema.DataConfig,
        schema.DeviceConfig,
        schema.LogConfig,
        crop_padding=0,  # used for models without a card alone
    )
