"""Batches of training and validation images, from the input pipeline."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from data import pipeline, sources
from data.pipeline.decoded import DecodedCache
from noisy_student import config
from noisy_student.artifacts import student_set
from noisy_student.config import derived
from noisy_student.train.learner import Learner
from noisy_student.train.step import Batch


@dataclass(frozen=True)
class Batches:
    """Images of one training."""

    training: Iterator[Batch]  # endless micro-batches for the replicas of this host
    validation: Iterable[Batch]  # all validation images, in batches
    num_validation: int  # number of validation images
    cache: DecodedCache  # images that are kept in memory


def record_files(splits: sources.Splits, selected_dir: str | Path | None) -> list[str]:
    """Returns the TFRecord files that a training reads."""
    selected = student_set.files_of(selected_dir) if selected_dir else []
    if student_set.is_index(selected):
        selected = splits.unlabeled.record_files()
    return [*splits.labeled.record_files(), *splits.validation.record_files(), *selected]


def open_batches(
    learner: Learner, splits: sources.Splits, selected_dir: str | Path | None, log: config.LogConfig
) -> Batches:
    """Opens the input pipelines at the next step, and decodes the images that fit into memory.

    Students need `selected_dir`. `log` has the batch size of validation, and the memory for decoded
    images.
    """
    selected = student_set.files_of(selected_dir) if selected_dir else None
    cache = DecodedCache(log.cache_decoded_mib << 20)
    training = training_batches(learner, splits.labeled, selected, splits.unlabeled, cache)
    validation = pipeline.evaluation_batches(
        splits.validation,
        derived.preprocess_spec(learner.settings.model),
        batch_size=log.eval_batch_size,
        cache=cache,
        name="validation",
    )
    if description := cache.describe():
        print(f"{learner.name}: {description}", flush=True)
    return Batches(training, validation, len(splits.validation), cache)


def training_batches(
    learner: Learner,
    labeled: sources.Examples,
    selected_files: Sequence[str] | None = None,
    unlabeled: sources.Examples | None = None,
    cache: DecodedCache | None = None,
) -> Iterator[Batch]:
    """Returns endless micro-batches for the replicas of this host, from the next step on.

    Accumulating gradients changes the number of micro-batches, not the images of a step.

    `selected_files` are records of pseudo-labeled images, or an index of them, which refers to
    `unlabeled`. A cache keeps decoded images in memory.
    """
    layout = learner.layout
    start_step = learner.finished_steps * layout.micro_batches
    selected = None
    if selected_files is not None:
        selected = pipeline.Selected(
            selected_files,
            layout.micro_unlabeled,
            examples=unlabeled,
            augmentation=learner.noises[1],
            clean_spec=learner.teacher_spec,
        )

    def of_host(hosts: int, host: int) -> tf.data.Dataset:
        # Repeated rows may belong to another host, so then every host makes all rows.
        shard = pipeline.Shard() if layout.is_padded else pipeline.Shard(hosts, host)
        micro_batches = pipeline.training_batches(
            labeled,
            derived.preprocess_spec(learner.settings.model),
            learner.noises[0],
            pipeline.Order(learner.settings.seed, start_step, shard),
            batch_size=layout.micro_labeled,
            selected=selected,
            cache=cache,
        )
        return layout.per_replica(micro_batches, hosts, host)

    return learner.devices.distribute(of_host)
