"""Pictures as PNG files and as base64 text inside JSON."""

import base64

import numpy as np
import tensorflow as tf


def png_bytes(image: np.ndarray) -> bytes:
    """Encodes an image uint8 [H, W, 3] as PNG."""
    return tf.io.encode_png(image).numpy()


def png_base64(image: np.ndarray) -> str:
    """Encodes an image uint8 [H, W, 3] as PNG in base64."""
    return base64.b64encode(png_bytes(image)).decode()
