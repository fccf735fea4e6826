"""The progress line on a terminal and in a log file."""

import os
import sys
import time
from pathlib import Path

import nbclient
import nbformat
import pytest

from noisy_student.train import progress as progress_module
from noisy_student.train.progress import Progress, clock, describe

ROOT = Path(__file__).resolve().parents[3]
ROW = {
    "step": 250,
    "learning_rate": 0.0027,
    "loss": 6.343,
    "labeled_loss": 1.578,
    "unlabeled_loss": 1.191,
    "labeled_accuracy": 0.591,
    "unlabeled_accuracy": 0.602,
    "labeled_confidence": 0.61,
    "unlabeled_confidence": 0.6,
    "images_per_second": 685.2,
    "seconds": 30.0,
}
LINE = (
    "loss 6.34 (labeled 1.58, unlabeled 1.19)  acc 59.1/60.2%  conf 61/60%  lr 2.7e-03  685 img/s"
)


def test_metrics_of_a_student_and_of_a_teacher():
    assert describe(ROW | {"validation_top1": 78.23}, "eta 1:28") == f"{LINE}  eta 1:28  val 78.2%"
    teacher = {name: value for name, value in ROW.items() if not name.startswith("unlabeled_acc")}
    assert "loss 6.34 (labeled 1.58)  acc 59.1%  conf 61%" in describe(teacher)


def test_without_a_rate_there_is_no_eta(capsys):
    progress = Progress("student 1", 0, 1000, 100)
    row = {name: value for name, value in ROW.items() if name != "images_per_second"}
    progress.log(row | {"step": 1000})
    progress.close()
    first, last = capsys.readouterr().err.splitlines()
    assert first == "student 1  step 0/1000  compiling the training step"
    assert "img/s" not in last and "eta" not in last and last.endswith("time 0:30")


def test_the_time_of_compilation_is_shown_until_the_first_step_is_taken(capsys, monkeypatch):
    monkeypatch.setattr(progress_module, "_TICK", 0.01)
    monkeypatch.setattr(progress_module, "_PAUSE_IN_FILE", 0.0)
    progress = Progress("student 1", 0, 1000, 100, compiling="compiling (once)")
    progress._start -= 83
    end = time.monotonic() + 60
    shown = ""
    while "1:2" not in shown and time.monotonic() < end:
        time.sleep(0.02)
        shown += capsys.readouterr().err
    assert "student 1  step 0/1000  compiling (once)  1:2" in shown
    progress.update(1)
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""  # the thread has ended
    progress.close()


