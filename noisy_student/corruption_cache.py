"""Corrupted images on disk, made once for all models that are to see them.

The name of a file has a hash of everything its images depend on: the clean images, their seeds, the
corruption, its severity and constants, and the code and packages that make them.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import data
from noisy_student import manifest

_PACKAGES = ("numpy", "opencv-python-headless", "pillow", "scipy", "torch-uncertainty-assets")


class CorruptionCache:
    """Corrupted versions of a set of clean images: files uint8 [N, S, S, 3], uncompressed.

    Several processes may share a directory: a file is there as a whole or not at all.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        clean: Iterable[dict[str, Any]],
        drawn: np.ndarray,
        native_size: int,
    ):
        """Hashes the clean images.

        Args:
            directory: of the files.
            clean: batches as of `data.pipeline.evaluation_batches`.
            drawn: uint64 [N], the seeds.
            native_size: whose constants are used.
        """
        self._directory = Path(directory).expanduser()
        self._digest = hashlib.blake2b(_code(), digest_size=16)
        self._digest.update(np.asarray(drawn, "<u8").tobytes())
        for batch in clean:
            images = batch["images"].numpy()[batch["index"].numpy() >= 0]
            self._digest.update(f"{images.shape[1:]} {native_size}".encode() + images.tobytes())
        self._count = len(drawn)

    def batches(
        self,
        name: str,
        severity: int,
        make: Callable[[], Iterable[np.ndarray]],
        batch_size: int,
    ) -> Iterator[np.ndarray]:
        """Batches uint8 [b, S, S, 3] of one corruption: read if they are there, else made and kept.

        Args:
            name: of the corruption.
            severity: 1..5.
            make: gives the batches.
            batch_size: images at a time.
        """
        digest = self._digest.copy()
        digest.update(f"{name} {severity}".encode())
        path = self._directory / f"{name}-{severity}-{digest.hexdigest()}.npy"
        if not path.exists():
            yield from self._made(path, make())
            return
        images = np.load(path, mmap_mode="r")
        for start in range(0, len(images), batch_size):
            yield np.array(images[start : start + batch_size])

    def _made(self, path: Path, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Passes the batches on, and writes them."""
        with manifest.appearing(path) as temporary:
            stored: np.ndarray | None = None
            begin = 0
            for images in batches:
                if stored is None:
                    shape = (self._count, *images.shape[1:])
                    stored = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
                stored[begin : begin + len(images)] = images
                begin += len(images)
                yield images
            stored.flush()


def _code() -> bytes:
    """Of what decides how an image is corrupted: our source and the versions of the packages."""
    sources = sorted(Path(data.__file__).parent.glob("*.py"))
    versions = [f"{name} {metadata.version(name)}\n".encode() for name in _PACKAGES]
    return b"".join([*versions, *(path.read_bytes() for path in sources)])
