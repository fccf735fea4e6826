"""Accuracy on adversarial images over a range of epsilons (Xie et al., arXiv v4, section 3.4)."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data import seeds
from data.examples import Examples
from data.sources import splits
from noisy_student import config
from noisy_student.artifacts import pictures
from noisy_student.evaluate import adversarial, benchmark, resumable, square_attack
from noisy_student.evaluate.benchmark import Result, Task
from noisy_student.evaluate.evaluated_model import EvaluatedModel
from noisy_student.evaluate.resumable import Progress
from noisy_student.metrics import per_image

Batch = Mapping[str, tf.Tensor]
Search = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
_SAVED = 8  # adversarial images written as PNG files for each epsilon


class _Attack(benchmark.Benchmark):
    """An attack, whose options are `AttackConfig.<name>_examples` and `<name>_epsilons`."""

    def select(self, test_images: Examples, settings: config.EvaluationConfig) -> Examples:
        """Returns as many of the test images as the option says."""
        return splits.sample(test_images, getattr(settings.attack, f"{self.name}_examples"))

    def request(self, settings: config.EvaluationConfig, image_size: int) -> Mapping[str, Any]:
        """Returns the epsilons and the number of images."""
        epsilons, count = (
            getattr(settings.attack, f"{self.name}_{option}") for option in ("epsilons", "examples")
        )
        return {"epsilons": list(epsilons), "count": count}

    def describe(self, result: Result) -> str:
        """Returns the accuracy at each epsilon."""
        pairs = zip(result["epsilons"], result["top1"], strict=True)
        accuracies = ", ".join(f"{top1:.2f}% at {epsilon:g}" for epsilon, top1 in pairs)
        return f"{accuracies} ({result['num_examples']} images)"


class FGSM(_Attack):
    """Accuracy after one signed gradient step on each image; one gradient serves all epsilons."""

    name = "fgsm"

    def measure(self, model: EvaluatedModel, task: Task) -> Result:
        """Attacks the images; writes some of the adversarial ones."""
        examples, epsilons = task.examples, _with_zero(task.settings.attack.fgsm_epsilons)

        @model.spread
        @tf.function(autograph=False, jit_compile=model.jit_compile)
        def attack(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            sweep = adversarial.fgsm(model.model, images, labels, epsilons)
            predicted = [tf.argmax(model.model(image, training=False), -1) for image in sweep]
            shown = tf.stack([image[:_SAVED] for image in sweep], axis=1)
            correct = tf.stack(predicted, axis=1) == tf.cast(labels, tf.int64)[:, tf.newaxis]
            return shown, correct

        columns = []
        with resumable.progress_bar(self.name, len(examples)) as bar:
            for number, batch in enumerate(model.clean_batches(examples, model.spec)):
                shown, correct = attack(batch["images"], batch["labels"])
                real = batch["index"].numpy() >= 0
                columns.append(correct.numpy()[real].T)
                if number == 0:
                    first = shown.numpy()[: min(_SAVED, real.sum())]
                    for epsilon, images in zip(epsilons, first.swapaxes(0, 1), strict=True):
                        _save(images, task.folder, epsilon)
                bar.update(int(real.sum()))
        rows = np.concatenate(columns, axis=1)
        return _metrics(epsilons, [_measured(examples, row) for row in rows], len(examples))


class PGD(_Attack):
    """Accuracy under projected gradient descent; each epsilon is a part with a result file."""

    name = "pgd"

    def request(self, settings: config.EvaluationConfig, image_size: int) -> Mapping[str, Any]:
        """Returns also the strength of the attack, and the seed."""
        shared = super().request(settings, image_size)
        return {**shared, "seed": settings.seed, **_strength(settings.attack)}

    def measure(self, model: EvaluatedModel, task: Task) -> Result:
        """Attacks the images; writes some of the adversarial ones."""
        options = task.settings.attack

        def search(
            images: tf.Tensor, labels: tf.Tensor, epsilon: tf.Tensor, drawn: tf.Tensor
        ) -> tf.Tensor:
            # By default the step size of Madry et al. (2018).
            size = options.step_size or 2.5 * epsilon / options.steps
            return adversarial.pgd(
                model.model,
                images,
                labels,
                epsilon,
                step_size=size,
                num_steps=options.steps,
                seeds=drawn if options.random_start else None,
            )

        found = _sweep(model, task, options.pgd_epsilons, search, options.restarts)
        return found | _strength(options)


class Square(_Attack):
    """Accuracy under the Square attack, which needs no gradient; each epsilon is a part."""

    name = "square"

    def request(self, settings: config.EvaluationConfig, image_size: int) -> Mapping[str, Any]:
        """Returns also the number of queries, and the seed."""
        own = {"seed": settings.seed, "num_queries": settings.attack.square_queries}
        return {**super().request(settings, image_size), **own}

    def measure(self, model: EvaluatedModel, task: Task) -> Result:
        """Attacks the images; writes some of the adversarial ones."""
        options = task.settings.attack

        def search(
            images: tf.Tensor, labels: tf.Tensor, epsilon: tf.Tensor, drawn: tf.Tensor
        ) -> tf.Tensor:
            queries = options.square_queries
            return square_attack.square(
                model.model, images, labels, epsilon, num_queries=queries, seeds=drawn
            )

        found = _sweep(model, task, options.square_epsilons, search)
        return found | {"num_queries": options.square_queries}


def worst_attack(
    attack: Callable[[int], tuple[tf.Tensor, tf.Tensor]], restarts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Attacks images several times and keeps, for each, the first attack that succeeds.

    Args:
        attack: number of the attempt -> adversarial images [B, H, W, 3] and whether each is still
            classified correctly, bool [B].
        restarts: number of attempts, at least 1.

    Returns:
        Adversarial images, those of the last attempt where none succeeds, and whether each image
        withstands all attempts.
    """
    attacked, correct = (value.numpy() for value in attack(0))
    for restart in range(1, restarts):
        images, withstood = (value.numpy() for value in attack(restart))
        attacked = np.where(correct[:, np.newaxis, np.newaxis, np.newaxis], images, attacked)
        correct = correct & withstood
    return attacked, correct


