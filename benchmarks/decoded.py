"""Small images on disk: decoded once and held in memory, or decoded in every pass.

Runs the training pipeline (random crop, flip, RandAugment) on CIFAR-10's JPEGs at 32 pixels, stored
as TFRecords by tensorflow-datasets and as image files. (`--dataset=tfds:cifar10` itself is read
into memory.) Both arms must give the same batches. Also prints how much the peak memory of a
process grows by holding the decoded images.

    python -m benchmarks.decoded --data_dir=TFDS
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf

from benchmarks import harness
from data import pipeline
from data.examples import WHOLE_FILE, EncodedExamples
from data.pipeline.decoded import DecodedCache
from data.preprocess import PreprocessSpec
from data.sources import records

_SPEC = PreprocessSpec(32, small_image=True)
_NOISE = pipeline.Augmentation("randaugment", magnitude=5.0)
_IMAGE_BYTES = _SPEC.image_size**2 * 3
_PREFETCHED = 16  # batches that a pipeline prepares ahead


def _cifar10(options: argparse.Namespace) -> EncodedExamples:
    pattern = f"{options.data_dir}/cifar10/*/cifar10-train.tfrecord-*"
    examples, _ = records.read_unlabeled([pattern], tuple(map(str, range(10))))
    labeled = dataclasses.replace(examples, labels=np.zeros(len(examples), np.int32))
    return labeled.take(range(min(options.images, len(examples))))


def _as_files(examples: EncodedExamples, folder: pathlib.Path) -> EncodedExamples:
    """Writes each JPEG to a file of its own."""
    paths = [str(folder / f"{number:05d}.jpg") for number in range(len(examples))]
    for number, path in enumerate(paths):
        pathlib.Path(path).write_bytes(examples.encoded(number))
    offsets = np.full(len(paths), WHOLE_FILE)
    return dataclasses.replace(examples, files=np.array(paths, object), offsets=offsets)


def _batches(examples: EncodedExamples, batch_size: int, num_held: int) -> tf.data.Dataset:
    """Returns training batches that hold the first `num_held` images decoded, or none for 0."""
    cache = DecodedCache(num_held * _IMAGE_BYTES) if num_held else None
    return pipeline.training_batches(
        examples, _SPEC, _NOISE, pipeline.Order(seed=0), batch_size=batch_size, cache=cache
    )


def _require_equal(first: tf.data.Dataset, second: tf.data.Dataset) -> None:
    for step, (one, other) in enumerate(zip(first.take(20), second.take(20), strict=True)):
        for name in one:
            if not np.array_equal(one[name], other[name]):
                raise RuntimeError(f"The arms differ in batch {step}: {name}.")


def _compare(kind: str, examples: EncodedExamples, options: argparse.Namespace) -> None:
    start = time.process_time()
    held = _batches(examples, options.batch_size, len(examples))
    decoding_seconds = time.process_time() - start
    decoded_anew = _batches(examples, options.batch_size, 0)
    _require_equal(held, decoded_anew)
    arms = {
        name: functools.partial(
            harness.batch_rate, batches, options.batch_size, options.seconds, _PREFETCHED
        )
        for name, batches in (("held", held), ("anew", decoded_anew))
    }
    rates = harness.take_turns(arms, options.repeats)
    ratios = np.quantile(rates["held"] / rates["anew"], [0.5, 0, 1], axis=0)
    for column, unit in enumerate(("s", "s of CPU time")):
        once, anew = (np.median(rates[name][:, column]) for name in ("held", "anew"))
        middle, low, high = ratios[:, column]
        print(
            f"{kind}, images/{unit}: decoded once {once:,.0f}, in every pass {anew:,.0f}; "
            f"{middle:.2f}x ({low:.2f} to {high:.2f})",
            flush=True,
        )
    held_pass, anew_pass = (
        len(examples) / np.median(rates[name][:, 1]) for name in ("held", "anew")
    )
    print(
        f"{kind}, CPU time of {len(examples):,} images: decoding once {decoding_seconds:.1f} s; a "
        f"pass {held_pass:.1f} s with them held, {anew_pass:.1f} s without",
        flush=True,
    )


def _print_peak(options: argparse.Namespace) -> None:
    """Prints the peak memory of this process while it holds --hold decoded images."""
    for _ in _batches(_cifar10(options), options.batch_size, options.hold).take(50):
        pass
    print(json.dumps({"peak_mib": harness.peak_mib()}))


def _memory(count: int, options: argparse.Namespace) -> None:
    shared = {name: getattr(options, name) for name in ("data_dir", "images", "batch_size")}
    without, held = (
        harness.run_child("benchmarks.decoded", hold=number, **shared)["peak_mib"]
        for number in (0, count)
    )
    print(
        f"peak memory: {without:,.0f} MiB without, {held:,.0f} MiB with "
        f"{count * _IMAGE_BYTES / 2**20:,.0f} MiB held",
        flush=True,
    )


def main() -> None:
    """Prints the comparisons of speed and memory."""
    options = harness.parser(
        __doc__,
        data_dir=("../shared/data/tfds", "Folder of tensorflow-datasets with cifar10."),
        images=(50_000, "Number of images."),
        batch_size=(128, "Images per batch."),
        repeats=(5, "Turns of each arm."),
        seconds=(4.0, "Length of a turn."),
        hold=(-1, "Internal: number of images that a child process holds."),
    ).parse_args()
    if options.hold >= 0:
        _print_peak(options)
        return
    examples = _cifar10(options)
    _compare("TFRecords", examples, options)
    with tempfile.TemporaryDirectory() as folder:
        _compare("image files", _as_files(examples, pathlib.Path(folder)), options)
    _memory(len(examples), options)


if __name__ == "__main__":
    main()
