"""Decoding of video files with PyAV, the Python binding of FFmpeg."""

import os

import numpy as np

from data.optional import require


def decode_video(path: str | os.PathLike[str]) -> np.ndarray:
    """Decodes every frame of a video file.

    Args:
        path: a file that FFmpeg reads, such as H.264 in .mp4.

    Returns:
        RGB uint8 [frames, H, W, 3] in display order.

    Raises:
        ValueError: PyAV is not installed, or the file is damaged or has no frames.
    """
    av = require("av")
    try:
        with av.open(os.fspath(path)) as container:
            decoded = container.decode(video=0) if container.streams.video else ()
            frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} is not a readable video ({type(error).__name__}).") from error
    if not frames:
        raise ValueError(f"{path} has no frames.")
    return np.stack(frames)
