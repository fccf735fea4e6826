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

from data import preprocess, seeds
from data.augmentation import Augmentation, batch_noise, single_noise
from data.examples import UNKNOWN_LABEL, Examples
from data.order import LABELED, Columns, batch_order, gather
from data.preprocess import PreprocessSpec
from data.selected import record_batches

_PREFETCH = 4  # batches; the buffer that AUTOTUNE sizes may grow without bound

__all__ = ["Augmentation", "evaluation_batches", "noisy_views", "training_batches"]


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
        `selected_files` also "unlabeled_images" uint8 [U, S, S, 3] and "probabilities" float32
        [U, C].

    Raises:
        ValueError: if there is nothing to read, a batch size is below 1, a label is not in 0..C-1,
            or the records are of another number of classes.
    """
    _check(labeled, batch_size, num_classes)
    order = batch_order(len(labeled), batch_size, seed, LABELED, start_step)
    columns = _example_columns(labeled, spec)
    batches = _noised(gather(order, columns), spec, augmentation, seed, batch_size)
    batches = batches.map(lambda batch: {name: batch[name] for name in ("images", "labels")})
    if selected_files is not None:
        selected = record_batches(
            [os.fspath(file) for file in selected_files],
            spec,
            num_classes=num_classes,
            batch_size=unlabeled_batch_size,
            seed=seed,
            start_step=start_step,
        )
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
    batches = gather(order, _example_columns(examples, spec))
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
    batches = gather(order, _example_columns(shown, spec))
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


def _finished(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The pipeline with the options all pipelines have."""
    options = tf.data.Options()
    options.deterministic = True
    # The rewrites gain nothing here, and would copy the images held in memory into their graph.
    options.experimental_optimization.apply_default_optimizations = False
    return batches.with_options(options).prefetch(_PREFETCH)


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
            columns["images"] = _fit_all(tf.constant(examples.images), size=spec.image_size)
    return columns


@tf.function
def _fit_all(images: tf.Tensor, size: int) -> tf.Tensor:
    """All images of a small-image set in the size of the model."""
    if images.shape[1:3] == (size, size):
        return images
    return tf.map_fn(
        lambda image: preprocess.fit_small(image, size),
        images,
        fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
    )


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
