"""The same training on one device, on two, and in two processes: the same losses and weights."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data import record_schema
from noisy_student.artifacts import model_file, stage
from noisy_student.runtime import preemption

pytestmark = pytest.mark.slow  # processes that each compile; test_replicas.py has replicas in one

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "tests" / "helpers" / "training_on_devices.py"
UNLABELED = 48


@pytest.fixture(scope="module")
def selected(tmp_path_factory) -> Path:
    """Pseudo-labeled records, as selection leaves them."""
    directory = tmp_path_factory.mktemp("selected")
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (UNLABELED, 8, 8, 3), dtype=np.uint8)
    records = []
    for index, image in enumerate(coarse.repeat(4, axis=1).repeat(4, axis=2)):
        probabilities = rng.dirichlet(np.ones(3)).astype("float32")
        png = tf.io.encode_png(image).numpy()
        label, most = int(probabilities.argmax()), float(probabilities.max())
        records.append(
            record_schema.serialize(png, label, most, probabilities, f"unlabeled/{index}")
        )
    files = record_schema.write_shards(records, directory, UNLABELED, 2)
    stage.open_stage(directory, {}).finish(files, records_hash="of the test")
    return directory


def start(strategy: str, replicas: int, output_dir: Path, selected: Path, changes: dict, **more):
    """A process that trains."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | more
    arguments = [strategy, str(replicas), str(output_dir), str(selected), json.dumps(changes)]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def cluster(count: int) -> list[str]:
    """The TF_CONFIG of every worker on this machine."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
        for index in range(count)
    ]


def start_workers(count: int, output_dir: Path, selected: Path, changes: dict):
    """Processes that train together."""
    return [
        start("multi_worker", count, output_dir, selected, changes, TF_CONFIG=tf_config)
        for tf_config in cluster(count)
    ]


def finish(*processes) -> None:
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-4000:]


def losses(directory: Path) -> np.ndarray:
    rows = json.loads((directory / "train.json").read_text())["history"]
    names = ("loss", "labeled_loss", "unlabeled_loss", "l2_loss")
    return np.array([[row[name] for name in names] for row in rows])


def weights(directory: Path) -> list[np.ndarray]:
    return model_file.load_model(directory / "model.keras")[0].get_weights()


def assert_equal_trainings(one: Path, other: Path) -> None:
    """Losses to 1e-5, weights to 1e-5 of the largest of their tensor.

    Betas that the next batch norm cancels stay zero but for rounding: 0.1 is the least scale.
    """
    np.testing.assert_allclose(losses(other), losses(one), rtol=1e-5)
    for ours, theirs in zip(weights(other), weights(one), strict=True):
        scale = max(np.abs(theirs).max(), 0.1)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale)


CHANGES = {"steps": 40, "kind": "none", "validate_every": 20, "checkpoint_every": 4}


@pytest.fixture(scope="module")
def undisturbed(selected, tmp_path_factory) -> Path:
    """A finished training in one process."""
    directory = tmp_path_factory.mktemp("undisturbed")
    finish(start("one", 1, directory, selected, CHANGES))
    return directory


def test_two_processes_train_as_one(selected, undisturbed, tmp_path):
    finish(*start_workers(2, tmp_path, selected, CHANGES))
    one = losses(undisturbed)
    assert len(one) == 40 and one[-1, 0] != one[0, 0]
    assert_equal_trainings(undisturbed, tmp_path)


def test_a_sigterm_does_not_change_the_result_but_a_setting_is_refused(
    selected, undisturbed, tmp_path
):
    """A SIGTERM saves and exits with 75 (test_end_to_end.py has a SIGKILL)."""
    process = start("one", 1, tmp_path, selected, CHANGES)
    metrics = tmp_path / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < 10:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == preemption.EXIT_CODE == 75, output
    saved = int(re.search(r"stopped by SIGTERM after step (\d+)", output)[1])
    assert 10 <= saved < 40

    changed = start("one", 1, tmp_path, selected, CHANGES | {"label_smoothing": 0.2})
    resumed = start("one", 1, tmp_path, selected, CHANGES)
    output = changed.communicate(timeout=300)[0]
    assert changed.returncode != 0 and "settings.label_smoothing: 0.1 -> 0.2" in output
    output = resumed.communicate(timeout=300)[0]
    assert resumed.returncode == 0 and f"continuing from {tmp_path}" in output, output
    for name in ("model.keras", "best.keras"):
        assert (tmp_path / name).read_bytes() == (undisturbed / name).read_bytes(), name
    np.testing.assert_array_equal(losses(tmp_path), losses(undisturbed))


def test_two_devices_and_two_processes_train_as_one_for_50_steps(selected, tmp_path):
    finish(start("one", 1, tmp_path / "one", selected, {}))
    finish(start("mirrored", 2, tmp_path / "mirrored", selected, {}))
    finish(*start_workers(2, tmp_path / "workers", selected, {}))
    assert len(losses(tmp_path / "one")) == 50
    assert_equal_trainings(tmp_path / "one", tmp_path / "mirrored")
    assert_equal_trainings(tmp_path / "one", tmp_path / "workers")


def test_two_processes_run_the_whole_method(tmp_path):
    """Teacher, pseudo labels, selection, student and report; only the chief writes."""
    flags = (
        "--flagfile=recipes/mnist5k.flags",
        "--strategy=multi_worker",
        "--rounds=1",
        "--teacher_width=0.1",
        "--teacher_depth=0.1",
        "--student_width=0.1",
        "--student_depth=0.1",
        "--teacher_steps=6",
        "--student_steps=6",
        "--batch_size=8",
        "--warmup_steps=2",
        "--validate_every=6",
        "--min_confidence=0",
        "--benchmarks=clean",
        f"--workdir={tmp_path}",
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "noisy_student.iterate", *flags],
            cwd=ROOT,
            text=True,
            env=os.environ | {"TF_CONFIG": tf_config, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for tf_config in cluster(2)
    ]
    finish(*workers)
    results = json.loads((tmp_path / "report" / "results.json").read_text())["figures"]
    assert [model["name"] for model in results["models"]] == ["round0_teacher", "round1_student"]
    seen = json.loads((tmp_path / "round1" / "student" / "train.json").read_text())["images_seen"]
    assert seen == 6 * (8 + 32)
