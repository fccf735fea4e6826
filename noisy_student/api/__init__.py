"""The method from Python, as `noisy_student.fit` and the other public names.

Everything is what the commands do, without flags, exits or settings that stay: errors are
ValueErrors, Ctrl-C is a KeyboardInterrupt, and files and results are those of the command.
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
