"""A model under evaluation, and its predictions for images that are made on the way."""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import tensorflow as tf

from data import pipeline, preprocess
from data.examples import Examples
from data.preprocess import PreprocessSpec
from noisy_student.evaluate.resumable import Progress
from noisy_student.runtime import inference

_CACHE_BYTES = 2 << 30  # clean images up to this size altogether are decoded once
_AHEAD = 2  # batches made while the model is at work on another
_In, _Out = TypeVar("_In"), TypeVar("_Out")


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What is evaluated.

    Attributes:
        model: images [B, S, S, 3], 0..255 -> logits [B, C] of `class_names`, in eval mode unless
            called with training=True.
        class_names: C names.
        spec: how images become its input.
        batch_size: images at a time.
        jit_compile: whether XLA compiles the passes.
        seed: of everything random.
        spread: lets several replicas take part in a pass or an attack (`Devices.spread`).
    """

    model: Callable[..., tf.Tensor]
    class_names: tuple[str, ...]
    spec: PreprocessSpec
    batch_size: int
    jit_compile: bool = False
    seed: int = 0
    spread: Callable[[Callable[..., tf.Tensor]], Callable[..., tf.Tensor]] = lambda step: step

    def __post_init__(self) -> None:
        """Compiles the pass."""
        step = self.spread(inference.predict_step(self.model, self.jit_compile))
        object.__setattr__(self, "predict", step)

    def clean_batches(self, examples: Examples) -> tf.data.Dataset:
        """Batches as of `pipeline.evaluation_batches`, kept in memory where they fit."""
        size = min(self.batch_size, len(examples))
        batches = pipeline.evaluation_batches(examples, self.spec, batch_size=size)
        fits = len(examples) * self.spec.image_size**2 * 3 <= _CACHE_BYTES
        return batches.cache() if fits else batches

    def predictions(
        self, examples: Examples, progress: Progress, whole: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Labels int32 [N] and probabilities float32 [N, C].

        Args:
            examples: the images.
            progress: takes the numbers of images done.
            whole: whether the images are cropped already, as benchmarks store them.
        """
        spec = whole_image(self.spec) if whole else self.spec
        size = min(self.batch_size, len(examples))
        if _are_inputs(examples, spec):
            tables = []
            for start in range(0, len(examples), size):
                images = np.asarray(examples.images[start : start + size])
                tables.append(self.probabilities(images, size))
                progress(len(images))
            return examples.labels, np.concatenate(tables)
        batches = pipeline.evaluation_batches(examples, spec, batch_size=size)
        return inference.predict_all(self.predict, _counted(batches, progress), len(examples))

    def probabilities(self, images: np.ndarray, size: int) -> np.ndarray:
        """Probabilities float32 [N, C] of images uint8 [N, S, S, 3], filled up to `size` images.

        All batches of one size run the same program.
        """
        missing = size - len(images)
        batch = np.pad(images, [(0, missing), *3 * [(0, 0)]]) if missing else images
        return self.predict(batch).numpy()[: len(images)]

    def classes_among(self, labels: np.ndarray) -> str:
        """A hash (16 hex digits) of the names of the classes that occur, in whatever order.

        Args:
            labels: int [N].
        """
        names = sorted(self.class_names[label] for label in np.unique(labels))
        return hashlib.blake2b("\0".join(names).encode(), digest_size=8).hexdigest()

    def at_model_size(self, frames: np.ndarray) -> np.ndarray:
        """`at_size` of the model's own."""
        return at_size(frames, self.spec)


def whole_image(spec: PreprocessSpec) -> PreprocessSpec:
    """The same preprocessing for images that are cropped already, as benchmarks store them."""
    return spec if spec.small_image else dataclasses.replace(spec, crop_padding=0)


def at_size(frames: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    """Whole images uint8 [F, h, w, 3], without cropping, as a model of that spec takes them."""
    if frames.shape[1:] == (spec.image_size, spec.image_size, 3):
        return frames
    return _resized(tf.constant(frames), whole_image(spec)).numpy()


def _are_inputs(examples: Examples, spec: PreprocessSpec) -> bool:
    """Whether images in memory or in an array file are what the model takes, as they are."""
    uncut = spec.small_image or spec.crop_padding == 0
    side = spec.image_size
    return uncut and examples.images is not None and examples.images.shape[1:] == (side, side, 3)


@tf.function(reduce_retracing=True)
def _resized(frames: tf.Tensor, spec: PreprocessSpec) -> tf.Tensor:
    """Each of the images uint8 [F, h, w, 3] by itself."""
    side = spec.image_size
    return tf.map_fn(
        lambda frame: preprocess.eval_image(frame, spec),
        frames,
        fn_output_signature=tf.TensorSpec([side, side, 3], tf.uint8),
    )


def _counted(
    batches: Iterable[dict[str, tf.Tensor]], progress: Progress
) -> Iterator[dict[str, tf.Tensor]]:
    for batch in batches:
        yield batch
        progress(int(np.sum(batch["index"].numpy() >= 0)))


def made_ahead(make: Callable[[_In], _Out], batches: Iterable[list[_In]]) -> Iterator[list[_Out]]:
    """Applies `make` to every item in threads, some batches ahead of the one that is used."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: collections.deque = collections.deque()
        for batch in batches:
            waiting.append([pool.submit(make, item) for item in batch])
            if len(waiting) > _AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
