"""XLA's disk cache of compiled programs, shared by trainings, runs and restarts.

TensorFlow reads its flags when it first looks for devices, so this module must not import it.
`runtime.stable_names` makes programs recognizable. Files are written atomically, so processes can
share a directory.
"""

import contextlib
import os
import re
import shutil
import time
import zlib
from importlib import metadata
from pathlib import Path

from absl import logging

MAX_BYTES = 5 * 2**30
DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU
DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # one of them exists where there is a GPU
_LEAST_FREE_BYTES = 2**30  # TensorFlow fails where it cannot write a program
_KEEP_SECONDS = 3600  # younger files may be in the making
_DIRECTORY = "--tf_xla_persistent_cache_directory"


def default_directory() -> Path:
    """Returns the user's default cache directory."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "noisy-student" / "xla"


def enable(directory: str | None) -> Path | None:
    """Makes XLA cache programs for a GPU. Call it before TensorFlow looks for devices.

    Args:
        directory: where to keep programs, in a folder for the version of TensorFlow, the GPU model
            and XLA_FLAGS, which TensorFlow does not compare; None: `default_directory`; "off":
            nowhere.

    Returns:
        The folder; None without a GPU, or if TF_XLA_FLAGS names one already.

    Raises:
        ValueError: the given directory cannot be used.
    """
    flags = os.environ.get("TF_XLA_FLAGS", "")
    has_gpu = any(map(os.path.exists, DEVICES))
    if directory == "off" or not has_gpu or _DIRECTORY in flags:
        return None
    root = Path(directory).expanduser() if directory else default_directory()
    folder = root.absolute() / _kind()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prune(folder)
        fits = shutil.disk_usage(folder).free > _LEAST_FREE_BYTES
        usable = fits and os.access(folder, os.W_OK) and not re.search(r"\s", str(folder))
    except OSError:
        usable = False
    if not usable:
        message = f"--compile_cache={root}: full, not writable, or a path with a space."
        if directory:
            raise ValueError(f"{message} Give another directory, or off.")
        logging.warning("%s Compiled programs are not cached.", message)
        return None
    ours = f"{_DIRECTORY}={folder} --tf_xla_persistent_cache_device_types=GPU,XLA_GPU_JIT"
    os.environ["TF_XLA_FLAGS"] = f"{flags} {ours}".strip()
    return folder


def _kind() -> str:
    """Returns a name for all programs that can be reused here."""
    models = set()
    for path in DRIVER.glob("*/information"):
        found = re.search(r"^Model:\s*(.+)$", path.read_text(errors="replace"), re.MULTILINE)
        models.add(found[1].strip() if found else "GPU")
    if len(models) > 1:
        models.add(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    parts = ["tensorflow", metadata.version("tensorflow"), "+".join(sorted(models)) or "GPU"]
    if flags := os.environ.get("XLA_FLAGS", "").split():
        parts.append(f"{zlib.crc32(' '.join(sorted(flags)).encode()):08x}")
    return re.sub(r"[^\w.+-]+", "-", "-".join(parts))


def prune(folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Deletes the oldest files down to `max_bytes` in total, but none younger than 1 hour."""
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # deleted by another process
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for modified, size, path in sorted(files):
        if total <= max_bytes or time.time() - modified < _KEEP_SECONDS:
            return
        path.unlink(missing_ok=True)
        total -= size