def _sweep(
    model: EvaluatedModel, task: Task, epsilons: Sequence[float], search: Search, restarts: int = 1
) -> Result:
    """Attacks all images at each epsilon, one resumable part each; writes some of the images.

    Args:
        model: the model under attack.
        task: its examples and folder.
        epsilons: largest changes of a pixel; 0 is measured, too.
        search: (images, labels, epsilon, seeds) -> adversarial images.
        restarts: attempts that an image must withstand, each with different seeds.
    """
    examples, batches = task.examples, model.clean_batches(task.examples, model.spec)
    run = _compile(model, examples, search)

    def measure(part: str, progress: Progress) -> dict[str, Any]:
        epsilon, rows = parts[part], []
        for number, batch in enumerate(batches):
            real = batch["index"].numpy() >= 0
            attacked, correct = worst_attack(functools.partial(run, batch, epsilon), restarts)
            rows.append(correct[real])
            if number == 0:
                _save(attacked[real][:_SAVED], task.folder, epsilon)
            progress(int(real.sum()))
        return _measured(examples, np.concatenate(rows))

    parts = {f"epsilon_{epsilon:g}": epsilon for epsilon in _with_zero(epsilons)}
    counts = dict.fromkeys(parts, len(examples))
    found = resumable.measure_parts(counts, measure, task.folder, task.request)
    return _metrics(list(parts.values()), list(found.values()), len(examples))


def _compile(
    model: EvaluatedModel, examples: Examples, search: Search
) -> Callable[[Batch, float, int], tuple[tf.Tensor, tf.Tensor]]:
    """Returns (batch, epsilon, number of the attempt) -> adversarial images, correct."""
    draw = _start_seeds(model.seed, examples)

    @model.spread
    @tf.function(autograph=False, jit_compile=model.jit_compile)
    def attack(
        images: tf.Tensor, labels: tf.Tensor, epsilon: tf.Tensor, drawn: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        attacked = search(images, labels, epsilon, drawn)
        predicted = tf.argmax(model.model(attacked, training=False), -1)
        return attacked, predicted == tf.cast(labels, tf.int64)

    def run(batch: Batch, epsilon: float, attempt: int) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = draw(batch["index"], attempt)
        return attack(batch["images"], batch["labels"], tf.constant(epsilon), drawn)

    return run


def _start_seeds(seed: int, examples: Examples) -> Callable[[tf.Tensor, int], tf.Tensor]:
    """Returns (indices [B] of examples, number of the attempt) -> seeds, int32 [B, 2]."""
    hashes = seeds.hash_ids(examples.ids).view(np.int64)

    def draw(index: tf.Tensor, attempt: int) -> tf.Tensor:
        rows = index.numpy()
        copies = np.full(len(rows), attempt, np.int32)
        return seeds.example_seeds(seed, np.zeros(len(rows), np.int64), hashes[rows], copies)

    return draw


def _strength(attack: config.AttackConfig) -> dict[str, Any]:
    return {
        "steps": attack.steps,
        "step_size": attack.step_size,
        "random_start": attack.random_start,
        "restarts": attack.restarts,
    }


def _with_zero(epsilons: Sequence[float]) -> tuple[float, ...]:
    """Returns each epsilon once, after 0, which leaves the images clean."""
    return tuple(dict.fromkeys(map(float, (0, *epsilons))))


def _measured(examples: Examples, correct: np.ndarray) -> dict[str, Any]:
    """Returns the metrics of one epsilon, given which images are classified correctly."""
    return {
        "top1": 100 * float(correct.mean()),
        "by_image": per_image.record(examples.ids, ~correct),
    }


def _metrics(
    epsilons: Sequence[float], found: Sequence[Mapping[str, Any]], num_examples: int
) -> Result:
    """Returns accuracies in percent by epsilon, the first of which is 0, and errors per image."""
    by_epsilon = zip(epsilons, found, strict=True)
    return {
        "num_examples": num_examples,
        "epsilons": list(epsilons),
        "top1": [content["top1"] for content in found],
        "by_image": {f"{epsilon:g}": content["by_image"] for epsilon, content in by_epsilon},
    }


def _save(images: np.ndarray, folder: Path, epsilon: float) -> None:
    folder = folder / f"epsilon_{epsilon:g}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(np.round(images).astype(np.uint8)):
        (folder / f"{number}.png").write_bytes(pictures.png_bytes(image))


for _attack in (FGSM(), PGD(), Square()):
    benchmark.register(_attack)
