"""The common corruptions of image classification benchmarks, on images of any size."""

from data.corruptions.registry import (
    CORRUPTIONS,
    MIN_SIDE,
    SEVERITIES,
    TEST_CORRUPTIONS,
    VALIDATION_CORRUPTIONS,
    contact_sheet,
    corrupt,
    nearest_native_size,
)
from data.corruptions.transform import transform

__all__ = [
    "CORRUPTIONS",
    "MIN_SIDE",
    "SEVERITIES",
    "TEST_CORRUPTIONS",
    "VALIDATION_CORRUPTIONS",
    "contact_sheet",
    "corrupt",
    "nearest_native_size",
    "transform",
]
