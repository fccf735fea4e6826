"""Shared code of the benchmarks: command line, clocks, turns, child processes and peak memory.

Arms take turns so that other work on the machine affects all of them alike. Results are medians
over the turns, and ratios are medians of the ratios within a turn.
"""

import argparse
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the layout of the description and shows defaults."""


def parser(doc: str | None, **options: tuple[Any, str]) -> argparse.ArgumentParser:
    """Builds the command line of a benchmark.

    Args:
        doc: the module's docstring.
        **options: name -> (default, help). The default decides the type of --name: a list takes
            comma-separated values, None takes text, and a type makes the option required.

    Returns:
        The parser.
    """
    built = argparse.ArgumentParser(description=doc, formatter_class=_Formatter)
    for name, (default, text) in options.items():
        if isinstance(default, type):
            built.add_argument(f"--{name}", type=default, required=True, help=text)
            continue
        convert: Callable[[str], Any] = str if default is None else type(default)
        if isinstance(default, list):
            convert = functools.partial(_split, type(default[0]))
        built.add_argument(f"--{name}", type=convert, default=default, help=text)
    return built


def _split(convert: Callable[[str], Any], text: str) -> list[Any]:
    return [convert(value) for value in text.split(",")]


def now() -> np.ndarray:
    """Returns seconds of wall time and of this process's CPU time, float64 [2]."""
    return np.array([time.perf_counter(), time.process_time()])


def call_rate(arm: Callable[[], int]) -> np.ndarray:
    """Calls an arm that returns its number of images; returns images per second, as `now`."""
    start = now()
    count = arm()
    return count / (now() - start)


def batch_rate(
    batches: Iterable[Any], batch_size: int, seconds: float, warmup: int = 1
) -> np.ndarray:
    """Consumes batches for some seconds.

    The iterator is closed afterwards, so that it does not prefetch during the turns of other arms.

    Args:
        batches: endless batches.
        batch_size: images per batch.
        seconds: length of the turn.
        warmup: batches to consume before the clock starts.

    Returns:
        Images per second of wall time and of CPU time, float64 [2].
    """
    iterator = iter(batches)
    for _ in range(warmup):
        next(iterator)
    count, start = 0, now()
    while time.perf_counter() - start[0] < seconds or count == 0:
        next(iterator)
        count += batch_size
    return count / (now() - start)


def take_turns(arms: Mapping[str, Callable[[], np.ndarray]], repeats: int) -> dict[str, np.ndarray]:
    """Measures the arms in turns: name -> results [repeats, ...]."""
    turns = [{name: arm() for name, arm in arms.items()} for _ in range(repeats)]
    return {name: np.array([turn[name] for turn in turns]) for name in arms}


def run_child(module: str, **options: Any) -> dict[str, Any]:
    """Runs `python -m module --name=value ...` and returns the JSON object of its last line."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    done = run_python("-m", module, *arguments)
    return json.loads(done.splitlines()[-1])


def run_python(*arguments: str, interpreter: str = sys.executable) -> str:
    """Runs an interpreter with this repository on its path and returns its standard output.

    Raises:
        RuntimeError: the command fails; the message has the end of its standard error.
    """
    done = subprocess.run(
        [interpreter, *arguments], env=environment(), text=True, capture_output=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{done.stderr[-3000:]}")
    return done.stdout


def environment() -> dict[str, str]:
    """Returns the environment of child processes, with this repository on the Python path."""
    return os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def peak_mib() -> float:
    """Returns the peak resident memory of this process in MiB.

    Reads /proc because getrusage includes the peak of the parent process.
    """
    status = pathlib.Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError("/proc/self/status has no VmHWM line; peak memory needs Linux.")
    return int(found[1]) / 1024
