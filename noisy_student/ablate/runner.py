"""Runs jobs in parallel, each in its own process, and skips finished ones.

A job's process keeps its log open and locked, so nothing runs twice: neither in another
`noisy_student.ablate` on the same directory, nor while a killed one has left its processes behind.
A job's record is written when it succeeds.
"""

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tqdm import tqdm

import noisy_student
from noisy_student.ablate.jobs import RECORD, Job
from noisy_student.ablate.recipe import Recipe
from noisy_student.ablate.time_estimate import Estimator, wall_seconds
from noisy_student.artifacts.files import write_json
from noisy_student.metrics.formatting import duration
from noisy_student.runtime import preemption
from noisy_student.runtime.gpu import least_used

_PACKAGES = Path(noisy_student.__file__).parents[1]
_LOG_TAIL = 12  # lines shown of a failed job's log
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 120  # for a process to save its state when asked to stop
_THREADS = {"TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass
class _Running:
    """A job and its process."""

    job: Job
    process: subprocess.Popen[bytes]
    command: list[str]
    code: str
    start: float
    gpu: str

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start


def run(
    jobs: Sequence[Job],
    root: Path,
    recipe: Recipe,
    slots: int,
    estimator: Estimator,
    gpus: Sequence[str] = (),
) -> list[Job]:
    """Runs the jobs that are not done.

    Args:
        jobs: parents first.
        root: holds their directories.
        recipe: determines their commands.
        slots: number of jobs at a time.
        estimator: knows the finished jobs, and learns from the others.
        gpus: names for CUDA_VISIBLE_DEVICES; each job sees only the one with the fewest jobs.

    Returns:
        The jobs that failed. Jobs that depend on them were not run, all others were.

    Raises:
        SystemExit: after a SIGTERM (exit code 75) or Ctrl-C (130); the same call resumes.
        KeyboardInterrupt: the same call resumes, too.
    """
    waiting = {job.name: job for job in jobs if not job.is_done(root)}
    pool = _Pool(root, recipe, len(jobs), len(jobs) - len(waiting), gpus)
    with preemption.Listener() as signals, contextlib.closing(pool):
        while waiting or pool.running:
            if signals.requested:
                print(
                    f"stopped by {signals.name}; run the same command again to resume",
                    file=sys.stderr,
                )
                raise SystemExit(signals.exit_code)
            for name in _blocked(waiting, pool.failed):
                del waiting[name]
            for job in list(waiting.values()):
                if len(pool.running) >= slots:
                    break
                if all(parent.is_done(root) for parent in job.parents) and pool.start(job):
                    del waiting[job.name]
            for job, seconds in pool.reap():
                estimator.learn(job, seconds)
            pool.show(_seconds_left(waiting.values(), pool.running, estimator, slots))
            time.sleep(_POLL_SECONDS)
    return pool.failed


def _blocked(waiting: Mapping[str, Job], failed: Sequence[Job]) -> list[str]:
    """Returns the names of waiting jobs that depend on failed ones."""
    lost = {job.name for job in failed}
    for job in waiting.values():
        if any(parent.name in lost for parent in job.parents):
            lost.add(job.name)
    return [name for name in waiting if name in lost]


def _seconds_left(
    waiting: Iterable[Job], running: Sequence[_Running], estimator: Estimator, slots: int
) -> float | None:
    """Returns the expected time until all jobs are done; None if unknown."""
    left = [estimator.seconds(job) for job in waiting]
    for run in running:
        expected = estimator.seconds(run.job)
        left.append(None if expected is None else max(0.0, expected - run.seconds))
    return wall_seconds(left, slots)


class _Pool:
    """The processes of jobs, and their progress bar."""

    def __init__(self, root: Path, recipe: Recipe, total: int, done: int, gpus: Sequence[str]):
        self._gpus = gpus
        self.running: list[_Running] = []
        self.failed: list[Job] = []
        self._root, self._recipe = root, recipe
        self._waited_for: set[str] = set()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="job",
            dynamic_ncols=True,
            disable=None,
            bar_format="{desc}{bar}| {n_fmt}/{total_fmt} jobs, {elapsed} elapsed, {postfix}",
        )
        self._total, self._done, self._left = total, done, ""

    def start(self, job: Job) -> bool:
        """Starts a job unless another process runs it; returns whether it runs or is done."""
        log_path = _log_path(self._root, job)
        log = _open_locked(log_path)
        if log is None:
            if job.name not in self._waited_for:
                self._waited_for.add(job.name)
                self._print(f"waiting for {job.name}, which another process runs")
            return False
        with log:
            if job.is_done(self._root):  # by another process
                self._count()
                return True
            command = job.command(self._root, self._recipe)
            print(f"$ {shlex.join(command)}", file=log, flush=True)
            code = code_version()
            used = [run.gpu for run in self.running]
            gpu = least_used(self._gpus, used) if self._gpus else ""
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(gpu),
                start_new_session=True,
            )
        self.running.append(_Running(job, process, command, code, time.perf_counter(), gpu))
        where = f" on GPU {gpu}" if gpu else ""
        self._print(f"started {job.name}{where}, log {log_path}")
        return True

    def reap(self) -> list[tuple[Job, float]]:
        """Records the jobs that ended since the last call; returns those that succeeded."""
        ended = [run for run in self.running if run.process.poll() is not None]
        self.running = [run for run in self.running if run not in ended]
        succeeded = []
        for run in ended:
            if run.process.returncode:
                self._fail(run)
                continue
            seconds = round(run.seconds, 1)
            record = {"command": run.command, "seconds": seconds, "code": run.code}
            write_json(self._root / run.job.name / RECORD, record)
            self._count()
            self._print(f"done    {run.job.name} in {duration(seconds)}")
            succeeded.append((run.job, seconds))
        return succeeded

    def show(self, seconds: float | None) -> None:
        """Shows the expected time left; None if unknown."""
        left = "time left unknown" if seconds is None else f"about {duration(seconds)} left"
        self._left = f", {left}"
        self._bar.set_postfix_str(left)

    def close(self) -> None:
        """Asks running processes to stop, trainings with a checkpoint, and waits for them."""
        for run in self.running:
            run.process.terminate()
        for run in self.running:
            try:
                run.process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                run.process.kill()
        self._bar.close()

    def _count(self) -> None:
        self._done += 1
        self._bar.update()

    def _fail(self, run: _Running) -> None:
        self.failed.append(run.job)
        log = _log_path(self._root, run.job)
        tail = log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
        self._print(
            f"FAILED  {run.job.name} (exit code {run.process.returncode})\n"
            f"  command: {shlex.join(run.command)}\n  log: {log}, last lines:\n"
            + "\n".join(f"  | {line}" for line in tail)
        )

    def _print(self, text: str) -> None:
        if self._bar.disable:
            text = f"[{self._done}/{self._total}{self._left}] {text}"
        self._bar.write(text)
        sys.stdout.flush()


def _log_path(root: Path, job: Job) -> Path:
    """Returns the log file of a job, in logs/ next to the directories of its seed."""
    place = Path(job.name)
    return root / place.parent / "logs" / f"{place.name}.log"


def code_version() -> str:
    """Returns the commit of this code, with "+" for uncommitted changes, or else the version."""
    git = ["git", "-C", str(_PACKAGES), "describe", "--always", "--dirty=+", "--abbrev=12"]
    with contextlib.suppress(OSError):
        found = subprocess.run(git, capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    return noisy_student.__version__


def _open_locked(path: Path) -> IO[str] | None:
    """Opens a log for appending and locks it; returns None if another process holds the lock.

    The lock lasts until every process that inherited the open file has ended.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.open("a")
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.close()
        return None
    return log


def _environment(gpu: str) -> dict[str, str]:
    """Returns a job's environment: this code, one thread, one GPU if any, its memory as needed."""
    path = os.pathsep.join(filter(None, (str(_PACKAGES), os.environ.get("PYTHONPATH"))))
    device = {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
    growth = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}  # --gpu_memory=all overrides it
    return os.environ | _THREADS | growth | device | {"PYTHONPATH": path}
