"""Input pipelines: batches of labeled and pseudo-labeled images for training, and for evaluation.

Batch k of a training pipeline is a function of its arguments alone. Every pass over the data has
its own permutation, drawn from (seed, pass) without state; which examples a batch holds follows
from k; and the noise of an image follows from (seed, pass, id, copy). So neither parallelism nor
resuming at a later step changes a batch.

Images in memory that a small-image model takes never leave whole batches; others are decoded,
cropped and resized one by one, in parallel, and noised in batches.
"""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data import preprocess, seeds, tfrecord
from data.augmentation import Augmentation, batch_noise, single_noise
from data.examples import UNKNOWN_LABEL, Examples
from data.preprocess import PreprocessSpec

__all__ = ["Augmentation", "evaluation_batches", "noisy_views", "training_batches"]

IN_MEMORY_BYTES = 2 << 30  # selected records up to this size are kept in memory
_BLOCK_RECORDS = 8192  # larger sets are shuffled in blocks of as many records,
_OPEN_SHARDS = 16  # read from as many shards at once
_READ_RECORDS = 1024
# What orders are drawn for, one constant per purpose.
_LABELED, _SELECTED, _SHARDS, _BLOCK = range(4)

Columns = dict[str, tf.Tensor]


def training_batches(
    labeled: Examples,
    spec: PreprocessSpec,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    num_classes: int,
    selected_files: Sequence[str | os.PathLike] | None = None,
    unlabeled_batch_size: int = 0,
    start_step: int = 0,
    unlabeled_augmentation: Augmentation | None = None,
) -> tf.data.Dataset:
    """An endless stream of training batches.

    Every pass sees every example once; batches run across the ends of passes.

    Args:
        labeled: the labeled images.
        spec: size and interpolation.
        augmentation: noise of the labeled images.
        batch_size: labeled images per batch (B).
        seed: decides order and noise.
        num_classes: length of the distributions (C).
        selected_files: TFRecord files of pseudo-labeled images; None: labeled images only.
        unlabeled_batch_size: pseudo-labeled images per batch (U).
        start_step: number of the first batch; earlier ones cost no image work.
        unlabeled_augmentation: noise of the pseudo-labeled images; None: that of the labeled ones.

    Returns:
        Dictionaries of "images" uint8 [B, S, S, 3] and "labels" int32 [B], and with
        `selected_files` also "unlabeled_images" uint8 [U, S, S, 3] and "probabilities" float32 [U,
        C].

    Raises:
        ValueError: if there is nothing to read, a batch size is below 1, a label is not in 0..C-1,
            or the records are of another number of classes.
    """
    _check(labeled, batch_size, num_classes)
    order = _order(len(labeled), batch_size, seed, _LABELED, start_step)
    columns = _example_columns(labeled, spec)
    batches = _noised(_gather(order, columns), spec, augmentation, seed, batch_size)
    batches = batches.map(lambda batch: {name: batch[name] for name in ("images", "labels")})
    if selected_files is not None:
        files = [os.fspath(file) for file in selected_files]
        _check_selected(files, unlabeled_batch_size, num_classes)
        selected = _selected(files, spec, num_classes, unlabeled_batch_size, seed, start_step)
        noise = unlabeled_augmentation or augmentation
        selected = _noised(selected, spec, noise, seed, unlabeled_batch_size)
        batches = tf.data.Dataset.zip(batches, selected).map(
            lambda batch, other: {
                **batch,
                "unlabeled_images": other["images"],
                "probabilities": other["probabilities"],
            }
        )
    return _finished(batches)


