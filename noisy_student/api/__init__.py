"""The Python API: `noisy_student.fit` and the other public names.

The functions do the same as the commands, with the same files and results, but raise exceptions
instead of exiting (ValueError for errors, KeyboardInterrupt for Ctrl-C) and restore the settings of
the process.
"""

import keras

from noisy_student.api.classifier import Classifier, Predictions, load
from noisy_student.api.images import Data
from noisy_student.api.run import Run, fit
from noisy_student.api.stages import PseudoLabels, evaluate, pseudo_label, select

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"Keras runs on {keras.backend.backend()} in this process: noisy_student needs TensorFlow. "
        "Import noisy_student before keras, or set KERAS_BACKEND=tensorflow."
    )

__all__ = [
    "Classifier",
    "Data",
    "Predictions",
    "PseudoLabels",
    "Run",
    "evaluate",
    "fit",
    "load",
    "pseudo_label",
    "select",
]
