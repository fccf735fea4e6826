"""Kills a whole small run again and again, at random moments, and compares what it ends with."""

import importlib.util
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

KILLS = 20


def _end_to_end():
    """The module beside this one; tests are no package."""
    path = Path(__file__).with_name("test_end_to_end.py")
    spec = importlib.util.spec_from_file_location("end_to_end", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_twenty_kills_do_not_change_the_models(tmp_path):
    """SIGKILL within 0.7 of the whole run's time, over and over; then the command to the end."""
    end_to_end = _end_to_end()
    flags = (*end_to_end.TINY, "--rounds=1", "--benchmarks=clean", "--checkpoint_every=3")
    recipe = f"--flagfile={end_to_end.ROOT}/recipes/mnist5k.flags"
    environment = os.environ | {"PYTHONPATH": str(end_to_end.ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}

    def start(workdir: Path) -> subprocess.Popen:
        command = end_to_end.command("iterate", recipe, *flags, f"--workdir={workdir}")
        return subprocess.Popen(
            command, env=environment, cwd=end_to_end.ROOT,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

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
