"""Readers of the published robustness sets: ImageNet-C and -P, CIFAR-10-C and -P, as downloaded.

Each of the four functions looks at a folder and returns what is there, what is missing of the
benchmark and what it does not know; images and videos are read only when asked for. Layouts:

    ImageNet-C    ROOT/[GROUP/]CORRUPTION/SEVERITY/WNID/IMAGE.JPEG
    ImageNet-P    ROOT/[GROUP/]PERTURBATION/WNID/IMAGE.mp4
    CIFAR-10-C    ROOT/CORRUPTION.npy, uint8 [5 N, 32, 32, 3] by severity, and ROOT/labels.npy
    CIFAR-10-P    ROOT/PERTURBATION.npy, uint8 [N, frames, 32, 32, 3]

Groups are the folders of the published archives, and may be left out. ImageNet-A and -R are plain
class folders: `data.sources.load_examples("folder", ...)` reads them.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (ICLR 2019), and the layout of its archives.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np

from data.corruptions import CORRUPTIONS, SEVERITIES, TEST_CORRUPTIONS
from data.examples import UNKNOWN_LABEL, Examples
from data.perturbations import SEQUENCES
from data.robustness_sets import layout as layout
from data.sources import folders
from data.sources.builtin import with_classes

IMAGENET_P, CIFAR10_P = SEQUENCES[224], SEQUENCES[32]
# More sequences come with the downloads, and are not part of the benchmark.
VALIDATION_PERTURBATIONS = ("speckle_noise", "gaussian_blur", "snow", "spatter", "shear")
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class CorruptedImages:
    """Corrupted versions of one set of images.

    Attributes:
        settings: (corruption, severity 1..5) of what is there, in the benchmark's order.
        missing: those of the 15 test corruptions that are not.
        unknown: paths that belong to no corruption or severity.
    """

    settings: tuple[tuple[str, int], ...]
    missing: tuple[tuple[str, int], ...]
    unknown: tuple[str, ...]
    _read: Callable[[str, int, Sequence[str]], Examples]
    _count: Callable[[str, int], int]

    def count(self, corruption: str, severity: int) -> int:
        """The number of images of one setting as it is now; none is opened.

        While a folder is still being filled it grows. ValueError: the setting is not there.
        """
        self._refuse_unknown(corruption, severity)
        return self._count(corruption, severity)

    def examples(self, corruption: str, severity: int, class_names: Sequence[str]) -> Examples:
        """Reads the images of one setting.

        Args:
            corruption: its name.
            severity: 1..5.
            class_names: the model's classes; folders, or the classes of CIFAR-10, are matched to
                them by name, and need not all be present.

        Returns:
            Examples of files, or of images in a file that is mapped into memory.

        Raises:
            ValueError: the setting is not there, or naming the class or file at fault.
        """
        self._refuse_unknown(corruption, severity)
        return self._read(corruption, severity, class_names)

    def _refuse_unknown(self, corruption: str, severity: int) -> None:
        if (corruption, severity) not in self.settings:
            have = ", ".join(f"{name} {level}" for name, level in self.settings)
            raise ValueError(
                f"There is no {corruption!r} of severity {severity}; there is: {have}."
            )


class Videos:
    """Videos of one perturbation; indexing and iterating give uint8 [frames, H, W, 3], in order.

    Attributes:
        ids: str objects [N], unique and stable.
        labels: int32 [N], the classes, or -1 where they are unknown.
        num_frames: of every video.
    """

    def __init__(
        self,
        ids: Sequence[str],
        labels: np.ndarray,
        num_frames: int,
        read: Callable[[int], np.ndarray],
    ):
        """Takes a function from a position to that video's frames."""
        self.ids = np.array(ids, object)
        self.labels = labels
        self.num_frames = num_frames
        self._read = read

    def __len__(self) -> int:
        """The number of videos."""
        return len(self.ids)

    def __getitem__(self, index: int) -> np.ndarray:
        """The frames of one video; ValueError naming the file if it cannot be read."""
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} videos, but none at {index}.")
        return self._read(index)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames of one video after the other."""
        return (self[index] for index in range(len(self)))


@dataclasses.dataclass(frozen=True, eq=False)
class PerturbedVideos:
    """Perturbation sequences of one set of images.

    Attributes:
        perturbations: names of what is there, in the benchmark's order, any others last.
        missing: those of the benchmark's ten that are not.
        unknown: paths that are no perturbation's.
    """

    perturbations: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    _read: Callable[[str, Sequence[str] | None], Videos]
    _count: Callable[[str], int]

    def count(self, perturbation: str) -> int:
        """The number of videos of one perturbation, as of `CorruptedImages.count`."""
        self._refuse_unknown(perturbation)
        return self._count(perturbation)

    def videos(self, perturbation: str, class_names: Sequence[str] | None = None) -> Videos:
        """Opens the videos of one perturbation.

        Args:
            perturbation: its name.
            class_names: the model's classes, to which folders are matched by name; None: labels are
                -1, as they always are in CIFAR-10-P, whose files have none.

        Returns:
            The videos, read one at a time.

        Raises:
            ValueError: the perturbation is not there, or naming the class or file at fault.
        """
        self._refuse_unknown(perturbation)
        return self._read(perturbation, class_names)

    def _refuse_unknown(self, perturbation: str) -> None:
        if perturbation not in self.perturbations:
            raise ValueError(
                f"There is no {perturbation!r}; there is: {', '.join(self.perturbations)}."
            )


# ImageNet-C and -P: folders.


def imagenet_c(root: str) -> CorruptedImages:
    """Looks for ImageNet-C, or a set of its layout, in a folder.

    Raises:
        ValueError: the folder does not exist, holds no corruption, or holds one twice.
    """
    found, unknown = layout.grouped_folders(root, CORRUPTIONS)
    paths = {}
    for corruption, folder in found.items():
        for entry in layout.visible(folder):
            if entry.is_dir() and entry.name in map(str, SEVERITIES):
                if any(layout.visible(entry)):
                    paths[corruption, int(entry.name)] = entry
            else:
                unknown.append(str(entry))
    if not paths:
        raise ValueError(f"{root} has no images: expected are {root}/CORRUPTION/SEVERITY/WNID/.")
    settings = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    return CorruptedImages(
        settings=tuple(setting for setting in settings if setting in paths),
        missing=tuple(
            setting
            for setting in settings
            if setting[0] in TEST_CORRUPTIONS and setting not in paths
        ),
        unknown=tuple(unknown),
        _read=lambda corruption, severity, class_names: folders.read_labeled(
            str(paths[corruption, severity]),
            class_names,
            prefix=f"imagenet_c/{corruption}/{severity}",
        ),
        _count=lambda *setting: folders.count_files(str(paths[setting])),
    )


def imagenet_p(root: str) -> PerturbedVideos:
    """Looks for ImageNet-P in a folder.

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


