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

from data import folders
from data.corruptions import CORRUPTIONS, SEVERITIES, TEST_CORRUPTIONS
from data.examples import UNKNOWN_LABEL, Examples
from data.named import with_classes
from data.perturbations import SEQUENCES

GROUPS = ("noise", "blur", "weather", "digital", "extra", "validation")
IMAGENET_P, CIFAR10_P = SEQUENCES[224], SEQUENCES[32]
# More sequences come with the downloads, and are not part of the benchmark.
VALIDATION_PERTURBATIONS = ("speckle_noise", "gaussian_blur", "snow", "spatter", "shear")
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
_LABELS = "labels.npy"


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
        if (corruption, severity) not in self.settings:
            have = ", ".join(f"{name} {level}" for name, level in self.settings)
            raise ValueError(
                f"There is no {corruption!r} of severity {severity}; there is: {have}."
            )
        return self._read(corruption, severity, class_names)


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
        if perturbation not in self.perturbations:
            raise ValueError(
                f"There is no {perturbation!r}; there is: {', '.join(self.perturbations)}."
            )
        return self._read(perturbation, class_names)


# ImageNet-C and -P: folders.


def imagenet_c(root: str) -> CorruptedImages:
    """Looks for ImageNet-C, or a set of its layout, in a folder.

    Raises:
        ValueError: the folder does not exist, holds no corruption, or holds one twice.
    """
    found, unknown = _grouped_folders(root, CORRUPTIONS)
    paths = {}
    for corruption, folder in found.items():
        for entry in _visible(folder):
            if entry.is_dir() and entry.name in map(str, SEVERITIES):
                if any(_visible(entry)):
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
    )


def imagenet_p(root: str) -> PerturbedVideos:
    """Looks for ImageNet-P in a folder.

    Raises:
        ValueError: the folder does not exist, holds no perturbation, or holds one twice.
    """
    found, unknown = _grouped_folders(root, IMAGENET_P + VALIDATION_PERTURBATIONS)
    return PerturbedVideos(
        perturbations=tuple(found),
        missing=tuple(name for name in IMAGENET_P if name not in found),
        unknown=tuple(unknown),
        _read=lambda name, class_names: _folder_videos(name, found[name], class_names),
    )


def _grouped_folders(root: str, known: Sequence[str]) -> tuple[dict[str, pathlib.Path], list[str]]:
    """The folders named in `known`, in its order, inside `root` or its groups; and other paths."""
    found, unknown = {}, []
    top = list(_visible(_existing(root)))
    groups = [entry for entry in top if entry.is_dir() and entry.name in GROUPS]
    inside = [entry for group in groups for entry in _visible(group)]
    for entry in [entry for entry in top if entry not in groups] + inside:
        if not entry.is_dir() or entry.name not in known:
            unknown.append(str(entry))
        elif entry.name in found:
            raise ValueError(f"{entry.name} is there twice: {found[entry.name]} and {entry}.")
        else:
            found[entry.name] = entry
    if not found:
        raise ValueError(f"{root} has none of the folders {', '.join(known)}.")
    return {name: found[name] for name in dict.fromkeys(known) if name in found}, unknown


def _folder_videos(name: str, folder: pathlib.Path, class_names: Sequence[str] | None) -> Videos:
    """The videos FOLDER/WNID/*.mp4, by rising path."""
    paths = sorted(folder.glob("*/*.mp4"))
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
    found, unknown = _arrays(root, CORRUPTIONS)
    file = _existing(root) / _LABELS
    if not file.is_file():
        raise ValueError(f"{file} is missing: it holds the classes of the images.")
    labels = _open_array(file, 1, "labels [5 N]")
    if labels.dtype.kind not in "iu" or not len(labels) or len(labels) % len(SEVERITIES):
        raise ValueError(f"{file} must hold integers [5 N], not {labels.dtype} {labels.shape}.")
    blocks = labels.reshape(len(SEVERITIES), -1)
    if (blocks != blocks[0]).any() or not 0 <= labels.min() <= labels.max() < len(CIFAR10_CLASSES):
        raise ValueError(f"{file} must hold the same classes 0..9 for each of five severities.")

    def read(corruption: str, severity: int, class_names: Sequence[str]) -> Examples:
        images = _open_array(found[corruption], 4, "images [5 N, H, W, 3]")
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
    )


def cifar10_p(root: str) -> PerturbedVideos:
    """Looks for CIFAR-10-P, or arrays of its layout, in a folder.

    Raises:
        ValueError: the folder does not exist or has no array of a perturbation.
    """
    found, unknown = _arrays(root, CIFAR10_P + VALIDATION_PERTURBATIONS)

    def read(name: str, class_names: Sequence[str] | None) -> Videos:
        videos = _open_array(found[name], 5, "videos [N, frames, H, W, 3]")
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
    )


def _arrays(root: str, known: Sequence[str]) -> tuple[dict[str, pathlib.Path], list[str]]:
    """The files KNOWN.npy in `root`, in the order of `known`, and the other paths there."""
    entries = {entry.name: entry for entry in _visible(_existing(root))}
    found = {
        name: entries.pop(f"{name}.npy")
        for name in dict.fromkeys(known)
        if f"{name}.npy" in entries
    }
    if not found:
        raise ValueError(f"{root} has no file NAME.npy with NAME one of {', '.join(known)}.")
    return found, [str(entry) for name, entry in entries.items() if name != _LABELS]


def _open_array(path: pathlib.Path, ndim: int, what: str) -> np.ndarray:
    """Maps an array file into memory; ValueError naming it if it is none or has other axes."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a readable array file ({error}).") from error
    if array.ndim != ndim:
        raise ValueError(f"{path} must hold {what}, not {list(array.shape)}.")
    return array


# What both share.


def _existing(root: str) -> pathlib.Path:
    path = pathlib.Path(root).expanduser()
    if not path.is_dir():
        raise ValueError(f"There is no folder {path}.")
    return path


def _visible(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """What lies in a folder, by rising name; hidden entries left out."""
    return (entry for entry in sorted(folder.iterdir()) if not entry.name.startswith("."))
