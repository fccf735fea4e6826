"""Readers of the published robustness sets, as downloaded.

Each reader looks at a folder and reports what it holds, what the benchmark lacks and which paths it
does not know. Images and videos are read on demand. Layouts:

    ImageNet-C    ROOT/[GROUP/]CORRUPTION/SEVERITY/WNID/IMAGE.JPEG
    ImageNet-P    ROOT/[GROUP/]PERTURBATION/WNID/IMAGE.mp4
    CIFAR-10-C    ROOT/CORRUPTION.npy, uint8 [5 N, 32, 32, 3] by severity, and ROOT/labels.npy
    CIFAR-10-P    ROOT/PERTURBATION.npy, uint8 [N, frames, 32, 32, 3]

Groups are the folders of the published archives and optional. ImageNet-A and -R are plain class
folders: `data.sources.load_examples(Folder(...))` reads them.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (ICLR 2019), and the layout of its archives.
"""

from data.robustness_sets.corrupted import CIFAR10_CLASSES, CorruptedImages, cifar10_c, imagenet_c
from data.robustness_sets.perturbed import PerturbedVideos, Videos, cifar10_p, imagenet_p
from data.robustness_sets.video import decode_video

__all__ = [
    "CIFAR10_CLASSES",
    "CorruptedImages",
    "PerturbedVideos",
    "Videos",
    "cifar10_c",
    "cifar10_p",
    "decode_video",
    "imagenet_c",
    "imagenet_p",
]
