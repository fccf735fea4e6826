"""Speed of labeling a shard beside the bare model, and of writing a student's records.

Labeling: images per second from examples in memory to a finished Parquet shard, relative to the
model alone on prepared batches.

Records: bytes of finished records per second of CPU time, from predictions of 1000 classes and real
JPEGs to shuffled TFRecords.

    python -m benchmarks.pseudo_labels --images=../shared/data/imagenet_sample
"""

import functools
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

import efficientnet
from benchmarks import harness
from data import pipeline, seeds
from data.examples import DecodedExamples
from data.preprocess import PreprocessSpec
from data.sources import folders
from noisy_student import config
from noisy_student.artifacts import predictions
from noisy_student.artifacts.json_files import PredictionsCard
from noisy_student.pseudo_label import shards
from noisy_student.runtime import inference
from noisy_student.selection import write

_MODEL, _BATCH, _BATCHES = "efficientnet-b0", 250, 8  # at 32 pixels
_CLASSES = 1000
_COPIES = 5  # of each image in the records


def _labeling(folder: pathlib.Path, repeats: int) -> None:
    count, size = _BATCHES * _BATCH, 32
    rng = np.random.default_rng(0)
    examples = DecodedExamples(
        ids=np.array([f"x/{i}" for i in range(count)], object),
        labels=np.full(count, -1, np.int32),
        class_names=tuple(map(str, range(10))),
        images=rng.integers(0, 256, (count, size, size, 3), np.uint8),
    )
    model = efficientnet.build_model(_MODEL, num_classes=10, small_image=True)
    predict = inference.predict_step(model)
    batches = [tf.constant(part) for part in np.split(examples.images, _BATCHES)]
    make_batches = functools.partial(
        pipeline.evaluation_batches, spec=PreprocessSpec(size, small_image=True), batch_size=_BATCH
    )
    card: PredictionsCard = {
        "class_names": list(examples.class_names),
        "model": "",
        "examples": examples.fingerprint(),
    }
    labeler = shards.Labeler(predict, make_batches, card)

    def bare() -> int:
        for batch in batches:
            predict(batch).numpy()
        return count

    def ours() -> int:
        shards.write(labeler, examples, tempfile.mkdtemp(dir=folder))
        return count

    arms = {arm.__name__: lambda arm=arm: harness.call_rate(arm) for arm in (bare, ours)}
    harness.take_turns(arms, 1)  # traces and compiles
    rates = harness.take_turns(arms, repeats)
    rate, ratio = np.median(rates["bare"][:, 0]), np.median(rates["ours"] / rates["bare"], 0)[0]
    print(f"labeling: {rate:,.0f} images/s bare, {ratio:.3f} of it with input and files")


def _records(folder: pathlib.Path, images: str) -> None:
    examples = folders.read_labeled(images)
    count, rng = len(examples), np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(_CLASSES), count).astype(np.float32)
    columns = {
        "id": examples.ids,
        "id_hash": seeds.hash_ids(examples.ids),
        "index": np.arange(count),
        "source_shard": np.full(count, "", object),
        "label": probabilities.argmax(axis=1),
        "confidence": probabilities.max(axis=1),
        "probabilities": probabilities,
        "true_label": examples.labels,
    }
    card = {"class_names": list(map(str, range(_CLASSES))), "examples": examples.fingerprint()}
    predictions.write(predictions.shard_path(folder, 0, 1), card, [columns])
    per_class = _COPIES * count // len(np.unique(columns["label"]))
    start = harness.now()
    settings = config.SelectionConfig(
        min_confidence=0, images_per_class=per_class, hard_labels=False, num_shards=4, seed=0
    )
    files = write.write_selected(folder, folder / "selected", examples, settings)
    wall, processor = harness.now() - start
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    print(
        f"records: {megabytes:,.0f} MB, {megabytes / processor:,.0f} MB/s per core, "
        f"{megabytes / wall:,.0f} MB/s in all"
    )


def main() -> None:
    """Prints both."""
    options = harness.parser(
        __doc__,
        images=("../shared/data/imagenet_sample", "Folder of JPEGs in class sub-folders."),
        repeats=(7, "Turns of each arm of labeling; 0 skips it."),
    ).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.repeats:
            _labeling(pathlib.Path(folder), options.repeats)
        _records(pathlib.Path(folder), options.images)


if __name__ == "__main__":
    main()
