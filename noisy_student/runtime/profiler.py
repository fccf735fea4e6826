"""Profiles of training steps, for TensorBoard."""

from pathlib import Path

import tensorflow as tf


class Profiler:
    """Profiles a range of steps."""

    def __init__(self, directory: Path, steps: tuple[int, int] | None):
        """Plans a profile in a TensorBoard directory.

        `steps` are the first step to profile, and the one to stop before; None: no profile.
        """
        self._directory = str(directory)
        self._steps = range(*steps) if steps else range(0)
        self._is_running = False

    def before(self, step: int) -> None:
        """Starts or ends the profile before step number `step`."""
        if step not in self._steps:
            self.close()
        elif not self._is_running:
            tf.profiler.experimental.start(self._directory)
            self._is_running = True

    def close(self) -> None:
        """Ends a profile that is still running."""
        if self._is_running:
            tf.profiler.experimental.stop()
            self._is_running = False
