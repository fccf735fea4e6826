"""Progress of a training on a terminal, in a notebook, or as lines of a log file. It only shows."""

import math
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from noisy_student.runtime.notebook import is_notebook

_PAUSE_ON_TERMINAL = 0.1  # seconds between updates of the line
_PAUSE_IN_NOTEBOOK = 0.5  # each update is a message to the browser
_PAUSE_IN_FILE = 15.0  # seconds between lines
_TICK = 1.0  # seconds between updates of the time that compilation takes
COMPILING = "compiling the training step"


class Progress:
    """A line with step, metrics and remaining time.

    On a terminal and in a notebook the line is rewritten in place, on a terminal cut to the width.
    Elsewhere a line is printed every 15 seconds, and for the last step. Until the first step is
    taken, the time that its compilation takes is shown.
    """

    def __init__(
        self,
        name: str,
        step: int,
        last_step: int,
        images_per_step: int,
        show: bool = True,
        compiling: str = COMPILING,
    ):
        """Announces the first step, which is traced and compiled.

        Args:
            name: name of the training, such as "student 1".
            step: number of finished steps.
            last_step: number of steps at the end.
            images_per_step: images of a step, on all replicas.
            show: False on hosts that leave showing to the chief.
            compiling: text until the first step is taken.
        """
        self._name, self._last_step, self._images = name, last_step, images_per_step
        self._shows, self._on_terminal = show, sys.stderr.isatty()
        self._in_notebook = is_notebook(sys.stderr)
        self._drawn, self._length = -math.inf, 0
        self._row: dict[str, Any] = {}
        self._draw(step, compiling)
        self._start, self._compiled = time.perf_counter(), threading.Event()
        ticker = threading.Thread(target=self._tick, args=(step, compiling), daemon=True)
        ticker.start()
        self._ticker = ticker

    def _tick(self, step: int, text: str) -> None:
        while not self._compiled.wait(_TICK):
            self._draw(step, f"{text}  {clock(time.perf_counter() - self._start)}")

    def _stop_ticking(self) -> None:
        self._compiled.set()
        self._ticker.join()

    def update(self, step: int) -> None:
        """Shows the number of finished steps."""
        if not self._compiled.is_set():
            self._stop_ticking()
        if step < self._last_step:
            self._draw(step, self._text(step))

    def log(self, row: Mapping[str, object]) -> None:
        """Shows new metrics, a row of ``metrics.jsonl``; the last validation stays visible."""
        self._row.update(row)
        step = self._row["step"]
        self._draw(step, self._text(step), force=step == self._last_step)

    def close(self) -> None:
        """Leaves the line on the terminal or in the notebook."""
        self._stop_ticking()
        if self._shows and (self._on_terminal or self._in_notebook):
            print(file=sys.stderr, flush=True)

    def _text(self, step: int) -> str:
        if not self._row:
            return ""
        steps_left, rate = self._last_step - step, self._row.get("images_per_second")
        if not steps_left:
            return describe(self._row, f"time {clock(self._row['seconds'])}")
        return describe(self._row, f"eta {clock(steps_left * self._images / rate)}" if rate else "")

    def _draw(self, step: int, text: str, force: bool = False) -> None:
        pause = _PAUSE_IN_NOTEBOOK if self._in_notebook else _PAUSE_IN_FILE
        pause = _PAUSE_ON_TERMINAL if self._on_terminal else pause
        if not self._shows or not (force or time.perf_counter() - self._drawn > pause):
            return
        self._drawn = time.perf_counter()
        line = f"{self._name}  step {step}/{self._last_step}  {text}".rstrip()
        if self._on_terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{line[:width]}\x1b[K", end="", file=sys.stderr, flush=True)
        elif self._in_notebook:  # where no escape sequence erases a longer line
            print(f"\r{line:{self._length}}", end="", file=sys.stderr, flush=True)
            self._length = len(line)
        else:
            print(line, file=sys.stderr, flush=True)


def describe(row: Mapping[str, Any], time_text: str = "") -> str:
    """Returns a row of ``metrics.jsonl`` as text; 59.1/60.2% is of labeled / unlabeled images.

    Args:
        row: metrics by name.
        time_text: remaining or total time, shown after the rate.
    """
    kinds = [kind for kind in ("labeled", "unlabeled") if f"{kind}_accuracy" in row]

    def percent(name: str, digits: int) -> str:
        return "/".join(f"{100 * row[f'{kind}_{name}']:.{digits}f}" for kind in kinds) + "%"

    losses = ", ".join(f"{kind} {row[f'{kind}_loss']:.3g}" for kind in kinds)
    rate, accuracy = row.get("images_per_second"), row.get("validation_top1")
    parts = [
        f"loss {row['loss']:.3g} ({losses})",
        f"acc {percent('accuracy', 1)}",
        f"conf {percent('confidence', 0)}",
        f"lr {row['learning_rate']:.1e}",
        f"{rate:.0f} img/s" if rate else "",
        time_text,
        "" if accuracy is None else f"val {accuracy:.1f}%",
    ]
    return "  ".join(filter(None, parts))


def clock(seconds: float) -> str:
    """Returns a duration as 1:28 (minutes, seconds) or 2:01:28 (hours)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
