"""A model under evaluation, and its predictions for images that are made on the way."""

import collections
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import tensorflow as tf

from data import pipeline, preprocess
from data.examples import Examples
from data.preprocess import PreprocessSpec
from noisy_student import inference

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
    """

    model: Callable[..., tf.Tensor]
    class_names: tuple[str, ...]
    spec: PreprocessSpec
    batch_size: int
    jit_compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Compiles the pass."""
        step = inference.predict_step(self.model, self.jit_compile)
        object.__setattr__(self, "predict", step)

    def clean_batches(self, examples: Examples) -> tf.data.Dataset:
        """Batches as of `pipeline.evaluation_batches`, kept in memory where they fit."""
        batches = pipeline.evaluation_batches(examples, self.spec, batch_size=self.batch_size)
        fits = len(examples) * self.spec.image_size**2 * 3 <= _CACHE_BYTES
        return batches.cache() if fits else batches

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 [N, C] of images uint8 [N, S, S, 3], in batches of one size."""
        size = min(self.batch_size, len(images))
        tables = []
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            padding = [(0, size - len(batch)), (0, 0), (0, 0), (0, 0)]
            table = self.predict(np.pad(batch, padding)).numpy()
            tables.append(table[: len(batch)])
        return np.concatenate(tables)

    def at_model_size(self, image: np.ndarray) -> np.ndarray:
        """A whole image uint8 [h, w, 3], without cropping, as the model takes it."""
        size = self.spec.image_size
        if image.shape == (size, size, 3):
            return image
        return preprocess.eval_image(tf.constant(image), whole_image(self.spec)).numpy()


def whole_image(spec: PreprocessSpec) -> PreprocessSpec:
    """The same preprocessing for images that are cropped already, as benchmarks store them."""
    return spec if spec.small_image else dataclasses.replace(spec, crop_padding=0)


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
