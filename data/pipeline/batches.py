"""Input pipelines: batches of labeled and pseudo-labeled images for training, and for evaluation.

Batch k of a training pipeline is a function of its arguments alone. Every pass over the data has
its own permutation, drawn from (seed, pass) without state; which examples a batch holds follows
from k; and the noise of an image follows from (seed, pass, id, copy). So neither parallelism nor
resuming at a later step changes a batch.

Images in memory that a small-image model takes never leave whole batches, nor do those that a cache
holds decoded; others are decoded, cropped and resized one by one, in parallel, and noised in
batches.
"""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from data import preprocess, seeds
from data.examples import UNKNOWN_LABEL, Examples
from data.pipeline.augmentation import Augmentation, batch_noise, needs_original, single_noise
from data.pipeline.decoded import DecodedCache
from data.pipeline.example_columns import example_columns, original
from data.pipeline.order import LABELED, Columns, Shard, batch_order, gather
from data.pipeline.selected import record_batches
from data.preprocess import PreprocessSpec

_PREFETCH = 4  # batches
_AT_ONCE = 8  # batches of small images
_NO_TRAINING_PASS = np.int64(-1)  # so that noise is none that training shows

__all__ = [
    "Augmentation",
    "evaluation_batches",
    "noisy_views",
    "thumbnail_batches",
    "training_batches",
]


def training_batches(
    labeled: Examples,
    spec: PreprocessSpec,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    num_classes: int,
    selected_files: Sequence[str | os.PathLike] | None = None,
    selected_examples: Examples | None = None,
    unlabeled_batch_size: int = 0,
    start_step: int = 0,
    unlabeled_augmentation: Augmentation | None = None,
    clean_spec: PreprocessSpec | None = None,
    num_shards: int = 1,
    shard_index: int = 0,
    cache: DecodedCache | None = None,
) -> tf.data.Dataset:
    """An endless stream of training batches.

    Every pass sees every example once; batches run across the ends of passes. Of several hosts,
    each makes its own rows: host i of n the i-th n-th of every batch, labeled and unlabeled, and no
    other image is decoded there, unless it is cached. Put together in the order of the hosts, they
    are the batches of a single one.

    Args:
        labeled: the labeled images.
        spec: size and interpolation.
        augmentation: noise of the labeled images.
        batch_size: labeled images per batch (B).
        seed: decides order and noise.
        num_classes: length of the distributions (C).
        selected_files: TFRecord files of pseudo-labeled images, or those of an index
            (`data.pipeline.selected_index`); None: labeled images only.
        selected_examples: the images that an index is of.
        unlabeled_batch_size: pseudo-labeled images per batch (U).
        start_step: number of the first batch; earlier ones cost no image work.
        unlabeled_augmentation: noise of the pseudo-labeled images; None: that of the labeled ones.
        clean_spec: size (T) and interpolation of a clean copy of the pseudo-labeled images; None:
            no copies. Small images allow no other than `spec`.
        num_shards: how many hosts there are (n); divides both batch sizes.
        shard_index: which of them this is, 0..n - 1.
        cache: holds images on disk decoded where they fit, unless a random crop needs the
            originals; None: none are held. It changes no batch.

    Returns:
        With n = 1: dictionaries of "images" uint8 [B, S, S, 3] and "labels" int32 [B], and with
        `selected_files` also "unlabeled_images" uint8 [U, S, S, 3] and "probabilities" float32
        [U, C], and with `clean_spec` "unlabeled_clean_images" uint8 [U, T, T, 3]. Else B/n and U/n
        in place of B and U.

    Raises:
        ValueError: if there is nothing to read, a batch size is below 1 or no multiple of n, there
            is no such host, a label is not in 0..C-1, or the records are of another number of
            classes.
    """
    _check(labeled, batch_size, num_classes)
    shard = Shard(num_shards, shard_index)
    rows = shard.rows(batch_size)
    order = batch_order(len(labeled), batch_size, seed, LABELED, start_step, rows)
    columns = example_columns(
        labeled, spec, None if needs_original(spec, augmentation) else cache, "labeled"
    )
    at_once = _AT_ONCE if spec.small_image else 1
    batches = gather(order, columns)
    batches = _noised(batches, spec, augmentation, seed, len(rows), at_once=at_once)
    batches = batches.map(lambda batch: {name: batch[name] for name in ("images", "labels")})
    if selected_files is not None:
        noise = unlabeled_augmentation or augmentation
        whole = needs_original(spec, noise) or clean_spec not in (None, spec)
        selected = record_batches(
            [os.fspath(file) for file in selected_files],
            spec,
            num_classes=num_classes,
            batch_size=unlabeled_batch_size,
            seed=seed,
            start_step=start_step,
            shard=shard,
            examples=selected_examples,
            cache=None if whole else cache,
        )
        rows = shard.rows(unlabeled_batch_size)
        selected = _noised(selected, spec, noise, seed, len(rows), clean_spec, at_once)
        names = {"images": "unlabeled_images", "probabilities": "probabilities"}
        if clean_spec is not None:
            names["clean_images"] = "unlabeled_clean_images"
        batches = tf.data.Dataset.zip(batches, selected).map(
            lambda batch, other: batch | {new: other[name] for name, new in names.items()}
        )
    return _finished(batches)


