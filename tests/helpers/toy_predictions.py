"""Predictions of 120 images of four classes, drawn at random, and settings to select from them."""

import numpy as np

from data import seeds, sources
from noisy_student import config
from noisy_student.artifacts import predictions

NAMES = ("ant", "bee", "cat", "dog")
SIZE = 120
SETTINGS = config.SelectionConfig(
    min_confidence=0.6, images_per_class=30, hard_labels=False, num_shards=2, seed=3
)


def examples():
    """Returns images, a tenth of them without a known class."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, SIZE).astype(np.int32)
    truth[::10] = -1
    return sources.DecodedExamples(
        ids=np.array([f"toy/{i:05d}" for i in range(SIZE)], object),
        labels=truth,
        class_names=NAMES,
        images=rng.integers(0, 256, (SIZE, 4, 4, 3), np.uint8),
    )


def columns(examples):
    """Returns the columns of their predictions."""
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet([0.6, 0.4, 0.2, 0.0001], SIZE).astype(np.float32)
    confidence = probabilities.max(1)
    return {
        "id": examples.ids,
        "id_hash": seeds.hash_ids(examples.ids),
        "index": np.arange(SIZE),
        "source_shard": np.full(SIZE, "", object),
        "label": probabilities.argmax(1).astype(np.int32),
        "confidence": confidence,
        "probabilities": probabilities.astype(np.float16),
        "true_label": examples.labels,
    }


def write_predictions(directory, columns, examples, num_shards=3, order=None):
    card = {"class_names": list(NAMES), "model": "m", "examples": examples.fingerprint()}
    order = np.arange(SIZE) if order is None else order
    for shard, rows in enumerate(np.array_split(order, num_shards)):
        part = {name: column[rows] for name, column in columns.items()}
        predictions.write(predictions.shard_path(directory, shard, num_shards), card, [part])
