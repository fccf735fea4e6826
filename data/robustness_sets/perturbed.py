"""Readers of ImageNet-P and CIFAR-10-P; see `data.robustness_sets` for the layouts."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data.examples import UNKNOWN_LABEL
from data.perturbations import SEQUENCES
from data.robustness_sets import layout
from data.robustness_sets.video import decode_video

IMAGENET_P, CIFAR10_P = SEQUENCES[224], SEQUENCES[32]
# Sequences of the downloads that are not part of the benchmark.
VALIDATION_PERTURBATIONS = ("speckle_noise", "gaussian_blur", "snow", "spatter", "shear")


class Videos:
    """Videos of one perturbation; indexing and iteration give uint8 [frames, H, W, 3].

    Attributes:
        ids: str objects [N], unique and stable.
        labels: int32 [N], classes, or -1 where unknown.
        num_frames: number of frames of every video.
    """

    def __init__(
        self,
        ids: Sequence[str],
        labels: np.ndarray,
        num_frames: int,
        read: Callable[[int], np.ndarray],
    ) -> None:
        self.ids = np.array(ids, object)
        self.labels = labels
        self.num_frames = num_frames
        self._read = read

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> np.ndarray:
        """Reads one video; raises a ValueError that names an unreadable file."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} videos.")
        return self._read(index)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))


@dataclasses.dataclass(frozen=True, eq=False)
class PerturbedVideos:
    """Perturbation sequences of one set of images."""

    # Available names in the benchmark's order, followed by any others.
    perturbations: tuple[str, ...]
    missing: tuple[str, ...]  # names among the benchmark's ten that are not available
    unknown: tuple[str, ...]  # paths that belong to no perturbation
    _read: Callable[[str, Sequence[str] | None], Videos]
    _count: Callable[[str], int]

    def count(self, perturbation: str) -> int:
        """Counts the videos of one perturbation, like `CorruptedImages.count`."""
        self._require(perturbation)
        return self._count(perturbation)

    def videos(self, perturbation: str, class_names: Sequence[str] | None = None) -> Videos:
        """Opens the videos of one perturbation.

        Args:
            perturbation: name of the perturbation.
            class_names: the model's classes, to which folders are matched by name. With None all
                labels are -1, as always in CIFAR-10-P, whose files have no labels.

        Returns:
            The videos, read one at a time.

        Raises:
            ValueError: the perturbation is not available, or a class or file is invalid.
        """
        self._require(perturbation)
        return self._read(perturbation, class_names)

    def _require(self, perturbation: str) -> None:
        if perturbation not in self.perturbations:
            available = ", ".join(self.perturbations)
            raise ValueError(f"{perturbation!r} is not available; available: {available}.")


def imagenet_p(root: str) -> PerturbedVideos:
    """Opens a folder with ImageNet-P.

    Raises:
        ValueError: the folder does not exist, holds no perturbation, or holds one twice.
    """
    found, unknown = layout.grouped_folders(root, IMAGENET_P + VALIDATION_PERTURBATIONS)
    return PerturbedVideos(
        perturbations=tuple(found),
        missing=tuple(name for name in IMAGENET_P if name not in found),
        unknown=tuple(unknown),
        _read=lambda name, class_names: _folder_videos(name, found[name], class_names),
        _count=lambda name: len(_video_paths(found[name])),
    )


def cifar10_p(root: str) -> PerturbedVideos:
    """Opens a folder with CIFAR-10-P or arrays of the same layout.

    Raises:
        ValueError: the folder does not exist or has no array of a perturbation.
    """
    found, unknown = layout.arrays(root, CIFAR10_P + VALIDATION_PERTURBATIONS)

    def open_videos(name: str) -> np.ndarray:
        return layout.open_array(found[name], 5, "videos [N, frames, H, W, 3]")

    def read(name: str, class_names: Sequence[str] | None) -> Videos:
        videos = open_videos(name)
        if videos.dtype != np.uint8 or videos.shape[-1] != 3 or 0 in videos.shape:
            raise ValueError(
                f"{found[name]} must hold uint8 [N, frames, H, W, 3], got {videos.dtype} "
                f"{list(videos.shape)}."
            )
        ids = [f"cifar10_p/{name}/{position:05d}" for position in range(len(videos))]
        labels = np.full(len(videos), UNKNOWN_LABEL, np.int32)
        return Videos(ids, labels, videos.shape[1], lambda index: np.array(videos[index]))

    return PerturbedVideos(
        perturbations=tuple(found),
        missing=tuple(name for name in CIFAR10_P if name not in found),
        unknown=tuple(unknown),
        _read=read,
        _count=lambda name: len(open_videos(name)),
    )


def _video_paths(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the videos FOLDER/WNID/*.mp4 in sorted order."""
    return sorted(folder.glob("*/*.mp4"))


def _folder_videos(name: str, folder: pathlib.Path, class_names: Sequence[str] | None) -> Videos:
    paths = _video_paths(folder)
    if not paths:
        raise ValueError(f"{folder} has no videos; expected {folder}/WNID/IMAGE.mp4.")
    labels = np.full(len(paths), UNKNOWN_LABEL, np.int32)
    if class_names is not None:
        index = {wnid: label for label, wnid in enumerate(class_names)}
        for path in paths:
            if path.parent.name not in index:
                raise ValueError(
                    f"{path.parent} is not the folder of one of the model's {len(index)} classes."
                )
        labels = np.array([index[path.parent.name] for path in paths], np.int32)
    first = decode_video(paths[0]).shape

    def read(index: int) -> np.ndarray:
        frames = decode_video(paths[index])
        if frames.shape != first:
            raise ValueError(
                f"{paths[index]} has frames {list(frames.shape)}, but {paths[0]} has {list(first)}."
            )
        return frames

    ids = [f"imagenet_p/{name}/{path.parent.name}/{path.name}" for path in paths]
    return Videos(ids, labels, first[0], read)
