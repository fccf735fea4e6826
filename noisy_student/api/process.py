"""Context managers for API calls: restore process settings, convert exits and errors."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from data import preprocess
from noisy_student.config import process
from noisy_student.runtime import preemption


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Restores the process settings that the code inside changes."""
    verify, policy = process.verify, keras.config.dtype_policy()
    floatx, data_format = keras.config.floatx(), keras.config.image_data_format()
    try:
        yield
    finally:
        process.verify = verify
        keras.config.set_dtype_policy(policy)
        keras.config.set_floatx(floatx)
        keras.config.set_image_data_format(data_format)


@contextlib.contextmanager
def errors_for_callers() -> Iterator[None]:
    """Raises KeyboardInterrupt instead of exiting on Ctrl-C, and ValueErrors for damaged images."""
    try:
        yield
    except SystemExit as stopped:
        if stopped.code == preemption.INTERRUPTED:
            raise KeyboardInterrupt from None
        raise
    except tf.errors.InvalidArgumentError as error:
        raise preprocess.undecodable(error) from error
