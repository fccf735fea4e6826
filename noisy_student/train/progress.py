"""Progress display of a training: on a terminal, in a notebook, or as lines of a log file."""

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
_SILENCE = 30.0  # seconds without a step, after which a line says that one is running
COMPILING = "compiling the training step"


class Progress:
    """A line with step, metrics and remaining time.

    On a terminal and in a notebook, the line is rewritten in place; on a terminal, its least useful
    parts are dropped until it fits. Otherwise a line is printed every 15 seconds. Lines with a
    validation accuracy and the line of the last step are always kept. Until the first step is
    finished, the elapsed compilation time is shown.
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
            show: False on hosts other than the chief.
            compiling: text to show until the first step is finished.
        """
        self._name, self._last_step, self._images = name, last_step, images_per_step
        self._shows, self._on_terminal = show, sys.stderr.isatty()
        self._in_notebook = is_notebook(sys.stderr)
        self._drawn, self._length, self._is_kept = -math.inf, 0, True
        self._lock = threading.Lock()  # of what is drawn, by the loop and by the thread
        self._row: dict[str, Any] = {}
        self._step, self._timed_from = step, (step, math.nan)
        self._compiling: str | None = compiling
        self._draw(compiling)
        self._start = self._since = time.perf_counter()
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def _tick(self) -> None:
        """Shows the elapsed time while no step finishes."""
        while not self._closed.wait(_TICK):
            now = time.perf_counter()
            if self._compiling:
                self._draw(f"{self._compiling}  {clock(now - self._start)}")
            elif now - max(self._drawn, self._since) > _SILENCE:
                self._draw(f"last step {clock(now - self._since)} ago", force=True)

    def update(self, step: int) -> None:
        """Shows the number of finished steps."""
        self._step, self._since = step, time.perf_counter()
        if self._compiling:
            self._compiling, self._timed_from = None, (step, self._since)
        if step < self._last_step:
            self._draw()

    def log(self, row: Mapping[str, object]) -> None:
        """Shows new metrics, a row of ``metrics.jsonl``; the last validation stays visible."""
        self._row.update(row)
        self._step, self._since = self._row["step"], time.perf_counter()
        if "validation_top1" in row or self._step == self._last_step:
            self._draw(force=True, keep=True)
        else:
            self._draw()

    def close(self) -> None:
        """Leaves the line on the terminal or in the notebook."""
        self._closed.set()
        self._ticker.join()
        if self._shows and not self._is_kept:
            print(file=sys.stderr, flush=True)

    def _text(self, width: int | None) -> str:
        steps_left = self._last_step - self._step
        if not self._row:  # as many steps as --log_every have not been taken yet
            first, start = self._timed_from
            steps, seconds = self._step - first, self._since - start
            if not steps:
                return ""
            eta = clock(steps_left * seconds / steps)
            return f"{steps * self._images / seconds:.0f} img/s  eta {eta}"
        rate, time_text = self._row.get("images_per_second"), ""
        if not steps_left:
            time_text = f"time {clock(self._row['seconds'])}"
        elif rate:
            time_text = f"eta {clock(steps_left * self._images / rate)}"
        return describe(self._row, time_text, width)

    def _draw(self, text: str | None = None, force: bool = False, keep: bool = False) -> None:
        """Draws the line if it is due or forced; a line to keep is not rewritten."""
        pause = _PAUSE_IN_NOTEBOOK if self._in_notebook else _PAUSE_IN_FILE
        pause = _PAUSE_ON_TERMINAL if self._on_terminal else pause
        if not self._shows:
            return
        with self._lock:
            if not (force or time.perf_counter() - self._drawn > pause):
                return
            self._drawn = time.perf_counter()
            start = f"{self._name}  step {self._step}/{self._last_step}  "
            width = shutil.get_terminal_size().columns - 1 if self._on_terminal else None
            rest = self._text(width and width - len(start)) if text is None else text
            line = (start + rest).rstrip()
            end = "\n" if keep else ""
            if self._on_terminal:
                shown = f"\r{line[:width]}\x1b[K{end}"
            elif self._in_notebook:  # where no escape sequence erases a longer line
                shown = f"\r{line:{self._length}}{end}"
                self._length = 0 if keep else len(line)
            else:
                shown, keep = f"{line}\n", True
            self._is_kept = keep
            print(shown, end="", file=sys.stderr, flush=True)


def describe(row: Mapping[str, Any], time_text: str = "", width: int | None = None) -> str:
    """Returns a row of ``metrics.jsonl`` as text; 59.1/60.2% is of labeled / unlabeled images.

    Args:
        row: metrics by name.
        time_text: remaining or total time, shown after the rate.
        width: maximum number of characters; the least useful parts are dropped. None: no limit.
    """
    kinds = [kind for kind in ("labeled", "unlabeled") if f"{kind}_accuracy" in row]

    def percent(name: str, digits: int) -> str:
        return "/".join(f"{100 * row[f'{kind}_{name}']:.{digits}f}" for kind in kinds) + "%"

    losses = ", ".join(f"{kind} {row[f'{kind}_loss']:.3g}" for kind in kinds)
    rate, accuracy = row.get("images_per_second"), row.get("validation_top1")
    parts = [  # each with its rank: the last ones go first
        (0, f"loss {row['loss']:.3g}"),
        (7, f" ({losses})"),
        (1, f"  acc {percent('accuracy', 1)}"),
        (6, f"  conf {percent('confidence', 0)}"),
        (5, f"  lr {row['learning_rate']:.1e}"),
        (4, f"  {rate:.0f} img/s" if rate else ""),
        (3, f"  {time_text}" if time_text else ""),
        (2, "" if accuracy is None else f"  val {accuracy:.1f}%"),
    ]
    while width is not None and sum(len(text) for _, text in parts) > width and len(parts) > 1:
        parts.remove(max(parts))
    return "".join(text for _, text in parts)


def clock(seconds: float) -> str:
    """Returns a duration as 1:28 (minutes, seconds) or 2:01:28 (hours)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