def test_a_log_file_gets_a_line_every_few_seconds_and_the_last_one(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    progress = Progress("student 1", 0, 1000, 100)
    for step in range(1, 301):
        now[0] += 0.2
        progress.update(step)
        if step % 50 == 0 and step > 100:
            progress.log(ROW | {"step": step})
    progress.log(ROW | {"step": 1000, "validation_top1": 78.23})
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 6
    assert lines[1] == "student 1  step 76/1000  500 img/s  eta 3:05"  # 924 of 0.2 seconds
    assert lines[2].startswith("student 1  step 15")  # after 30 seconds
    assert lines[2].endswith(f"  {LINE}  eta 2:04")  # 849 steps of 100 images at 685 images/s
    assert lines[-1] == f"student 1  step 1000/1000  {LINE}  time 0:30  val 78.2%"


def test_a_log_file_gets_a_line_for_each_validation(capsys, monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    progress = Progress("student 1", 0, 1000, 100)
    progress.update(250)
    progress.log(ROW | {"validation_top1": 78.23})
    progress.log(ROW | {"step": 300})
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == [f"student 1  step 250/1000  {LINE}  eta 1:49  val 78.2%"]


def test_a_log_file_is_never_silent_for_long(capsys, monkeypatch):
    """A step, validation or checkpoint that takes long is shown while it runs."""
    monkeypatch.setattr(progress_module, "_TICK", 0.01)
    monkeypatch.setattr(progress_module, "_SILENCE", 0.05)
    progress = Progress("student 1", 0, 1000, 100)
    progress.update(3)
    progress._since -= 83
    end, shown = time.monotonic() + 60, ""
    while "last step" not in shown and time.monotonic() < end:
        time.sleep(0.02)
        shown += capsys.readouterr().err
    progress.close()
    assert "student 1  step 3/1000  last step 1:2" in shown


@pytest.fixture
def terminal(monkeypatch):
    """Makes standard error a terminal of a width."""

    def set_width(columns):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("time.perf_counter", lambda: 1e9)
        size = os.terminal_size((columns, 24))
        monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: size)

    return set_width


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (140, f"{LINE}  eta 1:49  val 78.2%"),
        (100, "loss 6.34  acc 59.1/60.2%  lr 2.7e-03  685 img/s  eta 1:49  val 78.2%"),
        (80, "loss 6.34  acc 59.1/60.2%  eta 1:49  val 78.2%"),
        (40, "loss 6.34"),
        (30, "los"),  # cut
    ],
)
def test_a_terminal_shows_what_fits_the_most_useful_first(capsys, terminal, columns, text):
    terminal(columns)
    progress = Progress("student 1", 0, 1000, 100)
    progress.log(ROW | {"validation_top1": 78.23})
    progress.close()
    assert capsys.readouterr().err.endswith(f"\rstudent 1  step 250/1000  {text}\x1b[K\n")


def test_validations_stay_on_a_terminal_and_other_lines_are_rewritten(capsys, terminal):
    terminal(140)
    progress = Progress("student 1", 0, 1000, 100)
    progress._drawn = 0
    progress.log(ROW | {"validation_top1": 78.23})
    for step in (300, 350):
        progress._drawn = 0
        progress.log(ROW | {"step": step})
    progress.close()
    shown = [line.split("\r")[-1] for line in capsys.readouterr().err[:-1].split("\n")]
    assert [line.split("  loss")[0] for line in shown] == [
        "student 1  step 250/1000",
        "student 1  step 350/1000",
    ]


def test_a_notebook_shows_one_line_and_none_of_a_longer_one_before_it(monkeypatch):
    """In a kernel, whose messages are put together as a browser shows them."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cell = f"""
import importlib.util, sys
from tqdm import tqdm
from noisy_student.runtime import notebook
spec = importlib.util.spec_from_file_location("progress", {progress_module.__file__!r})
progress = importlib.util.module_from_spec(spec)
spec.loader.exec_module(progress)
progress._PAUSE_IN_NOTEBOOK = 0
line = progress.Progress("student 1", 0, 1000, 100)
row = {ROW}
line.log(row | {{"unlabeled_loss": 1.23e-05}})
line.log(row | {{"step": 1000}})
line.close()
print("a warning", file=sys.stderr)
for _ in tqdm(range(3), "labeled", disable=notebook.hides_bars()):
    pass
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbclient.execute(notebook, kernel_name="python3")
    written = "".join(output["text"] for output in notebook.cells[0].outputs)
    first, longer, last = written.partition("\n")[0].split("\r")[1:]
    assert first == "student 1  step 0/1000  compiling the training step"
    assert len(last) == len(longer) > len(last.rstrip())  # covers the line before it
    assert last.rstrip() == f"student 1  step 1000/1000  {LINE}  time 0:30"
    assert "\na warning\n" in written and "\x1b" not in written.partition("warning")[0]
    assert written.count("labeled: 100%") == 1


def test_hosts_that_are_not_the_chief_show_nothing(capsys):
    progress = Progress("student 1", 0, 1000, 100, show=False)
    progress.update(1)
    progress.log(ROW | {"step": 1000})
    progress.close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (88, "1:28"), (59.6, "1:00"), (7288, "2:01:28")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text
