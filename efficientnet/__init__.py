"""EfficientNet B0-B8, L0-L2 and Lite0-4 for TensorFlow, independent of data and training."""

from efficientnet.config import CONFIGS
from efficientnet.cpu_ops import portable_ops
from efficientnet.model import build_model, freeze_batch_norm, is_decayed
from efficientnet.noise import noise_scope, row_noise_scope

__all__ = [
    "CONFIGS",
    "build_model",
    "freeze_batch_norm",
    "is_decayed",
    "noise_scope",
    "portable_ops",
    "row_noise_scope",
]
