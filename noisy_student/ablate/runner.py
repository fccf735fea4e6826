"""Runs jobs side by side, each a process of its own, skipping what is done.

A job's process keeps its log open and locked, so that nothing runs twice: not by another
`noisy_student.ablate` on the same directory, and not where an earlier one was killed and left
processes behind. Its record is written when it ends well.
"""

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

import noisy_student
from noisy_student.ablate import wording
from noisy_student.ablate.jobs import RECORD, Job
from noisy_student.ablate.recipe import Recipe
from noisy_student.ablate.time_estimate import Estimator, wall_seconds
from noisy_student.artifacts.files import write_json
from noisy_student.runtime import preemption

_PACKAGES = Path(noisy_student.__file__).parents[1]
_SHOWN = 12  # last lines of the log of a failed job
_PAUSE = 0.2  # seconds between looks at the processes
_PATIENCE = 120  # seconds that a process has to save its state when it is asked to end
_THREADS = {"TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass
class _Running:
    """A job and its process."""

    job: Job
    process: subprocess.Popen
    command: list[str]
    code: str
    start: float


def run(
    jobs: Sequence[Job], root: Path, recipe: Recipe, slots: int, estimator: Estimator
) -> list[Job]:
    """Runs the jobs that are not done.

    Args:
        jobs: those that others build on first.
        root: of their directories.
        recipe: of their commands.
        slots: how many run at once.
        estimator: knows the jobs that are done, and gets to know the others.

    Returns:
        The jobs that failed. Those that build on them were not run, all others were.

    Raises:
        SystemExit: with `interruption.EXIT_CODE` after a SIGTERM; the same call goes on.
        KeyboardInterrupt: likewise.
    """
    waiting = {job.name: job for job in jobs if not job.is_done(root)}
    pool = _Pool(root, recipe, slots, len(jobs), len(jobs) - len(waiting))
    with preemption.Listener() as signals, contextlib.closing(pool):
        while waiting or pool.running:
            if signals.requested:
                raise SystemExit(preemption.EXIT_CODE)
            for name in _lost(waiting, pool.failed):
                del waiting[name]
            for job in list(waiting.values()):
                if pool.is_full:
                    break
                if all(parent.is_done(root) for parent in job.parents) and pool.start(job):
                    del waiting[job.name]
            for job, seconds in pool.finished():
                estimator.learn(job, seconds)
            left = [estimator.seconds(job) for job in waiting.values()] + [
                None if (expected := estimator.seconds(job)) is None else max(0, expected - passed)
                for job, passed in pool.passed()
            ]
            pool.show(wall_seconds(left, slots))
            time.sleep(_PAUSE)
    return pool.failed


def _lost(waiting: Mapping[str, Job], failed: Sequence[Job]) -> list[str]:
    """Names of the waiting jobs that build on failed ones."""
    lost = {job.name for job in failed}
    for job in waiting.values():
        if any(parent.name in lost for parent in job.parents):
            lost.add(job.name)
    return [name for name in waiting if name in lost]


class _Pool:
    """The processes of jobs."""

    def __init__(self, root: Path, recipe: Recipe, slots: int, total: int, done: int):
        self.running: list[_Running] = []
        self.failed: list[Job] = []
        self._root, self._recipe, self._slots = root, recipe, slots
        self._waited_for: set[str] = set()
        self._total, self._done, self._left = total, done, ""
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="job",
            dynamic_ncols=True,
            disable=None,
            bar_format="{desc}{bar}| {n_fmt}/{total_fmt} jobs, {elapsed} passed, {postfix}",
        )

    @property
    def is_full(self) -> bool:
        """Whether no slot is free."""
        return len(self.running) >= self._slots

    def start(self, job: Job) -> bool:
        """Starts a job unless another process runs it; says whether it runs or is done."""
        log_path = log_of(self._root, job)
        log = _locked(log_path)
        if log is None:
            if job.name not in self._waited_for:
                self._waited_for.add(job.name)
                self._tell(f"another process runs {job.name}: waiting for it")
            return False
        with log:
            if job.is_done(self._root):  # by another process
                self._count()
                return True
            command = job.command(self._root, self._recipe)
            print(f"$ {shlex.join(command)}", file=log, flush=True)
            code = code_version()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )
        self.running.append(_Running(job, process, command, code, time.perf_counter()))
        self._tell(f"started {job.name}, log {log_path}")
        return True

    def finished(self) -> list[tuple[Job, float]]:
        """The jobs that have ended well since the last call, and their seconds."""
        ended = [run for run in self.running if run.process.poll() is not None]
        self.running = [run for run in self.running if run not in ended]
        done = []
        for run in ended:
            if run.process.returncode:
                self._fail(run)
                continue
            seconds = round(time.perf_counter() - run.start, 1)
            record = {"command": run.command, "seconds": seconds, "code": run.code}
            write_json(self._root / run.job.name / RECORD, record)
            self._count()
            self._tell(f"done    {run.job.name} in {wording.duration(seconds)}")
            done.append((run.job, seconds))
        return done

    def passed(self) -> list[tuple[Job, float]]:
        """The jobs that run, and for how many seconds they have."""
        return [(run.job, time.perf_counter() - run.start) for run in self.running]

    def show(self, seconds: float | None) -> None:
        """Shows the time left."""
        left = "time left unknown" if seconds is None else f"about {wording.duration(seconds)} left"
        self._left = f", {left}"
        self._bar.set_postfix_str(left)

    def close(self) -> None:
        """Asks processes that still run to end, trainings with a checkpoint, and waits."""
        for run in self.running:
            run.process.terminate()
        for run in self.running:
            try:
                run.process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                run.process.kill()
        self._bar.close()

    def _count(self) -> None:
        self._done += 1
        self._bar.update()

    def _fail(self, run: _Running) -> None:
        self.failed.append(run.job)
        log = log_of(self._root, run.job)
        last = log.read_text(errors="replace").splitlines()[-_SHOWN:]
        self._tell(
            f"FAILED  {run.job.name} (exit status {run.process.returncode})\n"
            f"  command: {shlex.join(run.command)}\n  log: {log}, which ends with\n"
            + "\n".join(f"  | {line}" for line in last)
        )

    def _tell(self, text: str) -> None:
        if self._bar.disable:
            text = f"[{self._done}/{self._total}{self._left}] {text}"
        self._bar.write(text)
        sys.stdout.flush()


def log_of(root: Path, job: Job) -> Path:
    """Where the output of a job goes: logs/ beside the directories of its seed."""
    place = Path(job.name)
    return root / place.parent / "logs" / f"{place.name}.log"


def code_version() -> str:
    """The commit of this code, with "+" where files differ from it; else the package's version."""
    git = ["git", "-C", str(_PACKAGES), "describe", "--always", "--dirty=+", "--abbrev=12"]
    with contextlib.suppress(OSError):
        found = subprocess.run(git, capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    return noisy_student.__version__


def _locked(path: Path) -> IO[str] | None:
    """A log opened for appending and locked, or None where another process holds the lock.

    The lock lasts until every process that has inherited the open file has ended.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.open("a")
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.close()
        return None
    return log


def _environment() -> Mapping[str, Any]:
    """Of a job: this code, one thread, and no more of a GPU's memory than it needs."""
    path = os.pathsep.join(filter(None, (str(_PACKAGES), os.environ.get("PYTHONPATH"))))
    return os.environ | _THREADS | {"PYTHONPATH": path, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
