"""Input pipelines: batches of labeled and pseudo-labeled images for training, and for evaluation.

Batch k of a training pipeline depends only on the arguments. Every pass over the data has its own
permutation, drawn statelessly from (seed, pass). The noise of an image depends on (seed, pass, id,
copy). So neither parallelism nor resuming at a later step changes a batch.

In-memory images for small-image models and cached decoded images are processed in whole batches.
Other images are decoded, cropped and resized one by one, in parallel, and augmented in batches.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from data import preprocess, seeds
from data.examples import UNKNOWN_LABEL, Examples
from data.pipeline.augmentation import Augmentation, batch_noise, needs_original, single_noise
from data.pipeline.decoded import DecodedCache
from data.pipeline.order import LABELED, Columns, Order, batch_order
from data.pipeline.selected import Selected, record_batches
from data.pipeline.table import Batches, Read, example_table, image_table
from data.preprocess import PreprocessSpec

_PREFETCH = 4  # batches
_AT_ONCE = 8  # batches of small images
_NO_TRAINING_PASS = np.int64(-1)  # its noise is none that training shows


@tf.autograph.experimental.do_not_convert
def training_batches(
    labeled: Examples,
    spec: PreprocessSpec,
    augmentation: Augmentation,
    order: Order,
    *,
    batch_size: int,
    selected: Selected | None = None,
    cache: DecodedCache | None = None,
) -> tf.data.Dataset:
    """Makes an endless stream of training batches.

    Every pass uses every example once; batches may span two passes. With n hosts, host i makes the
    i-th n-th of the rows of every batch, and decodes only those images, unless they are cached.
    Concatenated in host order, the rows are the batches of a single host.

    Args:
        labeled: the labeled images, of C classes.
        spec: size and interpolation.
        augmentation: noise of the labeled images.
        order: seed, first batch and rows of this host.
        batch_size: labeled images per batch of all hosts; a multiple of n.
        selected: pseudo-labeled images; None: only labeled ones.
        cache: keeps decoded images in memory if they fit, unless a random crop needs the originals;
            None: no cache. Does not change the batches.

    Returns:
        Dictionaries of "images" uint8 [B, S, S, 3] and "labels" int32 [B]. With `selected` also
        "unlabeled_images" uint8 [U, S, S, 3] and "probabilities" float32 [U, C], and with clean
        copies "unlabeled_clean_images" uint8 [U, T, T, 3]. If the step applies the noise
        (`Augmentation.on_device`), also "seeds" int32 [B, 2] and "unlabeled_seeds" int32 [U, 2]. B
        and U count the rows of this host.

    Raises:
        ValueError: there are no images, a batch size is below 1 or not a multiple of n, a label is
            not in 0..C-1, or the records have another number of classes.
    """
    _check(labeled, batch_size)
    held = None if needs_original(spec, augmentation) else cache
    table = example_table(labeled, spec, held, "labeled")
    batches = table.gather(batch_order(len(labeled), batch_size, order, LABELED))
    rows = len(order.shard.rows(batch_size))
    at_once = _AT_ONCE if spec.small_image else 1
    noised = _noised(batches, spec, augmentation, order.seed, rows, at_once=at_once)
    names = ["images", "labels", *(["seeds"] if augmentation.on_device else [])]
    noised = noised.map(lambda batch: {name: batch[name] for name in names})
    if selected is None:
        return _finished(noised)
    noise = selected.augmentation or augmentation
    whole = needs_original(spec, noise) or selected.clean_spec not in (None, spec)
    num_classes = len(labeled.class_names)
    batches = record_batches(selected, spec, num_classes, order, None if whole else cache)
    rows = len(order.shard.rows(selected.batch_size))
    others = _noised(batches, spec, noise, order.seed, rows, selected.clean_spec, at_once)
    new_names = {"images": "unlabeled_images", "probabilities": "probabilities"}
    if selected.clean_spec is not None:
        new_names["clean_images"] = "unlabeled_clean_images"
    if noise.on_device:
        new_names["seeds"] = "unlabeled_seeds"
    both = tf.data.Dataset.zip(noised, others).map(
        lambda batch, other: batch | {new: other[name] for name, new in new_names.items()}
    )
    return _finished(both)


@tf.autograph.experimental.do_not_convert
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
    """Makes batches of every example once, in order, without noise by default.

    Args:
        examples: the images.
        spec: size, crop and interpolation.
        batch_size: images per batch (b); the last batch is padded.
        augmentation: noise; None: none.
        seed: seed of the noise, which depends on it and the id of an image.
        cache: as for training; useful if the images are read several times.
        name: name of the images in the cache's report.

    Returns:
        Dictionaries of "images" uint8 [b, S, S, 3], "labels" int32 [b] and "index" int64 [b], the
        position in `examples`; index and label of padding are -1. With an `augmentation` also
        "seeds" int32 [b, 2], that of each image.
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
    batches = example_table(examples, spec, cache, name).gather(order)
    noised = _noised(batches, spec, noise, seed, batch_size)
    names = ["images", "index", *(["seeds"] if augmentation else [])]
    return _finished(
        noised.map(
            lambda batch: {
                "labels": tf.where(batch["index"] < 0, UNKNOWN_LABEL, batch["labels"]),
                **{name: batch[name] for name in names},
            }
        )
    )


