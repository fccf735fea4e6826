"""Labels examples shard by shard and writes the shards that are missing."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from data import seeds, sources
from noisy_student.artifacts import predictions
from noisy_student.artifacts.json_files import PredictionsCard
from noisy_student.artifacts.predictions import Columns
from noisy_student.runtime import inference, notebook

ROWS_PER_GROUP = 8192  # a Parquet row group: large enough to compress, small in memory


@dataclasses.dataclass(frozen=True)
class Labeler:
    """A teacher that is ready to label.

    Attributes:
        predict: images uint8 [B, S, S, 3] -> probabilities float32 [B, C]; a noised one also takes
            seeds int32 [B, 2].
        batches: examples -> batches as `data.pipeline.evaluation_batches` makes them.
        card: metadata of the shards: class names, teacher, images and stored probabilities.
    """

    predict: Callable[..., tf.Tensor]
    batches: Callable[[sources.Examples], tf.data.Dataset]
    card: PredictionsCard

    def label(self, examples: sources.Examples, indices: np.ndarray) -> Iterator[Columns]:
        """Labels the examples at `indices`, int64 [n], and yields the columns of each batch."""
        truth = _true_labels(examples, self.card["class_names"])
        batches = self.batches(examples.take(indices))
        for positions, _, probabilities in inference.predictions(self.predict, batches):
            index = indices[positions]
            yield {
                "id": examples.ids[index].astype(object),
                "id_hash": seeds.hash_ids(examples.ids[index]),
                "index": index.astype(np.int64),
                "source_shard": _source_shards(examples, index),
                "label": probabilities.argmax(axis=1).astype(np.int32),
                "confidence": probabilities.max(axis=1).astype(np.float32),
                "probabilities": probabilities,
                "true_label": truth[index],
            }


def write(
    labeler: Labeler,
    examples: sources.Examples,
    output_dir: str | Path,
    num_shards: int = 1,
    shard_index: int | None = None,
) -> list[Path]:
    """Writes the shards that are missing or belong to another teacher, images or settings.

    Shards are contiguous parts of the examples, whose sizes differ by one image at most.
    `shard_index` is the only one to write; None: all. Returns the files written.

    Raises:
        ValueError: shard_index is out of range.
    """
    if shard_index is not None and not 0 <= shard_index < num_shards:
        raise ValueError(f"shard_index = {shard_index}; allowed: 0 .. {num_shards - 1}")
    indices = np.array_split(np.arange(len(examples)), num_shards)
    wanted = range(num_shards) if shard_index is None else [shard_index]
    paths = {shard: predictions.shard_path(output_dir, shard, num_shards) for shard in wanted}
    missing = {
        shard: path
        for shard, path in paths.items()
        if not path.exists() or predictions.read_card(path) != labeler.card
    }
    total = sum(len(indices[shard]) for shard in missing)
    hides = notebook.hides_bars()
    with tqdm(desc="labeled", total=total, unit="image", leave=False, disable=hides) as bar:
        for shard, path in missing.items():
            bar.set_postfix_str(f"shard {shard} of {num_shards}")
            batches = labeler.label(examples, indices[shard])
            predictions.write(path, labeler.card, _row_groups(batches, bar))
    return list(missing.values())


def _true_labels(examples: sources.Examples, class_names: list[str]) -> np.ndarray:
    """Returns the examples' labels as the teacher's classes, by name: int32 [N], -1: unknown."""
    position = {name: label for label, name in enumerate(class_names)}
    table = [position.get(name, -1) for name in examples.class_names]
    return np.array([*table, -1], np.int32)[examples.labels]  # label -1 takes the last entry


def _source_shards(examples: sources.Examples, index: np.ndarray) -> np.ndarray:
    """Returns the names of the TFRecord files that hold the images at `index`; "" for others."""
    if not isinstance(examples, sources.EncodedExamples):
        return np.full(len(index), "", object)
    pairs = zip(examples.files[index], examples.offsets[index], strict=True)
    return np.array([Path(f).name if at >= 0 else "" for f, at in pairs], object)


def _row_groups(batches: Iterator[Columns], bar: tqdm) -> Iterator[Columns]:
    """Joins batches to pieces of `ROWS_PER_GROUP` rows or a few more, and moves the bar."""
    waiting: list[Columns] = []
    count = 0
    for columns in batches:
        bar.update(len(columns["index"]))
        waiting.append(columns)
        count += len(columns["index"])
        if count >= ROWS_PER_GROUP:
            yield _joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(pieces: list[Columns]) -> Columns:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
