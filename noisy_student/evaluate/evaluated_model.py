"""A model under evaluation, and its predictions for images on disk and for generated ones."""

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import tensorflow as tf

from data import pipeline, preprocess
from data.examples import DecodedExamples, Examples
from data.preprocess import PreprocessSpec
from noisy_student.evaluate.resumable import Progress
from noisy_student.runtime import inference

_CACHE_BYTES = 2 << 30  # clean images that need at most this much memory are decoded only once
_AHEAD = 2  # batches prepared while the model works on another one
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluatedModel:
    """A model with everything that its predictions depend on."""

    # Images [B, S, S, 3], 0..255 -> logits [B, C]; runs in eval mode unless called with
    # training=True.
    model: Callable[..., tf.Tensor]
    class_names: tuple[str, ...]  # the C classes, in the order of the logits
    spec: PreprocessSpec  # preprocessing of the images
    batch_size: int  # images per batch
    jit_compile: bool = False  # compile forward passes and attacks with XLA
    seed: int = 0  # seed of corruptions, perturbations and random starts
    # Shares the rows of a batch among replicas (`Devices.spread`).
    spread: Callable[[Callable[..., tf.Tensor]], Callable[..., tf.Tensor]] = lambda step: step

    @functools.cached_property
    def predict(self) -> Callable[..., tf.Tensor]:
        """The compiled forward pass: images [B, S, S, 3] -> probabilities [B, C]."""
        return self.spread(inference.predict_step(self.model, self.jit_compile))

    def clean_batches(self, examples: Examples, spec: PreprocessSpec) -> tf.data.Dataset:
        """Returns `pipeline.evaluation_batches`, kept in memory if they fit."""
        size = min(self.batch_size, len(examples))
        batches = pipeline.evaluation_batches(examples, spec, batch_size=size)
        fits = len(examples) * spec.image_size**2 * 3 * spec.dtype.size <= _CACHE_BYTES
        return batches.cache() if fits else batches

    def predictions(
        self, examples: Examples, progress: Progress, cropped: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predicts all examples, and tells `progress` the number of images of each finished batch.

        Images may be `cropped` already, as in the published robustness benchmarks.

        Returns:
            Labels int32 [N] and probabilities float32 [N, C].
        """
        spec = without_crop(self.spec) if cropped else self.spec
        size = min(self.batch_size, len(examples))
        if isinstance(examples, DecodedExamples) and _match_input(examples.images, spec):
            tables = []
            for start in range(0, len(examples), size):
                images = np.asarray(examples.images[start : start + size])
                tables.append(self.probabilities(images, size))
                progress(len(images))
            return examples.labels, np.concatenate(tables)
        batches = pipeline.evaluation_batches(examples, spec, batch_size=size)
        return inference.predict_all(self.predict, _report(batches, progress), len(examples))

    def probabilities(self, images: np.ndarray, size: int) -> np.ndarray:
        """Predicts one batch, padded to `size` images so that all batches run the same program.

        Takes uint8 or float32 [N, S, S, 3], returns float32 [N, C].
        """
        missing = size - len(images)
        batch = np.pad(images, [(0, missing), *3 * [(0, 0)]]) if missing else images
        return self.predict(batch).numpy()[: len(images)]

    def hash_classes(self, labels: np.ndarray) -> str:
        """Hashes the names of the classes among `labels`, in any order."""
        names = sorted(self.class_names[label] for label in np.unique(labels))
        return hashlib.blake2b("\0".join(names).encode(), digest_size=8).hexdigest()


def without_crop(spec: PreprocessSpec) -> PreprocessSpec:
    """Returns the preprocessing for images that are cropped already."""
    return spec if spec.small_image else dataclasses.replace(spec, crop_padding=0)


def resize_whole(frames: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    """Resizes images, uint8 [F, h, w, 3], to the model's resolution S without cropping them.

    Returns [F, S, S, 3]; uint8 if they have that size already, else of the type `spec.dtype`.
    """
    if frames.shape[1:] == (spec.image_size, spec.image_size, 3):
        return frames
    return _resize_each(tf.constant(frames), without_crop(spec)).numpy()


def map_ahead(
    function: Callable[[_In], _Out], batches: Iterable[list[_In]]
) -> Iterator[list[_Out]]:
    """Applies `function` to each item of each batch in threads, a few batches ahead of use."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: collections.deque = collections.deque()
        for batch in batches:
            waiting.append([pool.submit(function, item) for item in batch])
            if len(waiting) > _AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]


def _match_input(images: np.ndarray, spec: PreprocessSpec) -> bool:
    """Returns True if the images need no preprocessing."""
    uncropped = spec.small_image or spec.crop_padding == 0
    return uncropped and images.shape[1:] == (spec.image_size, spec.image_size, 3)


@tf.function(autograph=False, reduce_retracing=True)
def _resize_each(frames: tf.Tensor, spec: PreprocessSpec) -> tf.Tensor:
    side = spec.image_size
    return tf.map_fn(
        lambda frame: preprocess.eval_image(frame, spec),
        frames,
        fn_output_signature=tf.TensorSpec([side, side, 3], spec.dtype),
    )


def _report(
    batches: Iterable[dict[str, tf.Tensor]], progress: Progress
) -> Iterator[dict[str, tf.Tensor]]:
    for batch in batches:
        yield batch
        progress(int(np.sum(batch["index"].numpy() >= 0)))
