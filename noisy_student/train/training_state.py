"""Checkpoints of a half-finished training."""

import os
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging


class TrainingState:
    """Checkpoints of everything that changes during training, in ``<directory>/checkpoints``.

    Attributes:
        directory: directory that the training writes to.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        write_to: str | os.PathLike[str] | None = None,
        **trackables: Any,
    ):
        """Opens the checkpoints; nothing is read or written yet.

        Args:
            directory: directory of the stage, to restore from.
            write_to: directory to save to; None: `directory`. Hosts other than the chief need one:
                all hosts must take part in saving variables that they share.
            **trackables: name -> Keras model, optimizer or tf.Variable.
        """
        self._source = Path(directory) / "checkpoints"
        self.directory = Path(write_to or directory)
        self._checkpoint = tf.train.Checkpoint(**trackables)
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(self.directory / "checkpoints"), max_to_keep=2
        )

    def save(self, step: int) -> None:
        """Saves the state after `step` steps; the last two checkpoints are kept."""
        self._manager.save(checkpoint_number=step, check_interval=False)

    def restore(self) -> str | None:
        """Restores the newest readable checkpoint and returns its path; None if there is none.

        Warns of damaged checkpoints and tries the one before.

        Raises:
            ValueError: none of the checkpoints can be read.
        """
        state = tf.train.get_checkpoint_state(str(self._source))
        paths = list(state.all_model_checkpoint_paths) if state else []
        for path in reversed(paths):
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
            except (tf.errors.OpError, AssertionError, IndexError, ValueError) as error:
                logging.warning(
                    "checkpoint %s cannot be read (%s): trying the one before.", path, error
                )
                continue
            return path
        if paths:
            raise ValueError(
                f"none of the checkpoints in {self._source} can be read: delete "
                f"{self._source.parent} to start over."
            )
        return None

    def remove(self) -> None:
        """Deletes the checkpoints of a finished training."""
        shutil.rmtree(self._manager.directory, ignore_errors=True)
