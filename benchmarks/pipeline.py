"""Throughput of the input pipeline at 224 pixels from real JPEGs, and memory of streaming.

Throughput: batches of cropped, flipped and augmented training images from a folder of JPEGs. The
arms are this repository's pipeline, the same without RandAugment, and the same with keras_cv's
RandAugment, called on whole batches in parallel as its authors recommend.

Cores: images per second of CPU time, which is the rate of one core, for images of 32 pixels in
memory and for the JPEGs at 224 pixels. Then the number of cores that feed the training of
EfficientNet-B0 on a GPU, at the rate that `noisy_student.plan` assumes.

Memory: the peak of a process that reads all records once, from a set of shards and from one ten
times as large. Records are streamed as selected ones in training, and indexed and decoded as
unlabeled ones for pseudo labels.

    python -m benchmarks.pipeline --images=../shared/data/imagenet_sample
"""

import argparse
import functools
import json
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from benchmarks import harness
from data import pipeline, preprocess, record_schema, seeds
from data.examples import DecodedExamples, EncodedExamples, Examples
from data.pipeline import selected
from data.pipeline.order import LABELED, batch_order
from data.preprocess import PreprocessSpec
from data.sources import folders, records
from efficientnet.cost import cost
from noisy_student import plan

_SHARD_RECORDS = 1000
_SMALL = 128  # longer side of the images in the records, in pixels


def _ours(examples: Examples, options: argparse.Namespace) -> tf.data.Dataset:
    return pipeline.training_batches(
        examples,
        PreprocessSpec(options.size),
        pipeline.Augmentation("randaugment"),
        pipeline.Order(seed=0),
        batch_size=options.batch_size,
    )


def _keras_cv(examples: EncodedExamples, options: argparse.Namespace) -> tf.data.Dataset:
    """Returns the same decoded, cropped and flipped batches, augmented by keras_cv."""
    import keras_cv

    layer = keras_cv.layers.RandAugment(
        value_range=(0, 255), augmentations_per_image=2, magnitude=1.0
    )
    augment = functools.partial(layer, training=True)
    return _cropped(examples, options).map(augment, num_parallel_calls=tf.data.AUTOTUNE)


def _cropped(examples: EncodedExamples, options: argparse.Namespace) -> tf.data.Dataset:
    """Returns batches of decoded, randomly cropped and flipped images, uint8."""
    spec, files = PreprocessSpec(options.size), tf.constant(examples.files.tolist())

    def load(element: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = preprocess.decode_image(tf.io.read_file(files[element["index"]]))
        seed = tf.cast(tf.stack([element["index"], element["pass"]]), tf.int32)
        return preprocess.inception_crop(image, seed, spec), seed

    order = batch_order(
        len(examples), options.batch_size, pipeline.Order(seed=0), LABELED
    ).unbatch()
    batches = order.map(load, tf.data.AUTOTUNE).batch(options.batch_size, drop_remainder=True)
    return batches.map(
        lambda images, image_seeds: preprocess.flip(images, seeds.fold(image_seeds, 1)),
        tf.data.AUTOTUNE,
    )


def _throughput(examples: EncodedExamples, options: argparse.Namespace) -> None:
    builders = {"ours": _ours, "without augmentation": _cropped, "keras_cv": _keras_cv}
    arms = {
        name: functools.partial(
            harness.batch_rate, build(examples, options), options.batch_size, options.seconds
        )
        for name, build in builders.items()
    }
    rates = harness.take_turns(arms, options.repeats)
    for name, measured in rates.items():
        rate, ratio = np.median(measured[:, 0]), np.median(rates["ours"][:, 0] / measured[:, 0])
        print(f"{options.size} px: {name}: {rate:,.0f} images/s; ours is {ratio:.2f}x", flush=True)


def _cores(photographs: EncodedExamples, options: argparse.Namespace) -> None:
    """Compares the rate of one core with those of GPUs."""
    count, rng = 4096, np.random.default_rng(0)
    small = DecodedExamples(
        np.array([f"x/{number}" for number in range(count)], object),
        np.zeros(count, np.int32),
        ("a",),
        images=rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
    )
    for size, examples in ((32, small), (224, photographs)):
        batches = pipeline.training_batches(
            examples,
            PreprocessSpec(size, small_image=size == 32),
            pipeline.Augmentation("randaugment"),
            pipeline.Order(seed=0),
            batch_size=options.batch_size,
        )
        turns = range(options.cores)
        rates = [harness.batch_rate(batches, options.batch_size, options.seconds) for _ in turns]
        rate = np.median(rates, axis=0)[1]
        image = cost("efficientnet-b0", size, small_image=size == 32)
        needed = []
        for name in ("l4", "rtx4090", "a100", "h100", "h200"):
            device = plan.DEVICES[name]
            fed = device.peak * device.utilization / (6 * image.multiply_adds)
            needed.append(f"{name} {fed / rate:.1f} (of {fed:,.0f} images/s)")
        print(f"{size} px: {rate:,.0f} images/s per core; cores: {', '.join(needed)}", flush=True)


def _write_records(examples: Examples, folder: pathlib.Path, count: int) -> None:
    """Writes records for a student: small versions of the images, repeated as needed."""
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
    """Reads all records once and prints the peak memory of this process."""
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
    print(json.dumps({"records": count, "bytes": total, "peak_mib": harness.peak_mib()}))


def _memory(examples: Examples, count: int) -> None:
    """Compares peaks of processes that read one set of shards and ten."""
    with tempfile.TemporaryDirectory() as root:
        folder_of = {times: pathlib.Path(root) / str(times) for times in (1, 10)}
        for times, folder in folder_of.items():
            _write_records(examples, folder, times * count)
        for kind in ("stream", "index"):
            for folder in folder_of.values():
                found = harness.run_child("benchmarks.pipeline", read=f"{kind},{folder}")
                print(
                    f"{kind}: {found['records']:,} records, {found['bytes'] / 2**20:,.0f} MiB: "
                    f"peak {found['peak_mib']:,.0f} MiB",
                    flush=True,
                )


def main() -> None:
    """Prints all comparisons."""
    options = harness.parser(
        __doc__,
        images=("../shared/data/imagenet_sample", "Folder of JPEGs in class sub-folders."),
        size=(224, "Side of the images in pixels."),
        batch_size=(64, "Images per batch."),
        repeats=(5, "Turns of each arm; 0 skips throughput."),
        cores=(3, "Turns of the rate of a core; 0 skips it."),
        seconds=(4.0, "Length of a turn."),
        records=(10_000, "Records in the smaller set of shards; 0 skips memory."),
        read=(None, "Internal: KIND,FOLDER that a child process reads."),
    ).parse_args()
    if options.read:
        _read_once(*options.read.split(",", 1))
        return
    examples = folders.read_labeled(options.images)
    if options.repeats:
        _throughput(examples, options)
    if options.cores:
        _cores(examples, options)
    if options.records:
        _memory(examples, options.records)


if __name__ == "__main__":
    main()
