"""Small images on disk, decoded once against decoded in every pass.

The training pipeline (random crop, flip, RandAugment) on CIFAR-10's JPEGs at 32 px, read as
TFRecords where tensorflow-datasets keeps them, and as image files: with the decoded images held in
memory and without. (`--dataset=tfds:cifar10` itself is read into memory.) The two arms take turns;
what counts is the median of the ratios within a turn, by the clock and by CPU time, which other
work on the machine disturbs less. Before that, they must give the same batches.

Memory: how much the peak of a process grows by holding them.

    python -m benchmarks.decoded --data_dir=TFDS
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import memory
from data import pipeline
from data.examples import WHOLE_FILE, EncodedExamples
from data.pipeline.decoded import DecodedCache
from data.preprocess import PreprocessSpec
from data.sources import records

_DATA_DIR = flags.DEFINE_string("data_dir", "../shared/data/tfds", "It has cifar10.")
_IMAGES = flags.DEFINE_integer("images", 50_000, "How many, the first ones.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per batch.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "How often each arm has its turn.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Length of a turn.", lower_bound=0.1)
_HOLD = flags.DEFINE_integer("hold", -1, "Used by the script itself: images to hold.")

_SPEC = PreprocessSpec(32, small_image=True)
_NOISE = pipeline.Augmentation("randaugment", magnitude=5.0)
_MIB = 1 << 20


def _cifar10() -> EncodedExamples:
    pattern = f"{_DATA_DIR.value}/cifar10/*/cifar10-train.tfrecord-*"
    examples, _ = records.read_unlabeled([pattern], tuple(map(str, range(10))))
    labeled = dataclasses.replace(examples, labels=np.zeros(len(examples), np.int32))
    return labeled.take(range(min(_IMAGES.value, len(examples))))


def _as_files(examples: EncodedExamples, folder: pathlib.Path) -> EncodedExamples:
    """The same JPEGs, each a file of its own."""
    paths = [str(folder / f"{number:05d}.jpg") for number in range(len(examples))]
    for number, path in enumerate(paths):
        pathlib.Path(path).write_bytes(examples.encoded(number))
    offsets = np.full(len(paths), WHOLE_FILE)
    return dataclasses.replace(examples, files=np.array(paths, object), offsets=offsets)


def _batches(examples: EncodedExamples, cache: DecodedCache | None) -> tf.data.Dataset:
    return pipeline.training_batches(
        examples, _SPEC, _NOISE, pipeline.Order(seed=0), batch_size=_BATCH.value, cache=cache
    )


def _whole_cache(examples: EncodedExamples) -> DecodedCache:
    return DecodedCache(len(examples) * _SPEC.image_size**2 * 3)


def _rates(batches: tf.data.Dataset) -> np.ndarray:
    """Images per second, by the clock and of CPU time; the iterator ends with its turn."""
    iterator = iter(batches)
    for _ in range(16):  # as many as are made ahead
        next(iterator)
    count, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < _SECONDS.value or count == 0:
        next(iterator)
        count += _BATCH.value
    return count / np.array([time.perf_counter() - start, time.process_time() - cpu])


def _refuse_difference(first: tf.data.Dataset, second: tf.data.Dataset) -> None:
    for step, (one, other) in enumerate(zip(first.take(20), second.take(20), strict=True)):
        for name in one:
            if not np.array_equal(one[name], other[name]):
                raise RuntimeError(f"The arms differ in batch {step}: {name}.")


def _compare(kind: str, examples: EncodedExamples) -> None:
    start = time.process_time()
    cached = _batches(examples, _whole_cache(examples))
    spent = time.process_time() - start
    arms = {"decoded once": cached, "in every pass": _batches(examples, None)}
    _refuse_difference(*arms.values())
    turns = [[_rates(arm) for arm in arms.values()] for _ in range(_REPEATS.value)]
    rates = np.median(turns, axis=0)
    ratios = np.array([once / every for once, every in turns])
    for column, unit in enumerate(("s", "s of CPU time")):
        once, every = rates[:, column]
        low, middle, high = np.quantile(ratios[:, column], [0, 0.5, 1])
        print(
            f"{kind}, images/{unit}: decoded once {once:,.0f}, in every pass {every:,.0f}; "
            f"{middle:.2f}x ({low:.2f} to {high:.2f})",
            flush=True,
        )
    every_pass, held = len(examples) / rates[::-1, 1]
    print(
        f"{kind}, CPU time of {len(examples):,} images: decoding once {spent:.1f} s; a pass "
        f"{held:.1f} s with them held, {every_pass:.1f} s without",
        flush=True,
    )


def _hold(count: int) -> None:
    """Prints the peak memory of this process, which holds as many images decoded (0: none)."""
    examples = _cifar10()
    cache = DecodedCache(count * _SPEC.image_size**2 * 3)
    for _ in _batches(examples, cache).take(50):
        pass
    print(json.dumps({"peak_mib": memory.peak_mib()}))


def _memory(count: int) -> None:
    peaks = []
    for held in (0, count):
        command = [
            *(sys.executable, "-m", "benchmarks.decoded", f"--hold={held}"),
            *(f"--{flag.name}={flag.value}" for flag in (_DATA_DIR, _IMAGES, _BATCH)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(json.loads(done.stdout.splitlines()[-1])["peak_mib"])
    size = count * _SPEC.image_size**2 * 3 / _MIB
    print(
        f"peak memory: {peaks[0]:,.0f} MiB without, {peaks[1]:,.0f} MiB with {size:,.0f} MiB held",
        flush=True,
    )


def main(_: list[str]) -> None:
    """Prints both comparisons."""
    if _HOLD.value >= 0:
        _hold(_HOLD.value)
        return
    examples = _cifar10()
    _compare("TFRecords", examples)
    with tempfile.TemporaryDirectory() as folder:
        _compare("image files", _as_files(examples, pathlib.Path(folder)))
    _memory(len(examples))


if __name__ == "__main__":
    app.run(main)
