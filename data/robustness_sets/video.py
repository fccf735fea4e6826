"""Decoding of video files with PyAV, the Python binding of FFmpeg."""

import os

import numpy as np


def decode_video(path: str | os.PathLike[str]) -> np.ndarray:
    """Decodes every frame of a video file.

    Args:
        path: a file that FFmpeg reads, such as H.264 in .mp4.

    Returns:
        RGB uint8 [frames, H, W, 3] in display order.

    Raises:
        ModuleNotFoundError: PyAV is not installed.
        ValueError: the file is damaged or has no frames.
    """
    try:
        import av  # optional: only stored videos need it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Reading {path} needs PyAV: pip install av") from error
    try:
        with av.open(os.fspath(path)) as container:
            decoded = container.decode(video=0) if container.streams.video else ()
            frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} is not a readable video ({type(error).__name__}).") from error
    if not frames:
        raise ValueError(f"{path} has no frames.")
    return np.stack(frames)
