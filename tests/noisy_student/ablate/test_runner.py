"""Running jobs: small scripts stand in for trainings."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from noisy_student.ablate import runner
from noisy_student.ablate.jobs import RECORD, Input, Job
from noisy_student.ablate.time_estimate import Estimator
from noisy_student.artifacts.files import read_json

ROOT = Path(__file__).resolve().parents[3]
_PATIENCE = 300  # seconds, for machines that do other work


@dataclasses.dataclass(frozen=True, eq=False)
class Script(Job):
    """A job that runs Python code with its directory as the argument."""

    code: str = ""

    def command(self, root, recipe):
        return [sys.executable, "-c", self.code, str(root / self.name)]


def script(name: str, *parents: Job, code: str = "") -> Script:
    inputs = tuple(Input("model", parent, "") for parent in parents)
    return Script(f"seed0/{name}", "selection", 0, (), "", inputs, code=_LOGGED + code)


_LOGGED = """
import os, pathlib, sys, time
here = pathlib.Path(sys.argv[1])
with open(here.parent / "order", "a") as file:
    file.write(here.name + "\\n")
"""


def run(jobs: list[Job], root: Path, slots: int = 2, gpus: tuple[str, ...] = ()) -> list[str]:
    failed = runner.run(jobs, root, None, slots, Estimator(0), gpus)
    return [job.name.removeprefix("seed0/") for job in failed]


def order(root: Path) -> list[str]:
    return (root / "seed0" / "order").read_text().split()


def test_jobs_run_once_after_those_they_build_on(tmp_path):
    a = script("a")
    b, c = script("b", a), script("c", a)
    jobs = [a, b, c, script("d", b, c)]
    assert run(jobs, tmp_path) == []
    assert order(tmp_path)[0] == "a" and order(tmp_path)[-1] == "d" and len(order(tmp_path)) == 4
    record = read_json(tmp_path / "seed0/d" / RECORD)
    assert record["command"][:2] == [sys.executable, "-c"] and record["seconds"] >= 0
    assert record["code"] == runner.code_version()
    assert run([*jobs, script("e", a)], tmp_path) == []
    assert sorted(order(tmp_path)) == ["a", "b", "c", "d", "e"]  # only what was missing


def test_as_many_at_once_as_there_are_slots(tmp_path):
    """Each notes how many others are at work."""
    code = """
here.mkdir(parents=True)
(here / "here").touch()
count = len(list(here.parent.glob("*/here")))
time.sleep(0.6)
(here / "here").unlink()
(here / "count").write_text(str(count))
"""
    run([script(name, code=code) for name in "abcd"], tmp_path, slots=2)
    counts = {int(path.read_text()) for path in tmp_path.glob("seed0/*/count")}
    assert max(counts) == 2


def test_jobs_are_spread_over_the_gpus(tmp_path, monkeypatch, capsys):
    """Four at a time on two cards, whose memory grows: two on each, whichever end first."""
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    code = """
here.mkdir(parents=True)
names = ("CUDA_VISIBLE_DEVICES", "TF_FORCE_GPU_ALLOW_GROWTH")
(here / "seen").write_text(" ".join(map(os.environ.get, names)))
while len(list(here.parent.glob("*/seen"))) < 4:
    time.sleep(0.05)
"""
    assert run([script(name, code=code) for name in "abcd"], tmp_path, 4, ("3", "5")) == []
    seen = [path.read_text() for path in sorted(tmp_path.glob("seed0/*/seen"))]
    assert seen == ["3 true", "5 true", "3 true", "5 true"]
    assert "started seed0/b on GPU 5" in capsys.readouterr().out


def test_a_failure_is_told_and_stops_only_what_builds_on_it(tmp_path, capsys):
    code = "print('about to fail'); sys.exit('a reason')"
    good, bad = script("good"), script("bad", code=code)
    after = script("after", bad)
    jobs = [bad, good, after, script("last", after), script("other", good)]
    assert run(jobs, tmp_path) == ["bad"]
    assert sorted(order(tmp_path)) == ["bad", "good", "other"]
    output = capsys.readouterr().out
    log = tmp_path / "seed0/logs/bad.log"
    assert "FAILED  seed0/bad (exit code 1)" in output and f"log: {log}" in output
    assert "  | a reason" in output and f"command: {sys.executable} -c" in output
    assert log.read_text().startswith("$ ") and "about to fail" in log.read_text()
    assert not (tmp_path / "seed0/bad" / RECORD).exists()


_SLOW = """
import signal
def stop(*_):
    with open(here.parent / "order", "a") as file:
        file.write(here.name + "-stopped\\n")
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
end = time.time() + 300
while time.time() < end and not (here.parent / "go").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def started(tmp_path):
    """Starts other processes that run jobs, quick, then slow, then after; ends what is left."""
    processes = []

    def start(number: int) -> subprocess.Popen:
        program = f"""
        import sys
        from pathlib import Path
        sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
        import test_runner as t
        quick = t.script("quick")
        slow = t.script("slow", quick, code=t._SLOW)
        t.run([quick, slow, t.script("after", slow)], Path({str(tmp_path)!r}))
        """
        with (tmp_path / f"out{number}").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(program)],
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
                stdout=output,
            )
        processes.append(process)
        wait_for(tmp_path / "seed0" / "order", "slow" if number == 1 else "")
        return process

    yield start
    (tmp_path / "seed0").mkdir(exist_ok=True)
    (tmp_path / "seed0" / "go").touch()
    for process in processes:
        process.kill()
        process.wait()


def wait_for(path: Path, text: str) -> None:
    end = time.time() + _PATIENCE
    while not (path.exists() and text in path.read_text()):
        assert time.time() < end, f"{path} has no {text!r}"
        time.sleep(0.05)


def test_terminated_and_called_again(tmp_path, started):
    process = started(1)
    process.terminate()
    assert process.wait(_PATIENCE) == 75  # the code that says: the same command goes on
    assert order(tmp_path) == ["quick", "slow", "slow-stopped"]  # asked to save its state
    (tmp_path / "seed0" / "go").touch()
    process = started(2)
    assert process.wait(_PATIENCE) == 0
    assert order(tmp_path) == ["quick", "slow", "slow-stopped", "slow", "after"]


@pytest.mark.slow
def test_what_a_killed_runner_left_running_is_waited_for(tmp_path, started):
    process = started(1)
    process.send_signal(signal.SIGKILL)
    process.wait(_PATIENCE)
    again = started(2)
    wait_for(tmp_path / "out2", "waiting for seed0/slow")
    assert order(tmp_path) == ["quick", "slow"]
    (tmp_path / "seed0" / "go").touch()
    assert again.wait(_PATIENCE) == 0
    # The job that ended without a runner is run again: its stage finds itself finished.
    assert order(tmp_path) == ["quick", "slow", "slow", "after"]


@pytest.mark.parametrize("length", [3, 100])
def test_a_long_log_is_cut(tmp_path, capsys, length):
    code = f"print(*range({length}), sep='\\n'); sys.exit(3)"
    run([script("a", code=code)], tmp_path)
    output = capsys.readouterr().out
    assert f"  | {length - 1}\n" in output
    assert ("  | 50\n" in output) is False and ("  | 0\n" in output) is (length == 3)
