"""Images made of clean ones, kept on disk for all models that are to see them.

The name of a file has a hash of everything its images depend on: what the caller names, and the
code and packages that make them. Pixels are uncompressed, and checked when they are read.
"""

import hashlib
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np

import data
from noisy_student.artifacts.files import atomic_write

_FORMAT = b"2"  # of the files: uint8 [N, ...], then a CRC-32 of each of the N as uint32 [N]
_PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scipy",
    "tensorflow",
    "torch-uncertainty-assets",
)


class MadeCache:
    """What is made of each of N images, in one file for each way to make it.

    Several processes may share a directory: a file is there as a whole or not at all.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        key: Iterable[bytes],
        count: int,
        shapes: Mapping[str, tuple[int, ...]],
    ):
        """Says what is going to be written at most, before anything is.

        Args:
            directory: of the files.
            key: all that the pixels depend on besides the names and the code; the same parts in
                the same order every time.
            count: N.
            shapes: every name under which something is made -> shape of what is made of one image.

        Raises:
            ValueError: the files that are missing are larger than the space left on the disk.
        """
        self._directory = Path(directory).expanduser()
        digest = hashlib.blake2b(_FORMAT + _code(), digest_size=16)
        for part in key:
            digest.update(part)
        self._paths = {}
        for name, shape in shapes.items():
            own = digest.copy()
            own.update(f"{name} {shape}".encode())
            self._paths[name] = self._directory / f"{name}-{own.hexdigest()}.npy"
        self._count, self._shapes = count, dict(shapes)
        self._announce()

    def batches(
        self, name: str, make: Callable[[], Iterable[np.ndarray]], batch_size: int
    ) -> Iterator[np.ndarray]:
        """Batches uint8 [b, ...] of what has a name: read if they are there, else made and kept.

        They are kept when the last one has been taken.

        Args:
            name: one of those given at the beginning.
            make: gives the batches.
            batch_size: images at a time.

        Raises:
            ValueError: naming a file that is damaged.
        """
        path = self._paths[name]
        shape = (self._count, *self._shapes[name])
        return _read(path, shape, batch_size) if path.exists() else _kept(path, shape, make())

    def _announce(self) -> None:
        missing = {name for name, path in self._paths.items() if not path.exists()}
        if not missing:
            return
        needed = sum(self._count * math.prod(self._shapes[name]) for name in missing)
        place = self._directory.absolute()
        existing = next(path for path in (place, *place.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        told = (
            f"{len(missing)} of {len(self._paths)} files of {self._count} images are not there "
            f"yet: up to {needed / 1e9:.2f} GB to write, {free / 1e9:.2f} GB free"
        )
        if needed > free:
            raise ValueError(
                f"--corruption_cache={self._directory}: {told}. Name fewer corruptions or "
                "perturbations, or fewer images (--robustness_examples), or leave the cache out."
            )
        print(f"cache {self._directory}: {told}", flush=True)


def _kept(
    path: Path, shape: tuple[int, ...], batches: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """Passes the batches on, and writes them."""
    sums: list[int] = []
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for images in batches:
            if images.shape[1:] != shape[1:] or images.dtype != np.uint8:
                raise RuntimeError(f"{path}: made {images.dtype} {images.shape}, not {shape}.")
            images = np.ascontiguousarray(images)
            file.write(images)
            sums += map(zlib.crc32, images)
            yield images
        if len(sums) != shape[0]:
            raise RuntimeError(f"{path}: {len(sums)} images were made, not {shape[0]}.")
        np.save(file, np.array(sums, "<u4"))


def _read(path: Path, shape: tuple[int, ...], batch_size: int) -> Iterator[np.ndarray]:
    """Batches of a file, whose images are compared with their sums."""
    wrong = f"{path} is damaged (%s): delete it, and it is made anew."
    try:
        stored = np.load(path, mmap_mode="r")
        with open(path, "rb") as file:
            file.seek(stored.offset + stored.nbytes)
            sums = np.load(file)
    except (ValueError, EOFError) as error:
        raise ValueError(wrong % error) from error
    if stored.shape != shape or sums.shape != shape[:1]:
        raise ValueError(wrong % f"it has {len(sums)} sums of {stored.shape}, not {shape}")
    for start in range(0, shape[0], batch_size):
        images = np.array(stored[start : start + batch_size])
        for number, image in enumerate(images, start):
            if zlib.crc32(image) != sums[number]:
                raise ValueError(wrong % f"image {number}")
        yield images


def _code() -> bytes:
    """Of what decides how an image is made: our source and the versions of the packages."""
    here = Path(__file__).parent
    sources = sorted(Path(data.__file__).parent.glob("*.py"))
    sources += [here / f"{name}.py" for name in ("corrupted", "perturbed", "subject")]
    versions = [f"{name} {metadata.version(name)}\n".encode() for name in _PACKAGES]
    return b"".join([*versions, *(path.read_bytes() for path in sources)])
