"""A teacher's distributions of images, by shard: eval mode, clean images, averaged weights.

Or noised, as an ablation of the paper (table 6) has it: augmented images, the teacher's dropout and
stochastic depth. Batch norm keeps to its moving statistics, so that the label of an image depends
on no other image.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

import efficientnet
from data import pipeline, seeds, sources
from data.preprocess import PreprocessSpec
from noisy_student.artifacts import model_file, predictions
from noisy_student.artifacts.files import file_hash, read_json, write_json
from noisy_student.config import settings
from noisy_student.metrics import calibration
from noisy_student.runtime import inference
from noisy_student.runtime.devices import Devices

CALIBRATION = "calibration.json"
_ROWS_PER_GROUP = 8192  # a Parquet row group: large enough to compress, small beside memory


def label_shards(
    model_path: str | Path,
    examples: sources.Examples,
    output_dir: str | Path,
    devices: Devices,
    *,
    batch_size: int,
    num_shards: int,
    stored: settings.LabelConfig,
    validation: sources.Examples | None,
    shard_index: int | None = None,
) -> None:
    """`write_predictions` of a saved model, calibrated if need be.

    Args:
        model_path: the teacher.
        examples: images to label; a teacher that knows more than their classes decides among these.
        output_dir: of the shards, and of `calibration.json`.
        devices: from `strategy.make`.
        batch_size: images at a time.
        num_shards: as of `write_predictions`.
        stored: what of the probabilities is stored, whether they are calibrated, and the noise of
            a noised teacher.
        validation: labeled images that calibration fits.
        shard_index: as of `write_predictions`.
    """
    with devices.prediction_scope():
        model, card = model_file.load_model(model_path)
        if stored.noise:
            efficientnet.freeze_batch_norm(model)
    model = inference.for_classes(model, card["class_names"], examples.class_names)
    temperature = 1.0
    if stored.calibrate:
        path = Path(output_dir) / CALIBRATION
        if not path.exists():  # of several processes the first one fits
            step = devices.spread(inference.logits_step(model, devices.jit_compile))
            spec = card["preprocess"]
            batches = pipeline.evaluation_batches(validation, spec, batch_size=batch_size)
            labels, logits = inference.predict_all(step, batches, len(validation))
            write_json(path, calibration.describe(logits, labels))
        temperature = read_json(path)["temperature"]
    step = (
        inference.noised_predict_step(model, devices.jit_compile)
        if stored.noise
        else inference.predict_step(model, devices.jit_compile, temperature)
    )
    write_predictions(
        devices.spread(step),
        examples,
        card["preprocess"],
        output_dir,
        class_names=examples.class_names,
        batch_size=batch_size,
        num_shards=num_shards,
        shard_index=shard_index,
        model_hash=file_hash(model_path),
        store_top_k=stored.store_top_k,
        probabilities_dtype=stored.probabilities_dtype,
        temperature=temperature,
        noise=stored.noise,
        noise_seed=stored.noise_seed or 0,
    )


def write_predictions(
    predict: Callable[..., tf.Tensor],
    examples: sources.Examples,
    spec: PreprocessSpec,
    output_dir: str | Path,
    *,
    class_names: tuple[str, ...],
    batch_size: int,
    num_shards: int = 1,
    shard_index: int | None = None,
    model_hash: str = "",
    store_top_k: int | None = None,
    probabilities_dtype: str = "float16",
    temperature: float = 1.0,
    noise: settings.NoiseConfig | None = None,
    noise_seed: int = 0,
) -> list[Path]:
    """Writes the shards that are missing or were made from something else.

    Args:
        predict: images uint8 [batch_size, S, S, 3] -> probabilities float32 [batch_size, C]; with
            `noise` it also takes seeds int32 [batch_size, 2].
        examples: images to label.
        spec: preprocessing at evaluation.
        output_dir: of the shards.
        class_names: C names in the order of the probabilities.
        batch_size: images at a time, in the last batch too.
        num_shards: contiguous parts of the examples, equal but for one image.
        shard_index: the only shard to write; None: all.
        model_hash: names the weights.
        store_top_k: keep as many of the largest probabilities (`data.distributions`); None: all.
        probabilities_dtype: "float16" or "float32".
        temperature: that `predict` has divided logits by, for the record.
        noise: of the images; None: they are clean.
        noise_seed: what the noise is drawn from.

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
        "store_top_k": store_top_k and min(store_top_k, len(class_names)),
        "probabilities_dtype": probabilities_dtype,
        "temperature": temperature,
    }
    make_batches = functools.partial(pipeline.evaluation_batches, spec=spec, batch_size=batch_size)
    if noise:
        card["noise"] = dataclasses.asdict(noise) | {"seed": noise_seed}
        augmentation = pipeline.Augmentation(**dataclasses.asdict(noise))
        make_batches = functools.partial(make_batches, augmentation=augmentation, seed=noise_seed)
    parts = np.array_split(np.arange(len(examples)), num_shards)
    wanted = range(num_shards) if shard_index is None else [shard_index]
    paths = {shard: predictions.shard_path(output_dir, shard, num_shards) for shard in wanted}
    missing = {
        shard: path
        for shard, path in paths.items()
        if not path.exists() or predictions.read_card(path) != card
    }
    total = sum(len(parts[shard]) for shard in missing)
    with tqdm(desc="labeled", total=total, unit="image", leave=False, disable=None) as shown:
        for shard, path in missing.items():
            shown.set_postfix_str(f"shard {shard} of {num_shards}")
            batches = _label(predict, make_batches, examples, parts[shard], class_names)
            predictions.write(path, card, _grouped(_counted(batches, shown)))
    return list(missing.values())


