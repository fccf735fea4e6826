"""Perturbation sequences: videos in which an image changes a little from frame to frame."""

from data.perturbations.sequences import (
    NOISE,
    SEQUENCES,
    contact_sheet,
    nearest_native_size,
    num_frames,
    sequence,
)

__all__ = ["NOISE", "SEQUENCES", "contact_sheet", "nearest_native_size", "num_frames", "sequence"]