def _video_paths(folder: pathlib.Path) -> list[pathlib.Path]:
    """Of the videos FOLDER/WNID/*.mp4, by rising path."""
    return sorted(folder.glob("*/*.mp4"))


def _folder_videos(name: str, folder: pathlib.Path, class_names: Sequence[str] | None) -> Videos:
    paths = _video_paths(folder)
    if not paths:
        raise ValueError(f"{folder} has no videos: expected are {folder}/WNID/IMAGE.mp4.")
    labels = np.full(len(paths), UNKNOWN_LABEL, np.int32)
    if class_names is not None:
        index = {wnid: label for label, wnid in enumerate(class_names)}
        strangers = [path for path in paths if path.parent.name not in index]
        if strangers:
            raise ValueError(
                f"{strangers[0].parent} is the folder of a class that is not among the "
                f"{len(index)} of the model."
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


def decode_video(path: str | os.PathLike) -> np.ndarray:
    """Decodes every frame of a video file.

    Args:
        path: a file that FFmpeg reads, such as H.264 in .mp4.

    Returns:
        uint8 RGB [frames, H, W, 3], in the order in which they are shown.

    Raises:
        ValueError: naming a file that is damaged, or has no frames.
    """
    try:
        with av.open(os.fspath(path)) as container:
            decoded = container.decode(video=0) if container.streams.video else ()
            frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} is not a readable video ({type(error).__name__}).") from error
    if not frames:
        raise ValueError(f"{path} has no frames.")
    return np.stack(frames)


# CIFAR-10-C and -P: arrays.


def cifar10_c(root: str) -> CorruptedImages:
    """Looks for CIFAR-10-C, or arrays of its layout, in a folder.

    Raises:
        ValueError: the folder does not exist, has no array of a corruption or no labels.npy, or
            the labels are not those of the same images five times.
    """
    found, unknown = layout.arrays(root, CORRUPTIONS)
    file = layout.existing(root) / layout.LABELS
    if not file.is_file():
        raise ValueError(f"{file} is missing: it holds the classes of the images.")
    labels = layout.open_array(file, 1, "labels [5 N]")
    if labels.dtype.kind not in "iu" or not len(labels) or len(labels) % len(SEVERITIES):
        raise ValueError(f"{file} must hold integers [5 N], not {labels.dtype} {labels.shape}.")
    blocks = labels.reshape(len(SEVERITIES), -1)
    if (blocks != blocks[0]).any() or not 0 <= labels.min() <= labels.max() < len(CIFAR10_CLASSES):
        raise ValueError(f"{file} must hold the same classes 0..9 for each of five severities.")

    def read(corruption: str, severity: int, class_names: Sequence[str]) -> Examples:
        images = layout.open_array(found[corruption], 4, "images [5 N, H, W, 3]")
        if images.dtype != np.uint8 or images.shape[-1] != 3 or len(images) != len(labels):
            raise ValueError(
                f"{found[corruption]} must hold uint8 [{len(labels)}, H, W, 3], as many as there "
                f"are labels, not {images.dtype} {list(images.shape)}."
            )
        count = len(blocks[0])
        start = SEVERITIES.index(severity) * count
        prefix = f"cifar10_c/{corruption}/{severity}"
        examples = Examples(
            ids=np.array([f"{prefix}/{position:05d}" for position in range(count)], object),
            labels=blocks[0].astype(np.int32),
            class_names=CIFAR10_CLASSES,
            images=images[start : start + count],
        )
        return with_classes(examples, class_names, "CIFAR-10-C")

    return CorruptedImages(
        settings=tuple((name, severity) for name in found for severity in SEVERITIES),
        missing=tuple(
            (name, severity)
            for name in TEST_CORRUPTIONS
            if name not in found
            for severity in SEVERITIES
        ),
        unknown=tuple(unknown),
        _read=read,
        _count=lambda corruption, severity: len(blocks[0]),
    )


def cifar10_p(root: str) -> PerturbedVideos:
    """Looks for CIFAR-10-P, or arrays of its layout, in a folder.

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
                f"{found[name]} must hold uint8 [N, frames, H, W, 3], not {videos.dtype} "
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
