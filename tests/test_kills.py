"""Kills a whole small run again and again, at random moments, and compares what it ends with."""

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers import small_runs

KILLS = 20


@pytest.mark.slow
def test_twenty_kills_do_not_change_the_models(tmp_path):
    """SIGKILL within 0.7 of the whole run's time, over and over; then the command to the end."""

    def start(workdir: Path) -> subprocess.Popen:
        flags = ("--rounds=1", "--benchmarks=clean", "--checkpoint_every=3")
        return small_runs.start(small_runs.tiny_iterate(workdir, *flags))

    begun = time.monotonic()
    assert start(tmp_path / "undisturbed").wait(timeout=900) == 0
    seconds = time.monotonic() - begun
    numbers = random.Random(0)
    kills = ended = 0
    while kills < KILLS:
        process = start(tmp_path / "killed")
        time.sleep(numbers.uniform(0, 0.7 * seconds))
        if process.poll() is None:
            kills += 1
        process.kill()
        process.wait()
        finished = sorted(path.parent.name for path in (tmp_path / "killed").rglob("done.json"))
        print(f"kill {kills}: finished {', '.join(finished) or 'nothing'}", flush=True)
        if process.returncode == 0:  # it ended before the kill: once more from the start
            _compare(tmp_path)
            ended += 1
            (tmp_path / "killed").rename(tmp_path / f"ended{ended}")
    assert start(tmp_path / "killed").wait(timeout=900) == 0
    _compare(tmp_path)


def _compare(directory: Path) -> None:
    for part in ("round0/teacher", "round1/student"):
        for name in ("model.keras", "best.keras"):
            files = [directory / run / part / name for run in ("undisturbed", "killed")]
            assert files[0].read_bytes() == files[1].read_bytes(), f"{part}/{name}"
