"""Input pipelines: batches for training and for evaluation."""

from data.pipeline.augmentation import Augmentation
from data.pipeline.batches import (
    evaluation_batches,
    noisy_views,
    thumbnail_batches,
    training_batches,
)

__all__ = [
    "Augmentation",
    "evaluation_batches",
    "noisy_views",
    "thumbnail_batches",
    "training_batches",
]
