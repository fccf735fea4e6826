"""Accuracy on adversarial images, over step sizes (paper, section 3.6)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from data.examples import Examples
from noisy_student import adversarial, gallery
from noisy_student.subject import Subject

_SAVED = 8  # adversarial images kept as PNG files, for each epsilon


def fgsm(subject: Subject, examples: Examples, epsilons: Sequence[float]) -> dict[str, Any]:
    """Top-1 in percent after one signed gradient step of each size, in pixel units."""
    epsilons = (0.0, *epsilons)

    @tf.function(jit_compile=subject.jit_compile)
    def attack(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        sweep = adversarial.fgsm_sweep(subject.model, images, labels, epsilons)
        guesses = [tf.argmax(subject.model(image, training=False), -1) for image in sweep]
        return tf.stack(guesses) == tf.cast(labels, tf.int64)

    right = [
        attack(batch["images"], batch["labels"]).numpy()[:, batch["index"].numpy() >= 0]
        for batch in _batches(subject, examples, "fgsm")
    ]
    return _figures(epsilons, np.concatenate(right, axis=1))


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
) -> dict[str, Any]:
    """Top-1 in percent under projected gradient descent within each epsilon, in pixel units.

    Args:
        subject: the model.
        examples: labeled clean images.
        epsilons: largest changes of a pixel.
        num_steps: of one attack.
        step_size: in pixel units; None: 2.5 * epsilon / num_steps (Madry et al.'s rule).
        random_start: start anywhere within epsilon, not at the image.
        restarts: attacks on each image, all of which it must withstand.
        folder: receives a few of the attacked images.
    """
    epsilons = (0.0, *epsilons)

    @tf.function(jit_compile=subject.jit_compile)
    def attack(
        images: tf.Tensor, labels: tf.Tensor, epsilon: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        size = 2.5 * epsilon / num_steps if step_size is None else step_size
        attacked = adversarial.pgd(
            subject.model, images, labels, epsilon, step_size=size, num_steps=num_steps,
            seed=seed if random_start else None,
        )  # fmt: skip
        guesses = tf.argmax(subject.model(attacked, training=False), -1)
        return attacked, guesses == tf.cast(labels, tf.int64)

    withstood = []
    for number, batch in enumerate(_batches(subject, examples, "pgd")):
        real = batch["index"].numpy() >= 0
        rows = []
        for epsilon in epsilons:
            right = np.ones(len(real), bool)
            for restart in range(restarts):
                seed = tf.constant([subject.seed, number * restarts + restart], tf.int32)
                attacked, stays = attack(
                    batch["images"], batch["labels"], tf.constant(epsilon, tf.float32), seed
                )
                right &= stays.numpy()
            rows.append(right[real])
            if number == 0:
                _save(attacked.numpy()[real][:_SAVED], examples, folder / f"epsilon_{epsilon:g}")
        withstood.append(np.stack(rows))
    settings = {
        "steps": num_steps, "step_size": step_size, "random_start": random_start,
        "restarts": restarts,
    }  # fmt: skip
    return _figures(epsilons, np.concatenate(withstood, axis=1)) | settings


def _batches(subject: Subject, examples: Examples, name: str) -> Iterator[dict[str, tf.Tensor]]:
    total = -(-len(examples) // subject.batch_size)
    batches = subject.clean_batches(examples)
    yield from tqdm(batches, name, total, unit="batch", leave=False, disable=None)


def _figures(epsilons: Sequence[float], right: np.ndarray) -> dict[str, Any]:
    """From bool [epsilons, N]."""
    return {
        "num_examples": right.shape[1],
        "epsilons": list(epsilons),
        "top1": [100 * float(row.mean()) for row in right],
    }


def _save(images: np.ndarray, examples: Examples, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(np.round(images).astype(np.uint8)):
        (folder / f"{number}.png").write_bytes(gallery.png_bytes(image))