def evaluation_batches(
    examples: Examples,
    spec: PreprocessSpec,
    *,
    batch_size: int,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    cache: DecodedCache | None = None,
    name: str = "",
) -> tf.data.Dataset:
    """Every example once, in order, without noise if not asked for.

    Args:
        examples: the images.
        spec: how they are cropped and resized.
        batch_size: images per batch (b); the last batch is filled up.
        augmentation: noise; None: none.
        seed: of the noise, which follows from it and the id of an image.
        cache: as for training; of use where the images are gone through several times.
        name: of the images in the cache, for people.

    Returns:
        Dictionaries of "images" uint8 [b, S, S, 3], "labels" int32 [b] and "index" int64 [b], the
        position in `examples`; index and label are -1 where the last batch was filled up. With an
        `augmentation` also "seeds" int32 [b, 2], that of each image.
    """
    noise = augmentation or Augmentation("none")
    steps = -(-len(examples) // batch_size)
    index = np.arange(steps * batch_size)
    index = np.where(index < len(examples), index, -1)
    order = tf.data.Dataset.from_tensor_slices(
        {
            "index": index.reshape(steps, batch_size),
            "pass": np.full([steps, batch_size], _NO_TRAINING_PASS),
        }
    )
    cache = None if needs_original(spec, noise) else cache
    batches = gather(order, example_columns(examples, spec, cache, name))
    batches = _noised(batches, spec, noise, seed, batch_size)
    names = ["images", "index", *(["seeds"] if augmentation else [])]
    return _finished(
        batches.map(
            lambda batch: {
                "labels": tf.where(batch["index"] < 0, UNKNOWN_LABEL, batch["labels"]),
                **{name: batch[name] for name in names},
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
    batches = gather(order, example_columns(shown, spec))
    batches = _noised(batches, spec, augmentation, seed, len(shown))
    return np.stack([batch["images"].numpy() for batch in batches], axis=1)


def thumbnail_batches(examples: Examples, side: int, batch_size: int) -> tf.data.Dataset:
    """Every image once, in order, gray and squeezed into a small square.

    Args:
        examples: the images.
        side: of the squares in pixels (s).
        batch_size: images per batch (b); the last batch may be smaller.

    Returns:
        float32 [b, s, s], 0..255.
    """
    columns = example_columns(examples, PreprocessSpec(side))

    def thumbnail(index: tf.Tensor) -> tf.Tensor:
        image = original({name: tf.gather(column, index) for name, column in columns.items()})
        gray = tf.image.rgb_to_grayscale(tf.cast(image, tf.float32))
        small = tf.image.resize(gray, [side, side], "area")
        return tf.ensure_shape(small[..., 0], [side, side])

    images = tf.data.Dataset.range(len(examples)).map(thumbnail, tf.data.AUTOTUNE)
    return _finished(images.batch(batch_size))


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
    options.autotune.enabled = False
    # The rewrites gain nothing here, and would copy the images held in memory into their graph.
    options.experimental_optimization.apply_default_optimizations = False
    return batches.with_options(options).prefetch(_PREFETCH)


def _noised(
    batches: tf.data.Dataset,
    spec: PreprocessSpec,
    augmentation: Augmentation,
    seed: int,
    batch_size: int,
    clean_spec: PreprocessSpec | None = None,
    at_once: int = 1,
) -> tf.data.Dataset:
    """Turns batches of columns into batches with noised "images", uint8 [batch_size, S, S, 3].

    With `clean_spec` also with "clean_images" of its size. Of images in memory as many batches are
    noised `at_once`, those of an endless stream: small ones take less time than starting the
    operations for them.
    """
    noise = batch_noise(spec, augmentation, seed)

    def add_seeds(batch: Columns) -> Columns:
        drawn = seeds.example_seeds(seed, batch["pass"], batch["id_hash"], batch["copy"])
        return batch | {"seeds": drawn}

    def load(element: Columns) -> Columns:
        image = original(element)
        if clean_spec is not None:
            element = element | {"clean_images": preprocess.eval_image(image, clean_spec)}
        return element | {"images": single_noise(image, element["seeds"], spec, augmentation)}

    def apply(batch: Columns) -> Columns:
        if clean_spec is not None and "clean_images" not in batch:
            batch = batch | {"clean_images": batch["images"]}
        return batch | {"images": noise(batch["images"], batch["seeds"])}

    at_once = at_once if "images" in batches.element_spec else 1
    if at_once > 1:
        batches = batches.batch(at_once, drop_remainder=True).map(_joined)
    batches = batches.map(add_seeds, num_parallel_calls=preprocess.PARALLEL)
    if clean_spec not in (None, spec) and spec.small_image:
        raise ValueError(f"Small images have one size: {clean_spec} for copies of {spec}.")
    if "images" not in batches.element_spec:
        images = batches.unbatch().map(load, num_parallel_calls=preprocess.PARALLEL)
        batches = images.batch(batch_size, drop_remainder=True)
    stateful = augmentation.kind == "keras_cv"
    batches = batches.map(apply, num_parallel_calls=None if stateful else preprocess.PARALLEL)
    if at_once > 1:
        batches = batches.map(lambda batch: _parted(batch, at_once)).unbatch()
    return batches


def _joined(batches: Columns) -> Columns:
    """Batches [N, B, ...] as one [N * B, ...]."""
    return {
        name: tf.reshape(values, [values.shape[0] * values.shape[1], *values.shape[2:]])
        for name, values in batches.items()
    }


def _parted(batch: Columns, count: int) -> Columns:
    """The reverse of `_joined`."""
    return {
        name: tf.reshape(values, [count, values.shape[0] // count, *values.shape[1:]])
        for name, values in batch.items()
    }
