"""What a benchmark says of every single image: text in its JSON file, and paired differences.

Models that saw the same images are compared image by image, which tells their difference more
exactly than two averages do.
"""

import base64
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Record = Mapping[str, Any]


def record(ids: Iterable[str], counts: np.ndarray, of: int = 1) -> dict[str, Any]:
    """JSON-like and compact: at most two bits for an image that is right or wrong.

    Args:
        ids: of the N images, in their order.
        counts: int or bool [N]: how often the model erred, or changed its answer.
        of: how often it could have, at most 255.

    Raises:
        ValueError: a count is not in 0..of, or `of` does not fit.
    """
    counts = np.asarray(counts)
    if not 1 <= of <= 255 or counts.min(initial=0) < 0 or counts.max(initial=0) > of:
        raise ValueError(f"counts must be in 0..{of}, and {of} in 1..255.")
    digest = hashlib.blake2b("\0".join(ids).encode(), digest_size=8).hexdigest()
    packed = base64.b64encode(zlib.compress(counts.astype(np.uint8).tobytes(), 9)).decode()
    return {"images": digest, "of": of, "counts": packed}


def shares(record: Record) -> np.ndarray:
    """Counts divided by how often they could have been: float64 [N], 0..1."""
    counts = np.frombuffer(zlib.decompress(base64.b64decode(record["counts"])), np.uint8)
    return counts / record["of"]


def count(record: Record) -> int:
    """The number of images, N."""
    return len(shares(record))


def differences(
    before: Mapping[str, Record], after: Mapping[str, Record], weights: Mapping[str, float]
) -> np.ndarray | None:
    """By how much the second model errs less on every image, averaged over settings.

    Args:
        before: setting -> record of the first model.
        after: the same of the second one.
        weights: setting -> its weight in the average.

    Returns:
        float64 [N], -1..1, or None where the images are not the same, or not recorded.
    """
    total: np.ndarray | None = None
    for setting, weight in weights.items():
        pair = [records.get(setting) for records in (before, after)]
        if None in pair or pair[0]["images"] != pair[1]["images"]:
            return None
        first, second = map(shares, pair)
        if total is not None and len(first) != len(total):
            return None
        total = weight * (first - second) + (0 if total is None else total)
    return total


def smallest_step(records: Mapping[str, Record], weights: Mapping[str, float]) -> float:
    """By how much one answer more or less moves an image's average, in the heaviest setting."""
    return max(weight / records[setting]["of"] for setting, weight in weights.items())
