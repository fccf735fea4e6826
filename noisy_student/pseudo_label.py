r"""Lets a teacher label images: eval mode, averaged weights, clean images (paper, section 2).

    python -m noisy_student.pseudo_label --model=runs/teacher/model.keras --output_dir=runs/labels \
        --num_shards=8 --shard_index=0

Shards that are there already are not computed again, and several processes may share the shards.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from data import pipeline, seeds, sources
from data.preprocess import PreprocessSpec
from noisy_student import checkpoint, config, inference, manifest, predictions, strategy

_ROWS_PER_GROUP = 8192  # a Parquet row group: large enough to compress, small beside memory


def run(
    model_path: str | Path,
    examples: sources.Examples,
    output_dir: str | Path,
    devices: strategy.Devices,
    *,
    batch_size: int,
    num_shards: int = 1,
    shard_index: int | None = None,
) -> dict[str, Any]:
    """Labels all examples, or one shard of them, or returns at once where all is done.

    Args:
        model_path: the teacher, as saved by `train` or converted.
        examples: images to label; their own labels are kept beside, for measuring only. A teacher
            that knows more than their classes decides among these alone.
        output_dir: of this stage alone; receives `predictions-*.parquet` and `done.json`.
        devices: from `strategy.make`.
        batch_size: images at a time.
        num_shards: files to split the examples over.
        shard_index: the only shard to write, from 0; None: all that are not there.

    Returns:
        The content of `done.json`; {} as long as shards of other processes are missing.

    Raises:
        ValueError: an output_dir made to another request, or a shard_index out of range.
    """
    inputs = {"model": manifest.file_hash(model_path), "examples": examples.fingerprint()}
    request = {"stage": "pseudo_label", "num_shards": num_shards, "inputs": inputs}
    done = manifest.begin(output_dir, request)
    if done:
        return done
    start = time.perf_counter()
    model, card = checkpoint.load_model(model_path)
    model = inference.for_classes(model, card["class_names"], examples.class_names)
    write_predictions(
        inference.predict_step(model, devices.jit_compile),
        examples,
        card["preprocess"],
        output_dir,
        class_names=examples.class_names,
        batch_size=batch_size,
        num_shards=num_shards,
        shard_index=shard_index,
        model_hash=inputs["model"],
    )
    files = [predictions.shard_path(output_dir, shard, num_shards) for shard in range(num_shards)]
    if not all(file.exists() for file in files):
        return {}
    hashes = {file.name: manifest.file_hash(file) for file in files}
    seconds = time.perf_counter() - start
    return manifest.finish(
        output_dir, request, seconds, num_records=len(examples), predictions=hashes
    )


def write_predictions(
    predict: Callable[[tf.Tensor], tf.Tensor],
    examples: sources.Examples,
    spec: PreprocessSpec,
    output_dir: str | Path,
    *,
    class_names: tuple[str, ...],
    batch_size: int,
    num_shards: int = 1,
    shard_index: int | None = None,
    model_hash: str = "",
) -> list[Path]:
    """Writes the shards that are missing or were made from something else.

    Args:
        predict: images uint8 [batch_size, S, S, 3] -> probabilities float32 [batch_size, C].
        examples: images to label.
        spec: preprocessing at evaluation.
        output_dir: of the shards.
        class_names: C names in the order of the probabilities.
        batch_size: images at a time, in the last batch too.
        num_shards: contiguous parts of the examples, equal but for one image.
        shard_index: the only shard to write; None: all.
        model_hash: names the weights.

    Returns:
        The files written.

    Raises:
        ValueError: shard_index out of range.
    """
    if shard_index is not None and not 0 <= shard_index < num_shards:
        raise ValueError(f"shard_index = {shard_index}; valid: 0 .. {num_shards - 1}")
    card = {
        "class_names": list(class_names),
        "model": model_hash,
        "preprocess": spec.to_dict(),
        "examples": examples.fingerprint(),
    }
    parts = np.array_split(np.arange(len(examples)), num_shards)
    written = []
    for shard in range(num_shards) if shard_index is None else [shard_index]:
        path = predictions.shard_path(output_dir, shard, num_shards)
        if path.exists() and predictions.read_card(path) == card:
            continue
        batches = _label(predict, examples, parts[shard], spec, class_names, batch_size)
        count = -(-len(parts[shard]) // batch_size)
        shown = tqdm(batches, path.stem, count, unit="batch", leave=False, disable=None)
        predictions.write(path, card, _grouped(shown))
        written.append(path)
    return written


def _label(
    predict: Callable[[tf.Tensor], tf.Tensor],
    examples: sources.Examples,
    indices: np.ndarray,
    spec: PreprocessSpec,
    class_names: tuple[str, ...],
    batch_size: int,
) -> Iterator[predictions.Columns]:
    """Columns of the examples at `indices`, one batch at a time."""
    truth = _true_labels(examples, class_names)
    batches = pipeline.evaluation_batches(examples.take(indices), spec, batch_size=batch_size)
    for positions, _, probabilities in inference.predictions(predict, batches):
        index = indices[positions]
        yield {
            "id": examples.ids[index].astype(object),
            "id_hash": seeds.hash_ids(examples.ids[index]),
            "index": index.astype(np.int64),
            "label": probabilities.argmax(axis=1).astype(np.int32),
            "confidence": probabilities.max(axis=1).astype(np.float32),
            "probabilities": probabilities.astype(np.float16),
            "true_label": truth[index],
        }


def _true_labels(examples: sources.Examples, class_names: tuple[str, ...]) -> np.ndarray:
    """The examples' own labels in the model's classes, matched by name: int32 [N]; -1: unknown."""
    position = {name: label for label, name in enumerate(class_names)}
    table = [position.get(name, -1) for name in examples.class_names]
    return np.array([*table, -1], np.int32)[examples.labels]  # label -1 takes the last entry


def _grouped(batches: Iterator[predictions.Columns]) -> Iterator[predictions.Columns]:
    """The same rows in pieces of `_ROWS_PER_GROUP` or a little more."""
    waiting, count = [], 0
    for columns in batches:
        waiting.append(columns)
        count += len(columns["index"])
        if count >= _ROWS_PER_GROUP:
            yield _joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(pieces: list[predictions.Columns]) -> predictions.Columns:
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _main(settings: config.Config) -> None:
    flags = config.FLAGS
    devices = strategy.make(**dataclasses.asdict(settings.device))
    splits = sources.load_splits(**dataclasses.asdict(settings.data), splits_file=flags.splits_file)
    model, num_shards = config.required("model"), settings.selection.num_shards
    if flags.dry_run:
        card = checkpoint.read_card(model)
        print(
            f"{model}: {len(splits.unlabeled)} unlabeled images in {num_shards} shards, "
            f"{len(card['class_names'])} classes, {card['preprocess']}"
        )
        return
    output_dir = config.required("output_dir")
    done = run(
        model,
        splits.unlabeled,
        output_dir,
        devices,
        batch_size=settings.log.eval_batch_size,
        num_shards=num_shards,
        shard_index=flags.shard_index,
    )
    state = f"{done['num_records']} images labeled" if done else "other shards are still missing"
    print(f"{state}: {output_dir}")


if __name__ == "__main__":
    config.run(
        _main,
        ["model", "output_dir", "num_shards", "shard_index", "splits_file", "dataset", "data_dir",
         "labeled_dir", "unlabeled_dir", "num_labeled", "seed", "eval_batch_size", "dry_run"],
    )  # fmt: skip
