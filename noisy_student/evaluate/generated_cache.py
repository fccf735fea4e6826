"""Generated images on disk, shared by all models that are evaluated on them.

A file's name holds a hash of everything that its images depend on: what the caller passes, the
version of the generating code, and the versions of the packages that it uses. Pixels are
uncompressed. Each image has a checksum that is verified on reading.
"""

import hashlib
import math
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np

from noisy_student.artifacts.files import StrPath, atomic_write

# Versions of the generated pixels. Increment one whenever the code of its family gives other pixels
# for the same image; a test compares them with the golden digests.
VERSIONS = {"corruptions": 1, "perturbations": 2}

_FORMAT = b"3"  # of the files: uint8 [N, ...], then a CRC-32 of each of the N as uint32 [N]
_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scipy",
    "tensorflow",
    "torch-uncertainty-assets",
)


class GeneratedCache:
    """Images generated from N clean images, one file for each way to generate them.

    Several processes may share a directory: a file is either complete or absent.
    """

    def __init__(
        self,
        directory: StrPath | None,
        family: str,
        key: Iterable[bytes],
        count: int,
        shapes: Mapping[str, tuple[int, ...]],
    ):
        """Computes the file names and prints how much will be written at most.

        Args:
            directory: folder of the files; None: nothing is kept.
            family: key of `VERSIONS`.
            key: pieces that identify everything the pixels depend on, besides `shapes` and code.
            count: N.
            shapes: name of a file -> shape of what is generated from one image.

        Raises:
            ValueError: the missing files do not fit on the disk.
        """
        self._count, self._shapes = count, dict(shapes)
        self._paths: dict[str, Path] = {}
        if directory is None:
            return
        digest = hashlib.blake2b(_FORMAT, digest_size=16)
        digest.update(f"{family} {VERSIONS[family]}\n".encode())
        for package in _PACKAGES:
            digest.update(f"{package} {metadata.version(package)}\n".encode())
        for piece in key:
            digest.update(piece)
        for name, shape in shapes.items():
            own = digest.copy()
            own.update(f"{name} {shape}".encode())
            self._paths[name] = Path(directory).expanduser() / f"{name}-{own.hexdigest()}.npy"
        self._announce(directory)

    def batches(
        self, name: str, generate: Callable[[], Iterable[np.ndarray]], batch_size: int
    ) -> Iterator[np.ndarray]:
        """Yields batches uint8 [b, ...] from the file, or generates them and writes the file.

        The file appears once the last batch has been consumed.

        Args:
            name: key of `shapes`.
            generate: returns the batches.
            batch_size: images per batch when reading.

        Raises:
            ValueError: the file is damaged; the message names it.
        """
        if name not in self._paths:
            return iter(generate())
        path = self._paths[name]
        shape = (self._count, *self._shapes[name])
        if path.exists():
            return _read(path, shape, batch_size)
        return _write_through(path, shape, generate())

    def _announce(self, directory: StrPath) -> None:
        missing = {name for name, path in self._paths.items() if not path.exists()}
        if not missing:
            return
        needed = sum(self._count * math.prod(self._shapes[name]) for name in missing)
        place = Path(directory).expanduser().absolute()
        existing = next(path for path in (place, *place.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        message = (
            f"{len(missing)} of {len(self._paths)} files of {self._count} images are missing: "
            f"up to {needed / 1e9:.2f} GB to write, {free / 1e9:.2f} GB free"
        )
        if needed > free:
            raise ValueError(
                f"--corruption_cache={directory}: {message}. Select fewer --corruptions, "
                "--perturbations or --robustness_examples, or run without the cache."
            )
        print(f"cache {directory}: {message}", flush=True)


def _write_through(
    path: Path, shape: tuple[int, ...], batches: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """Yields the batches and writes them with their checksums."""
    checksums: list[int] = []
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for images in batches:
            if images.shape[1:] != shape[1:] or images.dtype != np.uint8:
                raise RuntimeError(f"{path}: got {images.dtype} {images.shape}, expected {shape}.")
            images = np.ascontiguousarray(images)
            file.write(images.data)
            checksums += map(zlib.crc32, images)
            yield images
        if len(checksums) != shape[0]:
            raise RuntimeError(f"{path}: got {len(checksums)} images, expected {shape[0]}.")
        np.save(file, np.array(checksums, "<u4"))


def _read(path: Path, shape: tuple[int, ...], batch_size: int) -> Iterator[np.ndarray]:
    """Yields the batches of a file after verifying their checksums."""
    damaged = f"{path} is damaged (%s). Delete it to generate it again."
    try:
        array = np.load(path, mmap_mode="r")
        with open(path, "rb") as file:
            file.seek(array.offset + array.nbytes)
            checksums = np.load(file)
    except (ValueError, EOFError) as error:
        raise ValueError(damaged % error) from error
    if array.shape != shape or checksums.shape != shape[:1]:
        raise ValueError(damaged % f"{array.shape} with {len(checksums)} checksums, not {shape}")
    for start in range(0, shape[0], batch_size):
        images = np.array(array[start : start + batch_size])
        for number, image in enumerate(images, start):
            if zlib.crc32(image) != checksums[number]:
                raise ValueError(damaged % f"checksum of image {number}")
        yield images
