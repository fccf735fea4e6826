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
        self,
        output_dir: Path,
        name: str,
        step: int,
        last_step: int,
        images_per_step: int,
        parts: tuple[str, ...],
        profile_steps: tuple[int, int] | None = None,
        show: bool = True,
    ):
        """Opens the logs, dropping what an interrupted run wrote after its last checkpoint.

        Args:
            output_dir: of the training.
            name: for people.
            step: finished steps.
            last_step: the one to end at.
            images_per_step: of the global batch.
            parts: names of what `add` gets of a step; the first is "loss".
            profile_steps: the first step to profile, and the one to stop before.
            show: whether to show the progress.
        """
        self._part_names = parts
        self._profile_dir = str(output_dir / "tensorboard")
        self._profile_steps, self._profiling = profile_steps, False
        self._name, self._last_step, self._images = name, last_step, images_per_step
        self._jsonl = output_dir / "metrics.jsonl"
        lines = self._jsonl.read_text().splitlines() if self._jsonl.exists() else []
        history = [json.loads(line) for line in lines if line.endswith("}")]
        self.history = [row for row in history if row["step"] <= step]
        self._jsonl.write_text("".join(json.dumps(row) + "\n" for row in self.history))
        self._before = self.history[-1]["seconds"] if self.history else 0.0
        self._start = self._last_time = self._last_print = time.perf_counter()
        self._tables: list[tf.Tensor] = []
        self._board = tf.summary.create_file_writer(str(output_dir / "tensorboard"))
        self._bar = tqdm(
            desc=name,
            total=last_step,
            initial=step,
            unit="step",
            dynamic_ncols=True,
            disable=None if show else True,
        )
        self._shown = show

    @property
    def seconds(self) -> float:
        """Spent on this training, in all its runs."""
        return self._before + time.perf_counter() - self._start

    def before(self, step: int) -> None:
        """Starts or stops the profiler, where ``step`` is the number of the next step."""
        if self._profile_steps is None:
            return
        first, end = self._profile_steps
        if not self._profiling and first <= step < end:
            tf.profiler.experimental.start(self._profile_dir)
            self._profiling = True
        elif self._profiling and step >= end:
            self._stop_profiling()

    def add(self, table: tf.Tensor) -> None:
        """Counts steps; float32 [steps, parts]."""
        self._tables.append(table)
        self._bar.update(table.shape[0])

    def write(self, step: int, learning_rate: tf.Tensor, accuracy: float | None) -> bool:
        """Logs the means since the last call; True where ``accuracy`` is the best so far.

        Raises:
            ValueError: where a loss since the last call is not finite.
        """
        row: dict[str, Any] = {"step": step, "learning_rate": float(learning_rate)}
        table = np.concatenate([table.numpy() for table in self._tables])
        row |= zip(self._part_names, table.mean(axis=0).tolist(), strict=True)
        if not math.isfinite(row["loss"]):
            self.close()
            raise ValueError(
                f"{self._name}: the loss became {row['loss']} in steps "
                f"{step - len(table) + 1} to {step}, at a learning rate of "
                f"{row['learning_rate']:.3g}. A smaller --learning_rate, a longer warm-up or "
                "--precision=float32 usually helps."
            )
        now = time.perf_counter()
        row["images_per_second"] = len(table) * self._images / (now - self._last_time)
        row["seconds"] = self.seconds
        best = max((r.get("validation_top1", -1.0) for r in self.history), default=-1.0)
        if accuracy is not None:
            row["validation_top1"] = accuracy
        self._tables, self._last_time = [], now
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
        text = _in_words(row)
        self._bar.set_postfix_str(text)
        now = time.perf_counter()
        last = row["step"] == self._last_step
        if self._shown and self._bar.disable and (last or now - self._last_print > 15):
            self._last_print = now
            left = (self._last_step - row["step"]) * self._images / row["images_per_second"]
            note = f"{row['seconds']:.0f} s in all" if last else f"{left:.0f} s left"
            step = f"{row['step']}/{self._last_step}"
            print(f"{self._name}: step {step}, {text}, {note}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Closes bar and logs."""
        if self._profiling:
            self._stop_profiling()
        self._bar.close()
        self._board.close()

    def _stop_profiling(self) -> None:
        tf.profiler.experimental.stop()
        self._profiling = False


def _in_words(row: dict[str, Any]) -> str:
    """A log line as the progress shows it: of the unlabeled images after the labeled ones."""
    kinds = [kind for kind in ("labeled", "unlabeled") if f"{kind}_accuracy" in row]

    def both(name: str, form: str, scale: float = 1.0) -> str:
        return " + ".join(format(scale * row[f"{kind}_{name}"], form) for kind in kinds)

    text = f"loss {row['loss']:.3f} ({both('loss', '.3f')}), rate {row['learning_rate']:.2g}"
    text += f", right {both('accuracy', '.0f', 100)}%, sure {both('confidence', '.0f', 100)}%"
    text += f", {row['images_per_second']:.0f} images/s"
    if "validation_top1" in row:
        text += f", validation {row['validation_top1']:.1f}%"
    return text