def evaluation_batches(
    examples: Examples, spec: PreprocessSpec, *, batch_size: int
) -> tf.data.Dataset:
    """Every example once, in order, without noise.

    Args:
        examples: the images.
        spec: how they are cropped and resized.
        batch_size: images per batch (b); the last batch is filled up.

    Returns:
        Dictionaries of "images" uint8 [b, S, S, 3], "labels" int32 [b] and "index" int64 [b], the
        position in `examples`; index and label are -1 where the last batch was filled up.
    """
    steps = -(-len(examples) // batch_size)
    index = np.arange(steps * batch_size)
    index = np.where(index < len(examples), index, -1)
    order = tf.data.Dataset.from_tensor_slices(
        {
            "index": index.reshape(steps, batch_size),
            "pass": np.zeros([steps, batch_size], np.int64),
        }
    )
    batches = _gather(order, _example_columns(examples, spec))
    batches = _noised(batches, spec, Augmentation("none"), 0, batch_size)
    return _finished(
        batches.map(
            lambda batch: {
                "images": batch["images"],
                "labels": tf.where(batch["index"] < 0, UNKNOWN_LABEL, batch["labels"]),
                "index": batch["index"],
            }
        )
    )


def noisy_views(
    examples: Examples,
    indices: Sequence[int],
    spec: PreprocessSpec,
    augmentation: Augmentation,
    seed: int,
    views: int,
) -> np.ndarray:
    """Shows images as training sees them, by the same code.

    Args:
        examples: the images.
        indices: which of them (n).
        spec: size and interpolation.
        augmentation: the noise.
        seed: as for training.
        views: how many noised copies of each; copy v is what pass v over the data shows.

    Returns:
        uint8 [n, views, S, S, 3].
    """
    shown = examples.take(indices)
    order = tf.data.Dataset.range(views).map(
        lambda view: {
            "index": tf.range(len(shown), dtype=tf.int64),
            "pass": tf.fill([len(shown)], view),
        }
    )
    batches = _gather(order, _example_columns(shown, spec))
    batches = _noised(batches, spec, augmentation, seed, len(shown))
    return np.stack([batch["images"].numpy() for batch in batches], axis=1)


def _check(labeled: Examples, batch_size: int, num_classes: int) -> None:
    """Refuses labeled images that cannot be trained on."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
    if not len(labeled):
        raise ValueError("There are no labeled images.")
    invalid = np.flatnonzero((labeled.labels < 0) | (labeled.labels >= num_classes))
    if len(invalid):
        first = invalid[0]
        raise ValueError(
            f"{labeled.ids[first]} has the label {labeled.labels[first]}; valid: "
            f"0..{num_classes - 1}."
        )


def _check_selected(files: Sequence[str], batch_size: int, num_classes: int) -> None:
    """Refuses records that cannot be trained on, going by the first one."""
    if batch_size < 1:
        raise ValueError(f"unlabeled_batch_size must be at least 1, not {batch_size}.")
    serialized = next(iter(tf.data.TFRecordDataset(files)), None) if files else None
    if serialized is None:
        raise ValueError(f"There are no records in the selected files {files}.")
    record = tf.train.Example.FromString(serialized.numpy())
    found = len(record.features.feature["probabilities"].float_list.value)
    if found != num_classes:
        raise ValueError(
            f"The records of {files[0]} have {found} probabilities, but there are {num_classes} "
            "classes."
        )


def _finished(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The pipeline with the options all pipelines have."""
    options = tf.data.Options()
    options.deterministic = True
    # The rewrites gain nothing here, and would copy the images held in memory into their graph.
    options.experimental_optimization.apply_default_optimizations = False
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)


def _permutation(
    length: tf.Tensor | int,
    seed: int,
    purpose: int,
    pass_index: tf.Tensor,
    block: tf.Tensor | int = 0,
) -> tf.Tensor:
    """A permutation, int64 [length], drawn from the seed for a purpose, a pass and a block."""
    key = seeds.example_seeds(
        seed,
        pass_index=tf.reshape(pass_index, [1]),
        id_hash=tf.reshape(tf.cast(block, tf.int64), [1]),
        copy=tf.constant([purpose]),
    )
    values = tf.range(tf.cast(length, tf.int64))
    return tf.random.experimental.stateless_shuffle(values, key[0], alg="philox")


def _order(
    num_examples: int, batch_size: int, seed: int, purpose: int, start_step: int
) -> tf.data.Dataset:
    """Which examples each batch holds, without end, from batch `start_step` on.

    Returns dictionaries of "index" and "pass", both int64 [batch_size].
    """
    # tf.random.experimental.index_shuffle would do without whole permutations, but TensorFlow
    # 2.21's is none for 2**16 + 1 and 2**18 + 1 elements, and far from uniform for small sets.
    first_pass, offset = divmod(start_step * batch_size, num_examples)

    def one_pass(position: tf.Tensor) -> Columns:
        index = _permutation(num_examples, seed, purpose, position)
        index = index[tf.where(position == first_pass, offset, 0) :]
        return {"index": index, "pass": tf.fill(tf.shape(index), position)}

    passes = tf.data.Dataset.counter(first_pass).map(one_pass)
    return passes.rebatch(batch_size, drop_remainder=True)


def _example_columns(examples: Examples, spec: PreprocessSpec) -> Columns:
    """The examples as tensors: "images" in the model's size, "original" ones, or "file" names."""
    with tf.device("CPU:0"):
        columns = {
            "labels": tf.constant(examples.labels),
            "id_hash": tf.constant(seeds.hash_ids(examples.ids).view(np.int64)),
            "copy": tf.zeros(len(examples), tf.int32),
        }
        if examples.files is not None:
            columns["file"] = tf.constant(examples.files.tolist(), tf.string)
        elif not spec.small_image:
            columns["original"] = tf.constant(examples.images)
        else:
            columns["images"] = _fit_all(tf.constant(examples.images), spec.image_size)
    return columns


def _fit_all(images: tf.Tensor, size: int) -> tf.Tensor:
    """All images of a small-image set in the size of the model."""
    if images.shape[1:3] == (size, size):
        return images
    signature = tf.TensorSpec([size, size, 3], tf.uint8)
    fit = lambda image: preprocess.fit_small(image, size)  # noqa: E731
    return tf.map_fn(fit, images, fn_output_signature=signature)