def _counted(batches: Iterator[predictions.Columns], shown: tqdm) -> Iterator[predictions.Columns]:
    """The same batches, each counted by the progress bar when it is made."""
    for columns in batches:
        shown.update(len(columns["index"]))
        yield columns


def _label(
    predict: Callable[..., tf.Tensor],
    make_batches: Callable[[sources.Examples], tf.data.Dataset],
    examples: sources.Examples,
    indices: np.ndarray,
    class_names: tuple[str, ...],
) -> Iterator[predictions.Columns]:
    """Columns of the examples at `indices`, one batch at a time."""
    truth, shards = _true_labels(examples, class_names), _source_shards(examples)
    batches = make_batches(examples.take(indices))
    for positions, _, probabilities in inference.predictions(predict, batches):
        index = indices[positions]
        yield {
            "id": examples.ids[index].astype(object),
            "id_hash": seeds.hash_ids(examples.ids[index]),
            "index": index.astype(np.int64),
            "source_shard": shards(index),
            "label": probabilities.argmax(axis=1).astype(np.int32),
            "confidence": probabilities.max(axis=1).astype(np.float32),
            "probabilities": probabilities,
            "true_label": truth[index],
        }


def _true_labels(examples: sources.Examples, class_names: tuple[str, ...]) -> np.ndarray:
    """The examples' own labels in the model's classes, matched by name: int32 [N]; -1: unknown."""
    position = {name: label for label, name in enumerate(class_names)}
    table = [position.get(name, -1) for name in examples.class_names]
    return np.array([*table, -1], np.int32)[examples.labels]  # label -1 takes the last entry


def _source_shards(examples: sources.Examples) -> Callable[[np.ndarray], np.ndarray]:
    """A function: index int [n] -> names of the TFRecord files that images lie in, or ""."""
    if examples.offsets is None:
        return lambda index: np.full(len(index), "", object)

    def names(index: np.ndarray) -> np.ndarray:
        pairs = zip(examples.files[index], examples.offsets[index], strict=True)
        return np.array([Path(f).name if at >= 0 else "" for f, at in pairs], object)

    return names


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
