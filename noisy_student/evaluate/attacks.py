"""Accuracy on adversarial images, over step sizes (paper, section 3.6)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from data import seeds
from data.examples import Examples
from noisy_student.artifacts import pictures
from noisy_student.evaluate import adversarial, resumable
from noisy_student.evaluate.evaluated_model import Subject
from noisy_student.evaluate.resumable import Progress
from noisy_student.metrics import per_image

_SAVED = 8  # adversarial images kept as PNG files, for each epsilon


def fgsm(
    subject: Subject, examples: Examples, epsilons: Sequence[float], folder: Path
) -> dict[str, Any]:
    """Top-1 in percent after one signed gradient step of each size, in pixel units.

    Args:
        subject: the model.
        examples: labeled clean images.
        epsilons: sizes of the step.
        folder: receives a few of the attacked images.

    Returns:
        Figures as `_figures`.
    """
    epsilons = _with_zero(epsilons)

    @subject.spread
    @tf.function(jit_compile=subject.jit_compile)
    def attack(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        sweep = list(adversarial.fgsm_sweep(subject.model, images, labels, epsilons))
        guesses = [tf.argmax(subject.model(image, training=False), -1) for image in sweep]
        shown = tf.stack([image[:_SAVED] for image in sweep], axis=1)
        return shown, tf.stack(guesses, axis=1) == tf.cast(labels, tf.int64)[:, tf.newaxis]

    right = []
    with resumable.bar("fgsm", len(examples)) as done:
        for number, batch in enumerate(subject.clean_batches(examples)):
            shown, stays = attack(batch["images"], batch["labels"])
            real = batch["index"].numpy() >= 0
            right.append(stays.numpy()[real].T)
            if number == 0:
                first = shown.numpy()[: min(_SAVED, real.sum())]
                for epsilon, images in zip(epsilons, first.swapaxes(0, 1), strict=True):
                    _save(images, folder, epsilon)
            done.update(int(real.sum()))
    table = np.concatenate(right, axis=1)
    records = [per_image.record(examples.ids, ~row) for row in table]
    return _figures(epsilons, [100 * float(row.mean()) for row in table], records, len(examples))


def pgd(
    subject: Subject,
    examples: Examples,
    epsilons: Sequence[float],
    *,
    num_steps: int,
    step_size: float | None,
    random_start: bool,
    restarts: int,
    folder: Path,
    request: dict[str, Any],
) -> dict[str, Any]:
    """Top-1 in percent under projected gradient descent within each epsilon, in pixel units.

    Every epsilon is a part of its own (`parts`).

    Args:
        subject: the model.
        examples: labeled clean images.
        epsilons: largest changes of a pixel.
        num_steps: of one attack.
        step_size: in pixel units; None: 2.5 * epsilon / num_steps (Madry et al.'s rule).
        random_start: start anywhere within epsilon, not at the image.
        restarts: attacks on each image, all of which it must withstand.
        folder: receives files for each epsilon, and a few of the attacked images.
        request: what the result depends on besides epsilon.

    Returns:
        Figures as `_figures`, and the strength of the attack.
    """
    batches = subject.clean_batches(examples)
    hashes = seeds.hash_ids(examples.ids).view(np.int64)

    @subject.spread
    @tf.function(jit_compile=subject.jit_compile)
    def attack(
        images: tf.Tensor, labels: tf.Tensor, epsilon: tf.Tensor, drawn: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        size = 2.5 * epsilon / num_steps if step_size is None else step_size
        attacked = adversarial.pgd(
            subject.model,
            images,
            labels,
            epsilon,
            step_size=size,
            num_steps=num_steps,
            seeds=drawn if random_start else None,
        )
        guesses = tf.argmax(subject.model(attacked, training=False), -1)
        return attacked, guesses == tf.cast(labels, tf.int64)

    def measure(epsilon: float, progress: Progress) -> dict[str, Any]:
        right = []
        for number, batch in enumerate(batches):
            index = batch["index"].numpy()

            def once(restart: int, batch=batch, index=index) -> tuple[tf.Tensor, tf.Tensor]:
                copies = np.full(len(index), restart, np.int32)
                passes = np.zeros(len(index), np.int64)
                drawn = seeds.example_seeds(subject.seed, passes, hashes[index], copies)
                return attack(batch["images"], batch["labels"], tf.constant(epsilon), drawn)

            attacked, withstood = _worst(once, restarts)
            real = index >= 0
            right.append(withstood[real])
            if number == 0:
                _save(attacked[real][:_SAVED], folder, epsilon)
            progress(int(real.sum()))
        table = np.concatenate(right)
        return {
            "top1": 100 * float(table.mean()),
            "by_image": per_image.record(examples.ids, ~table),
        }

    epsilons = _with_zero(epsilons)
    files = {f"epsilon_{epsilon:g}": epsilon for epsilon in epsilons}
    found = resumable.measure_all(
        files, measure, folder, request, what="pgd", num_images=dict.fromkeys(files, len(examples))
    ).values()
    top1, records = ([content[key] for content in found] for key in ("top1", "by_image"))
    return _figures(epsilons, top1, records, len(examples)) | {
        "steps": num_steps,
        "step_size": step_size,
        "random_start": random_start,
        "restarts": restarts,
    }


def _with_zero(epsilons: Sequence[float]) -> tuple[float, ...]:
    """Each once, after 0, at which the images are clean."""
    return tuple(dict.fromkeys(map(float, (0, *epsilons))))


def _worst(
    once: Callable[[int], tuple[tf.Tensor, tf.Tensor]], restarts: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first attack that each image does not withstand, or the last, and whether it did."""
    attacked, right = (value.numpy() for value in once(0))
    for restart in range(1, restarts):
        another, stays = (value.numpy() for value in once(restart))
        attacked = np.where(right[:, np.newaxis, np.newaxis, np.newaxis], another, attacked)
        right = right & stays
    return attacked, right


def _figures(
    epsilons: Sequence[float], top1: list[float], records: list[dict[str, Any]], count: int
) -> dict[str, Any]:
    """Percent by epsilon, the first of which is 0, and what became of every image."""
    return {
        "num_examples": count,
        "epsilons": list(epsilons),
        "top1": top1,
        "by_image": {f"{size:g}": one for size, one in zip(epsilons, records, strict=True)},
    }


def _save(images: np.ndarray, folder: Path, epsilon: float) -> None:
    folder = folder / f"epsilon_{epsilon:g}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(np.round(images).astype(np.uint8)):
        (folder / f"{number}.png").write_bytes(pictures.png_bytes(image))
