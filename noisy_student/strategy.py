"""Devices: the tf.distribute strategy, number format and determinism of a process."""

import os
from dataclasses import dataclass

import keras
import tensorflow as tf


@dataclass(frozen=True)
class Devices:
    """Where training and prediction run.

    ``jit_compile`` is for functions that run on one replica as a whole.
    """

    strategy: tf.distribute.Strategy
    jit_compile: bool

    @property
    def num_replicas(self) -> int:
        """Replicas in sync."""
        return self.strategy.num_replicas_in_sync

    def describe(self) -> str:
        """For people: '2 CPU cores, 1 replica', '1 GPU, 1 replica'."""
        gpus = len(tf.config.list_logical_devices("GPU"))
        kind = f"{gpus} GPU" if gpus else f"{_num_cpus()} CPU cores"
        return f"{kind}, {self.num_replicas} replica{'s' if self.num_replicas > 1 else ''}"


def make(
    strategy: str = "auto",
    precision: str = "float32",
    jit_compile: str = "auto",
    intra_op_threads: int = 0,
) -> Devices:
    """Sets up the process; call once, before any model is built.

    Args:
        strategy: ``one``, ``mirrored`` (all GPUs, else all logical CPU devices) or ``auto``
            (mirrored where there are several GPUs).
        precision: ``float32`` or ``mixed_bfloat16`` (float32 variables, logits and losses).
        jit_compile: ``on``, ``off`` or ``auto`` (on with a GPU and one replica; on CPU XLA makes
            the whole step slower).
        intra_op_threads: CPU threads of a single operation; 0: all cores. Operations of very small
            models are over before a second thread is at work.
    """
    if tf.config.threading.get_intra_op_parallelism_threads() != intra_op_threads:
        tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
    tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(precision)
    gpus = tf.config.list_logical_devices("GPU")
    if strategy == "mirrored" or (strategy == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        scope = tf.distribute.MirroredStrategy([device.name for device in devices])
    else:
        scope = tf.distribute.get_strategy()
    one = scope.num_replicas_in_sync == 1
    return Devices(scope, jit_compile == "on" or (jit_compile == "auto" and bool(gpus) and one))


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0))