def _gather(order: tf.data.Dataset, columns: Columns) -> tf.data.Dataset:
    """Batches of the columns in the given order; index -1 takes any example."""

    def gather(batch: Columns) -> Columns:
        where = tf.maximum(batch["index"], 0)
        return batch | {name: tf.gather(column, where) for name, column in columns.items()}

    return order.map(gather, num_parallel_calls=tf.data.AUTOTUNE)


def _noised(
    batches: tf.data.Dataset,
    spec: PreprocessSpec,
    augmentation: Augmentation,
    seed: int,
    batch_size: int,
) -> tf.data.Dataset:
    """Turns batches of columns into batches with noised "images", uint8 [batch_size, S, S, 3]."""
    noise = batch_noise(spec, augmentation, seed)

    def add_seeds(batch: Columns) -> Columns:
        drawn = seeds.example_seeds(seed, batch["pass"], batch["id_hash"], batch["copy"])
        return batch | {"seeds": drawn}

    def load(element: Columns) -> Columns:
        image = single_noise(_original(element), element["seeds"], spec, augmentation)
        return element | {"images": image}

    def apply(batch: Columns) -> Columns:
        return batch | {"images": noise(batch["images"], batch["seeds"])}

    batches = batches.map(add_seeds, num_parallel_calls=tf.data.AUTOTUNE)
    if "images" not in batches.element_spec:
        images = batches.unbatch().map(load, num_parallel_calls=tf.data.AUTOTUNE)
        batches = images.batch(batch_size, drop_remainder=True)
    stateful = augmentation.kind == "keras_cv"
    return batches.map(apply, num_parallel_calls=None if stateful else tf.data.AUTOTUNE)


def _original(element: Columns) -> tf.Tensor:
    """The image, uint8 [H, W, 3], of an element that has it in one form or another."""
    if "original" in element:
        return element["original"]
    encoded = tf.io.read_file(element["file"]) if "file" in element else element["encoded"]
    return preprocess.decode_image(encoded)


def _selected(
    files: list[str],
    spec: PreprocessSpec,
    num_classes: int,
    batch_size: int,
    seed: int,
    start_step: int,
) -> tf.data.Dataset:
    """Batches of pseudo-labeled records: the fields of `tfrecord.parse` and "pass"."""
    if sum(os.path.getsize(file) for file in files) > IN_MEMORY_BYTES:
        return _streamed(files, num_classes, batch_size, seed, start_step)
    columns = _record_columns(files, spec, num_classes)
    order = _order(len(columns["copy"]), batch_size, seed, _SELECTED, start_step)
    return _gather(order, columns)


def _record_columns(files: list[str], spec: PreprocessSpec, num_classes: int) -> Columns:
    """All records as tensors; small images are decoded once and for all."""

    def decode(record: Columns) -> Columns:
        image = preprocess.decode_image(record.pop("encoded"))
        return record | {"images": preprocess.fit_small(image, spec.image_size)}

    with tf.device("CPU:0"):
        records = tf.data.Dataset.from_tensor_slices(files).flat_map(
            lambda file: tfrecord.read_file(file, num_classes)
        )
        if spec.small_image:
            records = records.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        parts = list(records.batch(_READ_RECORDS))
        return {name: tf.concat([part[name] for part in parts], 0) for name in parts[0]}


def _streamed(
    files: list[str], num_classes: int, batch_size: int, seed: int, start_step: int
) -> tf.data.Dataset:
    """Batches of records which do not fit in memory.

    In every pass shards are permuted, read several at once, and records are shuffled in blocks.
    """
    first_pass, offset = 0, 0
    if start_step:
        first_pass, offset = divmod(start_step * batch_size, tfrecord.count_records(files))

    def one_pass(position: tf.Tensor) -> tf.data.Dataset:
        shards = tf.gather(files, _permutation(len(files), seed, _SHARDS, position))
        records = tf.data.Dataset.from_tensor_slices(shards).interleave(
            lambda file: tfrecord.read_file(file, num_classes),
            cycle_length=_OPEN_SHARDS,
            num_parallel_calls=tf.data.AUTOTUNE,
        )

        def shuffled(block: tf.Tensor, batch: Columns) -> Columns:
            length = tf.shape(batch["copy"])[0]
            order = _permutation(length, seed, _BLOCK, position, block)
            batch = {name: tf.gather(column, order) for name, column in batch.items()}
            return batch | {"pass": tf.fill(tf.shape(order), position)}

        return records.batch(_BLOCK_RECORDS).enumerate().map(shuffled).prefetch(1).unbatch()

    records = tf.data.Dataset.counter(first_pass).flat_map(one_pass).skip(offset)
    return records.batch(batch_size, drop_remainder=True)
