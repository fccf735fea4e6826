"""Metrics of a training: history, ``metrics.jsonl``, TensorBoard, and the check for divergence."""

import json
import math
import time
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow as tf

from noisy_student.artifacts import shapes
from noisy_student.artifacts.files import damaged
from noisy_student.artifacts.json_files import LogRow


class MetricsLog:
    """Means of the metrics between log lines, and everything logged so far.

    Attributes:
        history: rows of ``metrics.jsonl``, including those of earlier runs of this training.
    """

    def __init__(
        self, name: str, directory: Path, names: tuple[str, ...], images_per_step: int, step: int
    ):
        """Opens the log; drops rows that an interrupted run wrote after its last checkpoint.

        Writes ``metrics.jsonl`` and ``tensorboard/`` to `directory`. `names` are the metrics of a
        step, the first of which is "loss"; `step` is the number of finished steps.
        """
        self._name, self._names, self._images = name, names, images_per_step
        self._file = directory / "metrics.jsonl"
        lines = self._file.read_text(errors="replace").splitlines() if self._file.exists() else []
        rows = [self._row(number, line) for number, line in enumerate(lines, 1) if line[-1:] == "}"]
        self.history = [row for row in rows if row["step"] <= step]
        self._file.write_text("".join(json.dumps(row) + "\n" for row in self.history))
        self._board = tf.summary.create_file_writer(str(directory / "tensorboard"))
        self._tables: list[tf.Tensor] = []
        self._seconds_before = self.history[-1]["seconds"] if self.history else 0.0
        self._start = self._timed_from = time.perf_counter()
        self._timed_steps = 0
        self._is_compiled = False
        self._unlogged_compile_seconds = 0.0

    @property
    def seconds(self) -> float:
        """Total time of this training in seconds, over all its runs."""
        return self._seconds_before + time.perf_counter() - self._start

    @property
    def compile_seconds(self) -> float:
        """Part of `seconds` until the first step of each run was compiled and run."""
        logged = sum(row.get("compile_seconds", 0.0) for row in self.history)
        return logged + self._unlogged_compile_seconds

    def add(self, metrics: tf.Tensor) -> None:
        """Adds the metrics of one or more steps, float32 [steps, metrics].

        The first call, which traced and compiled the step, is excluded from the rate.
        """
        self._tables.append(metrics)
        self._timed_steps += len(metrics)
        if not self._is_compiled:
            metrics.numpy()  # waits for the devices
            self._is_compiled = True
            self._unlogged_compile_seconds = time.perf_counter() - self._start
            self.restart_clock()

    def restart_clock(self) -> None:
        """Excludes the time since the last step from the rate (validation, saving)."""
        self._timed_from, self._timed_steps = time.perf_counter(), 0

    def means(self, step: int, learning_rate: tf.Tensor) -> LogRow:
        """Returns the means since the last row, as a row for `write`.

        Raises:
            ValueError: the loss is not finite.
        """
        table = np.concatenate([table.numpy() for table in self._tables])
        seconds = time.perf_counter() - self._timed_from
        means = dict(zip(self._names, table.mean(axis=0).tolist(), strict=True))
        row = cast(LogRow, {"step": step, "learning_rate": float(learning_rate), **means})
        if not math.isfinite(row["loss"]):
            raise ValueError(
                f"{self._name}: the loss became {row['loss']} in steps {step - len(table) + 1} to "
                f"{step}, at a learning rate of {row['learning_rate']:.3g}. A smaller "
                "--learning_rate, a longer warm-up or --precision=float32 usually helps."
            )
        if self._timed_steps:
            row["images_per_second"] = self._timed_steps * self._images / seconds
        if self._unlogged_compile_seconds:
            row["compile_seconds"] = self._unlogged_compile_seconds
            self._unlogged_compile_seconds = 0.0
        self._tables = []
        return row

    def write(self, row: LogRow) -> bool:
        """Logs a row; returns True if its validation accuracy is the best so far."""
        row["seconds"] = self.seconds
        accuracy = row.get("validation_top1", -1.0)
        is_best = accuracy > max(
            (r.get("validation_top1", -1.0) for r in self.history), default=-1.0
        )
        self.history.append(row)
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        with self._board.as_default(step=row["step"]):
            for name, value in row.items():
                if name != "step":
                    tf.summary.scalar(name, value)
        return is_best

    def _row(self, number: int, line: str) -> LogRow:
        """Reads a line; raises a ValueError with its number if it is damaged."""
        try:
            row = json.loads(line)
            problem = shapes.problem(row, LogRow)
        except ValueError as error:
            problem = str(error)
        if problem:
            raise damaged(self._file, f"is damaged in line {number} ({problem})")
        return row

    def close(self) -> None:
        """Closes the TensorBoard file."""
        self._board.close()
