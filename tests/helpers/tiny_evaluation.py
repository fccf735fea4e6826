"""A tiny model, tiny images and plain loops, for the tests of the evaluation."""

import collections
import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from data.examples import DecodedExamples, Examples
from data.preprocess import PreprocessSpec
from data.robustness_sets import CIFAR10_CLASSES
from noisy_student import config, evaluate
from noisy_student.artifacts import model_file
from noisy_student.artifacts.files import read_json
from noisy_student.config.schema import STORED_BENCHMARKS
from noisy_student.evaluate import benchmark
from noisy_student.evaluate.evaluated_model import EvaluatedModel
from noisy_student.runtime.devices import Devices

SIDE = 32
WNIDS = tuple(f"n{number:08d}" for number in range(10))


@functools.cache
def model() -> keras.Model:
    """Images [B, 32, 32, 3] to ten logits; dropout and batch norm tell training from eval mode."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 64, -2)(inputs)
    x = keras.layers.Conv2D(8, 5, strides=4, activation="swish")(x)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    made = keras.Model(inputs, keras.layers.Dense(10)(x))
    norm = next(v for v in made.weights if "moving_mean" in v.path)
    norm.assign(np.linspace(-0.5, 0.5, 8))  # so that the batch's own statistics would differ
    return made


def save_models(folder: Path) -> dict[str, Path]:
    """The same model twice: its classes called by WordNet ids, and as those of CIFAR-10."""
    paths = {}
    for name, classes in (("wnids", WNIDS), ("cifar10", CIFAR10_CLASSES)):
        paths[name] = folder / f"{name}.keras"
        spec = PreprocessSpec(SIDE, small_image=name == "cifar10")
        model_file.save_model(model(), paths[name], classes, spec)
    return paths


def pictures(count: int, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """Smooth colors under some noise: uint8 [count, side, side, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).repeat(side // 4, 1).repeat(side // 4, 2)
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)


def resized(images: np.ndarray) -> np.ndarray:
    """Whole images at the model's resolution, as TensorFlow 1 resizes, cut to bytes."""
    floats = images.astype(np.float32)
    small = tf.raw_ops.ResizeBicubic(images=floats, size=[SIDE, SIDE]).numpy()
    return np.clip(small, 0, 255).astype(np.uint8)


def examples(count: int, seed: int = 0) -> Examples:
    """Pictures with random labels of the ten classes."""
    labels = np.random.default_rng(seed).integers(0, 10, count).astype(np.int32)
    ids = np.array([f"tiny/{i:03d}" for i in range(count)], object)
    return DecodedExamples(ids, labels, WNIDS, images=pictures(count, seed=seed))


def logits_one_by_one(images: np.ndarray) -> np.ndarray:
    """Of each image by itself, in eval mode: float32 [N, 10]."""
    network = model()
    return np.concatenate(
        [network(image[np.newaxis].astype(np.float32), training=False) for image in images]
    )


def guesses_one_by_one(images: np.ndarray) -> np.ndarray:
    return logits_one_by_one(images).argmax(1)


def top5_distance_one_by_one(frames: np.ndarray, noise: bool) -> float:
    """The definition word by word: to which ranks the best five move, mean over the frames."""
    orders = [list(np.argsort(-row)) for row in logits_one_by_one(frames)]
    distances = []
    for i in range(1, len(orders)):
        before = orders[0 if noise else i - 1]
        ranks = [min(orders[i].index(name) + 1, 6) for name in before[:5]]
        distances.append(sum(abs(rank - place) for place, rank in enumerate(ranks, start=1)))
    return float(np.mean(distances))


def write_image(path: Path, image: np.ndarray) -> None:
    """Lossless, whatever the name says: readers go by the content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(image).numpy())


def settings(
    *benchmarks: str, batch_size: int = 4, seed: int = 0, **other: Any
) -> config.EvaluationConfig:
    """Options of an evaluation.

    `other` may give folders of published benchmarks, ``attack`` (fields of `AttackConfig`) and
    fields of `RobustnessConfig`.
    """
    folders = {f"{name}_dir": other.pop(f"{name}_dir", None) for name in STORED_BENCHMARKS}
    folders = {name: place and str(place) for name, place in folders.items()}
    attack = config.AttackConfig(
        fgsm_epsilons=(1.0, 8.0),
        fgsm_examples=0,
        pgd_epsilons=(8.0,),
        pgd_examples=0,
        steps=3,
        step_size=None,
        random_start=True,
        restarts=2,
    )
    attack = dataclasses.replace(attack, **other.pop("attack", {}))
    robust = {"corruptions": ("all",), "severities": (1, 3), "perturbations": ("all",)}
    robust |= {"examples": 0} | folders | other
    return config.EvaluationConfig(
        benchmarks=benchmarks,
        attack=attack,
        robustness=config.RobustnessConfig(**robust),
        batch_size=batch_size,
        image_size=None,
        seed=seed,
    )


def run(
    model_path: Path, tested: Examples | None, output_dir: Path, options: config.EvaluationConfig
) -> dict[str, dict[str, Any]]:
    """Runs an evaluation in this process."""
    devices = Devices(tf.distribute.get_strategy(), jit_compile=False)
    return evaluate.run(model_path, "tiny", tested, output_dir, options, devices)


def attack(
    name: str, model: EvaluatedModel, tested: Examples, folder: Path, **options: Any
) -> dict[str, Any]:
    """Runs FGSM or PGD alone, with fields of `AttackConfig`."""
    task = benchmark.Task(name, settings(name, attack=options), {}, folder, tested)
    return benchmark.get(name).measure(model, task)


def describe(result: dict[str, Any]) -> str:
    """Returns the line that the command prints."""
    return benchmark.get(result["benchmark"]).describe(result)


def content(folder: Path) -> dict[Path, Any]:
    """Every file and what it says, seconds left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".json":
            found[path.relative_to(folder)] = read_json(path) | {"seconds": 0}
        elif path.is_file():
            found[path.relative_to(folder)] = path.read_bytes()
    return found


class Killed(Exception):
    """What ends an evaluation in the middle."""


@contextlib.contextmanager
def killed_after(monkeypatch, module, name: str, count: int):
    """A function dies when it has been called so often, and what runs within must get there."""
    real, calls = getattr(module, name), iter(range(count))

    def dies(*arguments):
        if next(calls, None) is None:
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, name, dies)
        yield


def count_calls(monkeypatch, module, name: str) -> collections.Counter:
    """Counts the calls of a function by their arguments after the image."""
    calls = collections.Counter()
    real = getattr(module, name)

    def counting(image, *arguments):
        calls[arguments] += 1
        return real(image, *arguments)

    monkeypatch.setattr(module, name, counting)
    return calls


def write_imagenet_a(root, present=(2, 5, 7), count=5):
    """Images twice as large as the model's, which sees their center, as of any photograph."""
    images = pictures(len(present) * count, 2 * SIDE)
    for number, image in enumerate(images):
        wnid = WNIDS[present[number // count]]
        write_image(root / wnid / f"{number}.jpg", image)
    return images[:, 16:48, 16:48], np.repeat(present, count)
