"""Per-image results of a benchmark: a compact JSON record, and paired differences.

Models that saw the same images are compared image by image, which estimates their difference more
precisely than two averages do.
"""

import base64
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Record = Mapping[str, Any]


def record(ids: Iterable[str], counts: np.ndarray, of: int = 1) -> dict[str, Any]:
    """Packs a count per image into JSON: at most two bits for an image that is right or wrong.

    Args:
        ids: of the N images, in order.
        counts: int or bool [N]: how often the model erred, or changed its prediction.
        of: the largest possible count, 1..255.

    Raises:
        ValueError: a count or ``of`` is out of range.
    """
    counts = np.asarray(counts)
    if not 1 <= of <= 255 or counts.min(initial=0) < 0 or counts.max(initial=0) > of:
        raise ValueError(f"counts must be in 0..{of}, and {of} in 1..255.")
    digest = hashlib.blake2b("\0".join(ids).encode(), digest_size=8).hexdigest()
    packed = base64.b64encode(zlib.compress(counts.astype(np.uint8).tobytes(), 9)).decode()
    return {"images": digest, "of": of, "counts": packed}


def shares(record: Record) -> np.ndarray:
    """Returns counts divided by the largest possible count: float64 [N], 0..1."""
    counts = np.frombuffer(zlib.decompress(base64.b64decode(record["counts"])), np.uint8)
    return counts / record["of"]


def count(record: Record) -> int:
    """Returns the number of images."""
    return len(shares(record))


def differences(
    before: Mapping[str, Record], after: Mapping[str, Record], weights: Mapping[str, float]
) -> np.ndarray | None:
    """Returns by how much the second model errs less on every image, averaged over settings.

    Records and weights are by setting. Returns float64 [N], -1..1, or None if the images differ or
    were not recorded.
    """
    total: np.ndarray | None = None
    for setting, weight in weights.items():
        first, second = before.get(setting), after.get(setting)
        if first is None or second is None or first["images"] != second["images"]:
            return None
        gain = weight * (shares(first) - shares(second))
        if total is not None and len(gain) != len(total):
            return None
        total = gain if total is None else total + gain
    return total


def smallest_step(records: Mapping[str, Record], weights: Mapping[str, float]) -> float:
    """Returns how far one more answer moves an image's average, in the setting of most weight."""
    return max(weight / records[setting]["of"] for setting, weight in weights.items())
