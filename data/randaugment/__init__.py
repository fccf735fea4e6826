"""RandAugment on uint8 images, at the magnitudes that Noisy Student was trained with."""

from data.randaugment.magnitude import level_to_argument
from data.randaugment.on_device import rand_augment_on_device
from data.randaugment.operations import OPERATIONS
from data.randaugment.policy import contact_sheet, rand_augment, rand_augment_batch
from data.randaugment.registered import REGISTERED, register, unregister
from data.randaugment.transform import RandAugment, transform

__all__ = [
    "OPERATIONS",
    "REGISTERED",
    "RandAugment",
    "contact_sheet",
    "level_to_argument",
    "rand_augment",
    "rand_augment_batch",
    "rand_augment_on_device",
    "register",
    "transform",
    "unregister",
]
