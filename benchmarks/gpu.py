"""One GPU: compilation, images per second beside peers, and input.

    python -m benchmarks.gpu [--output=gpu.md] [--models=b0:224:256,b4:380:64,l2:475:8]

Prints and writes Markdown tables: seconds until the first step without and with what is in the
cache of compiled programs; images per second in training and in prediction of this repository,
keras.applications and timm, those that are installed; and of a training step that is fed by the
input pipeline, relative to the same step on one batch in memory. Every measurement is a process of
its own, one after the other. Rates are medians of turns. Precision is what --precision=auto gives.
This repository's step is all of a training's: weight averages, weight decay, dropout, stochastic
depth, deterministic operations unless the row says otherwise. Runs on CPUs, too, where only small
sizes make sense.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks import harness
from benchmarks.gpu_arms import ARMS, work

# Flags that others report to shorten XLA's compilation; no default here.
XLA_FLAGS = ("--xla_gpu_experimental_enable_fusion_autotuner=false", "--xla_gpu_autotune_level=0")


def machine() -> str:
    """Describes the card, the software and the processor's cores."""
    import tensorflow as tf

    cards = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    build = tf.sysconfig.get_build_info()
    cuda = f", CUDA {build['cuda_version']}, cuDNN {build['cudnn_version']}" if cards else ""
    return (
        f"{', '.join(cards) or 'no GPU'}; {len(os.sched_getaffinity(0))} CPU cores; TensorFlow "
        f"{tf.__version__}{cuda}"
    )


class Report:
    """Measurements in child processes, printed and kept as Markdown."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.lines: list[str] = []
        self._options = options

    def add(self, *lines: str) -> None:
        """Prints lines and keeps them."""
        for line in lines:
            print(line, flush=True)
        self.lines += lines

    def measure(self, *worker: Any, cache: str = "off", xla_flags: str = "") -> dict[str, Any]:
        """Measures an arm in a process; returns its "error", a line, where it fails."""
        options = self._options
        arguments = {
            "worker": ",".join(map(str, worker)),
            "compile_cache": cache,
            "seconds": options.seconds,
            "turns": options.turns,
        }
        command = [sys.executable, "-m", "benchmarks.gpu"]
        command += [f"--{name}={value}" for name, value in arguments.items()]
        flags = f"{os.environ.get('XLA_FLAGS', '')} {xla_flags}".strip()
        environment = harness.environment() | ({"XLA_FLAGS": flags} if flags else {})
        try:
            done = subprocess.run(
                command, env=environment, text=True, capture_output=True, timeout=options.limit
            )
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {options.limit} s"}
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return {"error": re.sub(r"[|\n]", " ", last)[:120]}
        return json.loads(done.stdout.splitlines()[-1])


def compilation(report: Report, model: str) -> None:
    """Adds seconds until the first step: without a cache, with one, and with other flags."""
    report.add("", f"Training step of {model}, compiled with XLA.", "")
    report.add(
        "| start | until the first step, s | in the cache | images/s |", "| --- | --- | --- | --- |"
    )
    with tempfile.TemporaryDirectory() as cache:
        for name in ("without a cache", "with the cache of the row above"):
            found = report.measure("ours", "train", *_triple(model), cache=cache)
            sizes = [
                path.stat().st_size for path in pathlib.Path(cache).rglob("*") if path.is_file()
            ]
            held = f"{len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB"
            report.add(_row(name, _cell(found, "first", ".1f"), held, _cell(found, "rate", ",.0f")))
    for flags in XLA_FLAGS:
        found = report.measure("ours", "train", *_triple(model), xla_flags=flags)
        cells = _cell(found, "first", ".1f"), "off", _cell(found, "rate", ",.0f")
        report.add(_row(f"without a cache, `XLA_FLAGS={flags}`", *cells))


def rates(report: Report, models: list[str], arms: list[str]) -> None:
    """Adds images per second of every model and arm."""
    report.add(
        "", "| network, pixels, batch | arm | training | ready after, s | peak GiB | prediction |"
    )
    report.add("| --- | --- | --- | --- | --- | --- |")
    for model in models:
        for arm in arms:
            train, predict = (
                report.measure(arm, mode, *_triple(model)) for mode in ("train", "predict")
            )
            ready = "error" not in train and {"s": train["build"] + train["first"]}
            report.add(
                _row(
                    model.replace(":", ", "),
                    ARMS[arm],
                    _cell(train, "rate", ",.0f"),
                    _cell(ready or train, "s", ".0f") if ready else "-",
                    "-" if "error" in train else _cell(train, "gib", ".1f"),
                    _cell(predict, "rate", ",.0f"),
                )
            )


def feeding(report: Report, models: list[str]) -> None:
    """Adds images per second of a step that the input pipeline feeds, and of the bare step."""
    report.add("", "| network, pixels, batch | bare, images/s | fed, images/s | fed / bare |")
    report.add("| --- | --- | --- | --- |")
    for model in models:
        bare, fed = (report.measure("ours", mode, *_triple(model)) for mode in ("train", "fed"))
        ratio = "-" if {"error"} & {*bare, *fed} else f"{fed['rate'] / bare['rate']:.2f}"
        cells = (_cell(each, "rate", ",.0f") for each in (bare, fed))
        report.add(_row(model.replace(":", ", "), *cells, ratio))


def _triple(model: str) -> tuple[str, str, str]:
    """Returns name, size and batch of NAME:SIZE:BATCH; those of a recipe are its own."""
    name, size, batch = (model.split(":") + ["32", "0"])[:3]
    return name, size, batch


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(found: dict[str, Any], name: str, layout: str) -> str:
    return found["error"] if "error" in found else f"{found[name]:{layout}}"


def main() -> None:
    """Runs the parts that are asked for."""
    options = harness.parser(
        __doc__,
        parts=(["compilation", "rates", "feeding"], "Tables to make."),
        models=(["b0:224:256", "b4:380:64", "l2:475:8"], "Networks of rates: NAME:SIZE:BATCH."),
        fed=(["b0:32:128", "b0:224:256"], "Networks of feeding: NAME:SIZE:BATCH."),
        compiled=("cifar10", "Step to compile: a recipe, whose first student it is, or a network."),
        arms=(list(ARMS), "Arms of rates."),
        seconds=(4.0, "Length of a turn."),
        turns=(3, "Turns of each measurement."),
        limit=(900, "Seconds until a measurement is given up."),
        output=("gpu.md", "File to write."),
        compile_cache=("off", "Internal: directory of compiled programs of a child process."),
        worker=(None, "Internal: what a child process measures."),
    ).parse_args()
    if options.worker:
        print(json.dumps(work(options)))
        return
    report = Report(options)
    report.add(machine())
    if "compilation" in options.parts:
        compilation(report, options.compiled)
    if "rates" in options.parts:
        rates(report, options.models, options.arms)
    if "feeding" in options.parts:
        feeding(report, options.fed)
    pathlib.Path(options.output).write_text("\n".join(report.lines) + "\n")


if __name__ == "__main__":
    main()
