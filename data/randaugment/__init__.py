"""RandAugment on uint8 images, at the magnitudes Noisy Student was trained with."""

from data.randaugment.policy import (
    OPERATIONS,
    contact_sheet,
    level_to_argument,
    rand_augment,
    rand_augment_batch,
)

__all__ = ["OPERATIONS", "contact_sheet", "level_to_argument", "rand_augment", "rand_augment_batch"]
