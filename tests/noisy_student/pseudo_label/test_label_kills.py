"""Real processes that label and select: killed at any moment, or side by side, they end alike."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import labeling_in_parts
from tests.helpers.labeling_in_parts import SHARDS
from tests.helpers.toy_teacher import save_model

ROOT = Path(__file__).resolve().parents[3]


def start(folder, task, shard="all"):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, labeling_in_parts.__file__, str(folder), task, shard]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)


def kill_when(process, happened):
    end = time.monotonic() + 200
    while not happened():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def results(folder):
    files = [*folder.glob("labels/*.parquet"), *folder.glob("selected/*.*")]
    return {
        str(f.relative_to(folder)): f.read_bytes()
        for f in files
        if f.name not in ("done.json", "stage.json") and f.name[0] != "."
    }


@pytest.mark.slow
def test_kills_and_neighbors_change_no_byte(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    save_model(undisturbed / "model.keras", seed=0)
    shutil.copy(undisturbed / "model.keras", killed)
    labeling_in_parts.main(undisturbed, "select")

    labels = killed / "labels"
    neighbors = [start(killed, "label", str(shard)) for shard in range(2)]
    kill_when(neighbors[0], lambda: len(list(labels.glob("*.parquet"))) >= 3)
    assert neighbors[1].wait(timeout=300) == 0
    written = {file.name: file.stat().st_mtime_ns for file in labels.glob("*.parquet")}
    assert 6 <= len(written) < SHARDS and not (labels / "done.json").exists()

    selecting = start(killed, "select")
    kill_when(selecting, lambda: list(killed.glob("selected/records-*.tfrecord")))
    assert not (killed / "selected/done.json").exists()
    for name, time_written in written.items():
        assert (labels / name).stat().st_mtime_ns == time_written
    labeling_in_parts.main(killed, "select")
    found = results(killed)
    assert len(found) == SHARDS + 4 + 1 + 3
    assert found == results(undisturbed)
