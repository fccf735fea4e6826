"""Input pipelines: batches for training and for evaluation."""

from data.pipeline.augmentation import Augmentation, batch_noise
from data.pipeline.batches import (
    evaluation_batches,
    noisy_views,
    thumbnail_batches,
    training_batches,
)
from data.pipeline.order import Order, Shard
from data.pipeline.selected import Selected

__all__ = [
    "Augmentation",
    "Order",
    "Selected",
    "Shard",
    "batch_noise",
    "evaluation_batches",
    "noisy_views",
    "thumbnail_batches",
    "training_batches",
]
