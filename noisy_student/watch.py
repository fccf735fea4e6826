"""What a training shows while it runs: a progress bar, a log of lines, TensorBoard."""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm


class Watch:
    """Progress of one training: bar, ``metrics.jsonl``, TensorBoard, and the stop on a bad loss."""

    def __init__(
        self, output_dir: Path, name: str, step: int, last_step: int, images_per_step: int
    ):
        """Opens the logs, dropping what an interrupted run wrote after its last checkpoint."""
        self._name, self._last_step, self._images = name, last_step, images_per_step
        self._jsonl = output_dir / "metrics.jsonl"
        lines = self._jsonl.read_text().splitlines() if self._jsonl.exists() else []
        history = [json.loads(line) for line in lines if line.endswith("}")]
        self.history = [row for row in history if row["step"] <= step]
        self._jsonl.write_text("".join(json.dumps(row) + "\n" for row in self.history))
        self._before = self.history[-1]["seconds"] if self.history else 0.0
        self._start = self._last_time = self._last_print = time.perf_counter()
        self._parts: list[dict[str, tf.Tensor]] = []
        self._board = tf.summary.create_file_writer(str(output_dir / "tensorboard"))
        self._bar = tqdm(
            desc=name, total=last_step, initial=step, unit="step", disable=None, dynamic_ncols=True
        )

    @property
    def seconds(self) -> float:
        """Spent on this training, in all its runs."""
        return self._before + time.perf_counter() - self._start

    def add(self, parts: dict[str, tf.Tensor]) -> None:
        """Counts one step."""
        self._parts.append(parts)
        self._bar.update()

    def write(self, step: int, learning_rate: tf.Tensor, accuracy: float | None) -> bool:
        """Logs the means since the last call; True where ``accuracy`` is the best so far.

        Raises:
            ValueError: where a loss since the last call is not finite.
        """
        row: dict[str, Any] = {"step": step, "learning_rate": float(learning_rate)}
        for name in self._parts[0]:
            row[name] = float(np.mean([parts[name].numpy() for parts in self._parts]))
        if not math.isfinite(row["loss"]):
            self.close()
            raise ValueError(
                f"{self._name}: the loss became {row['loss']} in steps "
                f"{step - len(self._parts) + 1} to {step}, at a learning rate of "
                f"{row['learning_rate']:.3g}. A smaller --learning_rate, a longer warm-up or "
                "--precision=float32 usually helps."
            )
        now = time.perf_counter()
        row["images_per_second"] = len(self._parts) * self._images / (now - self._last_time)
        row["seconds"] = self.seconds
        best = max((r.get("validation_top1", -1.0) for r in self.history), default=-1.0)
        if accuracy is not None:
            row["validation_top1"] = accuracy
        self._parts, self._last_time = [], now
        self.history.append(row)
        with self._jsonl.open("a") as file:
            file.write(json.dumps(row) + "\n")
        with self._board.as_default(step=step):
            for name, value in row.items():
                if name != "step":
                    tf.summary.scalar(name, value)
        self._show(row)
        return accuracy is not None and accuracy > best

    def _show(self, row: dict[str, Any]) -> None:
        text = f"loss {row['loss']:.3f}, {row['images_per_second']:.0f} images/s"
        if "validation_top1" in row:
            text += f", validation {row['validation_top1']:.1f}%"
        self._bar.set_postfix_str(text)
        now = time.perf_counter()
        last = row["step"] == self._last_step
        if self._bar.disable and (last or now - self._last_print > 15):
            self._last_print = now
            left = (self._last_step - row["step"]) * self._images / row["images_per_second"]
            note = f"{row['seconds']:.0f} s in all" if last else f"{left:.0f} s left"
            step = f"{row['step']}/{self._last_step}"
            print(f"{self._name}: step {step}, {text}, {note}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Closes bar and logs."""
        self._bar.close()
        self._board.close()
