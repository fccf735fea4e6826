"""GPUs of a process: their memory, and which of them its children see."""

import os
from collections.abc import Sequence

import tensorflow as tf

# TensorFlow reads it when a GPU is first used. `noisy_student._startup` sets it to true by default.
_GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"
_MIB_PER_GIB = 1024


def set_memory(memory: int | str) -> None:
    """Sets how much memory TensorFlow takes. Call it before any GPU is used.

    Args:
        memory: "grow": as much as needed, so that several processes can share a GPU; "all": all of
            it at once; a number: at most as many GiB of each GPU.
    """
    if memory == "all":
        os.environ[_GROWTH] = "false"
    if isinstance(memory, int):
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory * _MIB_PER_GIB)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.set_logical_device_configuration(gpu, [limit])


def visible() -> list[str]:
    """Returns the GPUs that TensorFlow sees, as CUDA_VISIBLE_DEVICES names them."""
    count = len(tf.config.list_physical_devices("GPU"))
    given = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return given[:count] if given[0] else [str(number) for number in range(count)]


def least_used(gpus: Sequence[str], used: Sequence[str]) -> str:
    """Returns the GPU with the fewest users, the first of several; `used` has one name per user."""
    return min(gpus, key=used.count)
