"""History, rate, divergence and the best validation accuracy."""

import json

import numpy as np
import pytest
import tensorflow as tf

from noisy_student.train.metrics_log import MetricsLog

NAMES = ("loss", "labeled_loss")


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """A clock that stands still unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


def open_log(directory, step=0) -> MetricsLog:
    return MetricsLog("teacher", directory, NAMES, images_per_step=10, step=step)


def table(*losses: float) -> tf.Tensor:
    return tf.constant([[loss, 2 * loss] for loss in losses])


def test_means_and_rate_leave_out_the_first_call_and_pauses(tmp_path, clock):
    log = open_log(tmp_path)
    clock[0] += 60  # compiles
    log.add(table(1.0))
    clock[0] += 2
    log.add(table(2.0, 6.0))
    row = log.means(3, tf.constant(0.5))
    clock[0] += 30  # validates
    log.write(row | {"validation_top1": 50.0})
    log.restart_clock()
    clock[0] += 4
    log.add(table(4.0))
    log.write(log.means(4, tf.constant(0.25)))
    log.close()
    first, second = (
        json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    )
    assert first == {
        "step": 3,
        "learning_rate": 0.5,
        "loss": 3.0,
        "labeled_loss": 6.0,
        "images_per_second": 10.0,
        "compile_seconds": 60.0,
        "seconds": 92.0,
        "validation_top1": 50.0,
    }
    assert second["images_per_second"] == 2.5 and second["loss"] == 4.0
    assert "compile_seconds" not in second and log.compile_seconds == 60.0
    assert [first, second] == log.history
    assert (tmp_path / "tensorboard").exists()


def test_compilation_of_all_runs_counts(tmp_path, clock):
    for step, seconds in ((1, 60.0), (2, 5.0)):
        log = open_log(tmp_path, step - 1)
        clock[0] += seconds
        log.add(table(1.0))
        assert log.compile_seconds == (60.0 if step == 1 else 65.0)  # also before it is logged
        log.write(log.means(step, tf.constant(0.5)))
        log.close()
    assert log.compile_seconds == 65.0


def test_a_row_of_the_first_call_alone_has_no_rate(tmp_path, clock):
    log = open_log(tmp_path)
    log.add(table(1.0))
    assert "images_per_second" not in log.means(1, tf.constant(0.5))


def test_the_best_validation_accuracy(tmp_path):
    log = open_log(tmp_path)
    best = []
    for step, accuracy in enumerate((50.0, None, 40.0, 50.0, 60.0), start=1):
        log.add(table(1.0))
        row = log.means(step, tf.constant(0.5))
        best.append(log.write(row | ({} if accuracy is None else {"validation_top1": accuracy})))
    assert best == [True, False, False, False, True]


def test_rows_after_the_last_checkpoint_are_dropped(tmp_path):
    log = open_log(tmp_path)
    for step in (1, 2, 3):
        log.add(table(float(step)))
        log.write(log.means(step, tf.constant(0.5)))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    before = log.history[1]["seconds"]
    again = open_log(tmp_path, step=2)
    assert [row["step"] for row in again.history] == [1, 2]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert again.seconds >= before


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_refused(tmp_path, loss):
    log = open_log(tmp_path)
    log.add(table(1.0, loss))
    with pytest.raises(ValueError, match="teacher: .* in steps 9 to 10, at .* 0.5"):
        log.means(10, tf.constant(0.5))
