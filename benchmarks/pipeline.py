"""The input pipeline at 224 px from real JPEGs, and the memory that streaming takes.

Throughput: batches of cropped, flipped and augmented training images made from a folder of JPEGs,
by this repository's pipeline, by the same one without RandAugment, and by the same steps with
keras_cv's RandAugment in its place, called on whole batches in parallel as its authors recommend.
The arms take turns; what counts is the median of the ratios within a turn.

Memory: the peak of a process that reads records once through, from a set of shards and from one ten
times as large; as selected records are streamed in training, and as unlabeled ones are indexed and
decoded for pseudo labels.

    python -m benchmarks.pipeline --images=../shared/data/imagenet_sample
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import memory
from data import pipeline, preprocess, record_schema, seeds
from data.examples import EncodedExamples, Examples
from data.pipeline import selected
from data.pipeline.order import LABELED, batch_order
from data.preprocess import PreprocessSpec
from data.sources import folders, records

_IMAGES = flags.DEFINE_string(
    "images", "../shared/data/imagenet_sample", "A folder of JPEGs in class sub-folders."
)
_SIZE = flags.DEFINE_integer("size", 224, "Side of the images in pixels.", lower_bound=8)
_BATCH = flags.DEFINE_integer("batch_size", 64, "Images per batch.", lower_bound=1)
_REPEATS = flags.DEFINE_integer(
    "repeats", 5, "How often each arm has its turn; 0: no measurement of speed.", lower_bound=0
)
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Length of a turn.", lower_bound=0.1)
_RECORDS = flags.DEFINE_integer(
    "records", 10_000, "In the smaller set of shards; 0: no measurement of memory.", lower_bound=0
)
_READ = flags.DEFINE_string("read", None, "Used by the script itself: KIND,FOLDER to read.")

_SHARD_RECORDS = 1000
_SMALL = 128  # longer side in pixels of the images in the records


def _ours(examples: Examples) -> tf.data.Dataset:
    return pipeline.training_batches(
        examples,
        PreprocessSpec(_SIZE.value),
        pipeline.Augmentation("randaugment"),
        pipeline.Order(seed=0),
        batch_size=_BATCH.value,
    )


def _keras_cv(examples: EncodedExamples) -> tf.data.Dataset:
    """The same decoding, crop and flip; keras_cv's augmentation of whole batches."""
    import keras_cv

    layer = keras_cv.layers.RandAugment(
        value_range=(0, 255), augmentations_per_image=2, magnitude=1.0
    )
    return _cropped(examples).map(
        lambda images: layer(images, training=True), num_parallel_calls=tf.data.AUTOTUNE
    )


def _cropped(examples: EncodedExamples) -> tf.data.Dataset:
    """Batches of decoded, randomly cropped and flipped images, uint8."""
    spec, files = PreprocessSpec(_SIZE.value), tf.constant(examples.files.tolist())

    def load(element: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = preprocess.decode_image(tf.io.read_file(files[element["index"]]))
        seed = tf.cast(tf.stack([element["index"], element["pass"]]), tf.int32)
        return preprocess.inception_crop(image, seed, spec), seed

    order = batch_order(len(examples), _BATCH.value, pipeline.Order(seed=0), LABELED).unbatch()
    batches = order.map(load, tf.data.AUTOTUNE).batch(_BATCH.value, drop_remainder=True)
    return batches.map(
        lambda images, image_seeds: preprocess.flip(images, seeds.fold(image_seeds, 1)),
        tf.data.AUTOTUNE,
    )


def _rate(batches: tf.data.Dataset) -> float:
    """Images per second; the iterator ends with its turn, and works ahead in no other's."""
    iterator = iter(batches)
    next(iterator)
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _SECONDS.value or count == 0:
        next(iterator)
        count += _BATCH.value
    return count / elapsed


def _throughput(examples: EncodedExamples) -> None:
    arms = {
        "ours": _ours(examples),
        "without augmentation": _cropped(examples),
        "keras_cv": _keras_cv(examples),
    }
    turns = [
        {name: _rate(batches) for name, batches in arms.items()} for _ in range(_REPEATS.value)
    ]
    for name in arms:
        rate = statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn["ours"] / turn[name] for turn in turns)
        print(f"{_SIZE.value} px: {name}: {rate:,.0f} images/s; ours is {ratio:.2f}x", flush=True)


def _write_records(examples: Examples, folder: pathlib.Path, count: int) -> None:
    """Student-ready records of small versions of the images, over and over."""
    small = []
    for index in range(min(len(examples), 1000)):
        image = preprocess.decode_image(examples.encoded(index))
        image = tf.image.resize(image, [_SMALL, _SMALL], "area")
        small.append(tf.io.encode_jpeg(tf.cast(image, tf.uint8)).numpy())
    one_hot = np.eye(10, dtype=np.float32)[0]
    serialized = (
        record_schema.serialize(small[i % len(small)], 0, 1.0, one_hot, f"x/{i}")
        for i in range(count)
    )
    record_schema.write_shards(serialized, folder, count, count // _SHARD_RECORDS)


def _read_once(kind: str, folder: str) -> None:
    """Reads all records once, and prints the peak memory of this process."""
    files = records.find_files([folder])
    count = record_schema.count_records(files)
    if kind == "stream":
        selected.IN_MEMORY_BYTES = 0
        spec = PreprocessSpec(_SMALL)
        records_read = pipeline.Selected(files, batch_size=100)
        batches = selected.record_batches(records_read, spec, 10, pipeline.Order(seed=0)).dataset
    else:
        examples, _ = records.read_unlabeled(files, ("a",))
        batches = pipeline.evaluation_batches(examples, PreprocessSpec(32), batch_size=100)
    for _ in batches.take(count // 100):
        pass
    total = sum(pathlib.Path(file).stat().st_size for file in files)
    print(json.dumps({"records": count, "bytes": total, "peak_mib": memory.peak_mib()}))


def _memory(examples: Examples) -> None:
    """Compares the peaks of processes that read one and ten sets of shards."""
    with tempfile.TemporaryDirectory() as root:
        folder_of = {times: pathlib.Path(root) / str(times) for times in (1, 10)}
        for times, folder in folder_of.items():
            _write_records(examples, folder, times * _RECORDS.value)
        for kind in ("stream", "index"):
            for folder in folder_of.values():
                command = [sys.executable, "-m", "benchmarks.pipeline", f"--read={kind},{folder}"]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"{kind}: {found['records']:,} records, {found['bytes'] / 2**20:,.0f} MiB: "
                    f"peak {found['peak_mib']:,.0f} MiB",
                    flush=True,
                )


def main(_: list[str]) -> None:
    """Prints both comparisons."""
    if _READ.value:
        _read_once(*_READ.value.split(",", 1))
        return
    examples = folders.read_labeled(_IMAGES.value)
    if _REPEATS.value:
        _throughput(examples)
    if _RECORDS.value:
        _memory(examples)


if __name__ == "__main__":
    app.run(main)
