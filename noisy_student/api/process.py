"""Borders of a call: settings of the process come back, exits and TensorFlow's errors stay out."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from data import preprocess
from noisy_student.config import process
from noisy_student.runtime import preemption


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Gives the process back the settings that the code inside makes for itself."""
    verify, policy = process.verify, keras.config.dtype_policy()
    try:
        yield
    finally:
        process.verify = verify
        keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def errors_for_callers() -> Iterator[None]:
    """Raises KeyboardInterrupt in place of Ctrl-C's exit, and ValueErrors for damaged images."""
    try:
        yield
    except SystemExit as stopped:
        if stopped.code == preemption.INTERRUPTED:
            raise KeyboardInterrupt from None
        raise
    except tf.errors.InvalidArgumentError as error:
        raise preprocess.undecodable(error) from error
