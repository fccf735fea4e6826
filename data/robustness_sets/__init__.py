"""Readers of the published robustness sets, as downloaded."""

from data.robustness_sets.readers import (
    CIFAR10_CLASSES,
    CorruptedImages,
    PerturbedVideos,
    cifar10_c,
    cifar10_p,
    decode_video,
    imagenet_c,
    imagenet_p,
)

__all__ = [
    "CIFAR10_CLASSES",
    "CorruptedImages",
    "PerturbedVideos",
    "cifar10_c",
    "cifar10_p",
    "decode_video",
    "imagenet_c",
    "imagenet_p",
]
