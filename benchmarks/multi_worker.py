"""Two processes that train together on one machine, beside one process with all of its cores.

    python -m benchmarks.multi_worker [--rounds=2] [--steps=120] [--log_every=20] [--flag=value ...]

All arms train the same global batches of the same model with `python -m noisy_student.train`, its
own input pipeline, and batch norm over all replicas. The single process uses one thread per
operation in one arm and one per core in the other; the two processes use one thread per operation
each. Prints images per second (median of the log lines after tracing) and the ratio to the faster
arm of one process. Unknown flags are passed on to the training.
"""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import harness

ONE, SINGLE_THREAD, TWO = "one process", "one process, one thread", "two processes"
THREADS = {ONE: 0, SINGLE_THREAD: 1, TWO: 1}  # per operation; 0: one per core


def tf_configs(count: int) -> list[str]:
    """Returns the TF_CONFIG of every process."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    workers = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    cluster = {"worker": workers}
    return [
        json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        for index in range(count)
    ]


def images_per_second(arm: str, flags: list[str], steps: int, log_every: int) -> float:
    """Trains and returns the median of the log without its first line, which includes tracing."""
    environment = harness.environment()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "noisy_student.train", "--role=teacher"),
            f"--flagfile={harness.ROOT / 'recipes' / 'mnist5k.flags'}",
            *(f"--output_dir={folder}", f"--teacher_steps={steps}", f"--log_every={log_every}"),
            *("--validate_every=1000000", "--batch_norm_replicas=all"),
            f"--intra_op_threads={THREADS[arm]}",
            f"--strategy={'multi_worker' if arm == TWO else 'one'}",
            *flags,
        ]
        environments = [environment]
        if arm == TWO:
            environments = [environment | {"TF_CONFIG": text} for text in tf_configs(2)]
        processes = [
            subprocess.Popen(
                command, env=each, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            for each in environments
        ]
        errors = [process.communicate()[1] for process in processes]
        for process, error in zip(processes, errors, strict=True):
            if process.returncode:
                raise RuntimeError(error[-2000:])
        lines = Path(folder, "metrics.jsonl").read_text().splitlines()
        return statistics.median(json.loads(line)["images_per_second"] for line in lines[1:-1])


def main() -> None:
    """Prints the table."""
    options, flags = harness.parser(
        __doc__,
        rounds=(2, "Turns of each arm."),
        steps=(120, "Training steps per turn."),
        log_every=(20, "Steps between log lines."),
    ).parse_known_args()
    rates: dict[str, list[float]] = {arm: [] for arm in THREADS}
    for _ in range(options.rounds):
        for arm, found in rates.items():
            found.append(images_per_second(arm, flags, options.steps, options.log_every))
            print(f"{arm}: {found[-1]:.0f} images/s", flush=True)
    medians = {arm: statistics.median(found) for arm, found in rates.items()}
    best = max(medians[ONE], medians[SINGLE_THREAD])
    for arm, rate in medians.items():
        print(f"{arm:24} {rate:8.1f} images/s, {rate / best:.2f} of one process")


if __name__ == "__main__":
    main()