@tf.autograph.experimental.do_not_convert
def noisy_views(
    examples: Examples,
    indices: Sequence[int],
    spec: PreprocessSpec,
    augmentation: Augmentation,
    seed: int,
    views: int,
) -> np.ndarray:
    """Returns images as training sees them, made by the same code.

    Args:
        examples: the images.
        indices: positions of the images to show (n).
        spec: size and interpolation.
        augmentation: the noise.
        seed: as for training.
        views: number of noised copies of each image; copy v is that of pass v over the data.

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
    batches = example_table(shown, spec).gather(order)
    noised = _noised(batches, spec, augmentation, seed, len(shown))
    return np.stack([batch["images"].numpy() for batch in noised], axis=1)


@tf.autograph.experimental.do_not_convert
def thumbnail_batches(examples: Examples, side: int, batch_size: int) -> tf.data.Dataset:
    """Makes batches of every image once, in order, as small gray squares (aspect not kept).

    Args:
        examples: the images.
        side: side of the squares in pixels (s).
        batch_size: images per batch (b); the last batch may be smaller.

    Returns:
        float32 [b, s, s], 0..255.
    """
    table = image_table(examples, PreprocessSpec(side))
    if table.read is None:
        raise RuntimeError("Thumbnails are made from original images.")
    read = table.read

    def thumbnail(index: tf.Tensor) -> tf.Tensor:
        image = read({name: tf.gather(column, index) for name, column in table.columns.items()})
        gray = tf.image.rgb_to_grayscale(tf.cast(image, tf.float32))
        small = tf.image.resize(gray, [side, side], "area")
        return tf.ensure_shape(small[..., 0], [side, side])

    images = tf.data.Dataset.range(len(examples)).map(thumbnail, tf.data.AUTOTUNE)
    return _finished(images.batch(batch_size))


def _check(labeled: Examples, batch_size: int) -> None:
    """Refuses labeled images that cannot be trained on."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
    if not len(labeled):
        raise ValueError("No labeled images.")
    num_classes = len(labeled.class_names)
    invalid = np.flatnonzero((labeled.labels < 0) | (labeled.labels >= num_classes))
    if len(invalid):
        first = invalid[0]
        raise ValueError(
            f"{labeled.ids[first]} has the label {labeled.labels[first]}; valid: "
            f"0..{num_classes - 1}."
        )


def _finished(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Sets the options that all pipelines have."""
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    # The rewrites gain nothing here, and would copy in-memory images into their graph.
    options.experimental_optimization.apply_default_optimizations = False
    return batches.with_options(options).prefetch(_PREFETCH)


def _noised(
    batches: Batches,
    spec: PreprocessSpec,
    augmentation: Augmentation,
    seed: int,
    batch_size: int,
    clean_spec: PreprocessSpec | None = None,
    at_once: int = 1,
) -> tf.data.Dataset:
    """Turns batches of columns into batches with noised "images", uint8 [batch_size, S, S, 3].

    With `clean_spec` also with "clean_images" of its size. Images of the model's size are noised
    `at_once` batches at a time, in endless streams: small ones take less time than starting the
    operations for them.
    """
    noise = batch_noise(
        spec, Augmentation("none") if augmentation.on_device else augmentation, seed
    )
    dataset, read = batches.dataset, batches.read
    if clean_spec not in (None, spec) and spec.small_image:
        raise ValueError(
            f"Clean copies of small images must keep their size: {clean_spec} for {spec}."
        )

    def add_seeds(batch: Columns) -> Columns:
        drawn = seeds.example_seeds(seed, batch["pass"], batch["id_hash"], batch["copy"])
        return batch | {"seeds": drawn}

    def apply(batch: Columns) -> Columns:
        if clean_spec is not None and read is None:
            batch = batch | {"clean_images": batch["images"]}
        return batch | {"images": noise(batch["images"], batch["seeds"])}

    if read is not None:
        at_once = 1
    if at_once > 1:
        dataset = dataset.batch(at_once, drop_remainder=True).map(_joined)
    dataset = dataset.map(add_seeds, num_parallel_calls=preprocess.PARALLEL)
    if read is not None:
        load = _loader(read, spec, augmentation, clean_spec)
        rows = dataset.unbatch().map(load, num_parallel_calls=preprocess.PARALLEL)
        dataset = rows.batch(batch_size, drop_remainder=True)
    stateful = augmentation.kind == "keras_cv"
    dataset = dataset.map(apply, num_parallel_calls=None if stateful else preprocess.PARALLEL)
    if at_once > 1:
        dataset = dataset.map(lambda batch: _split(batch, at_once)).unbatch()
    return dataset


def _loader(
    read: Read, spec: PreprocessSpec, augmentation: Augmentation, clean_spec: PreprocessSpec | None
) -> Callable[[Columns], Columns]:
    """Returns a function that adds "images" to a row, and "clean_images" with a `clean_spec`."""

    def load(row: Columns) -> Columns:
        image = read(row)
        if clean_spec is not None:
            row = row | {"clean_images": preprocess.eval_image(image, clean_spec)}
        return row | {"images": single_noise(image, row["seeds"], spec, augmentation)}

    return load


def _joined(batches: Columns) -> Columns:
    """Joins batches [N, B, ...] into one [N * B, ...]."""
    return {
        name: tf.reshape(values, [values.shape[0] * values.shape[1], *values.shape[2:]])
        for name, values in batches.items()
    }


def _split(batch: Columns, count: int) -> Columns:
    """Reverses `_joined`."""
    return {
        name: tf.reshape(values, [count, values.shape[0] // count, *values.shape[1:]])
        for name, values in batch.items()
    }
