"""Images that can be told apart after training's noise, and batches of them."""

import numpy as np
from PIL import Image

from data import pipeline, record_schema
from data.examples import WHOLE_FILE, DecodedExamples, EncodedExamples
from data.pipeline import Augmentation
from data.preprocess import PreprocessSpec

SMALL = PreprocessSpec(16, small_image=True)
LARGE = PreprocessSpec(24)
NONE = Augmentation("none")
NOISE = Augmentation("randaugment")
CLASSES = 5
STEP = 2


def marked(count, side=16):
    """Image i is of the constant color (i // 100, i % 100, 50) times STEP."""
    images = np.zeros((count, side, side, 3), np.uint8)
    images[..., 0] = (np.arange(count) // 100)[:, None, None] * STEP
    images[..., 1] = (np.arange(count) % 100)[:, None, None] * STEP
    images[..., 2] = 50 * STEP
    return images


def marks(images):
    """Which of the marked images these are."""
    center = np.asarray(images)[:, images.shape[1] // 2, images.shape[2] // 2].astype(int)
    assert np.all(center[:, 2] == 50 * STEP)
    return (center[:, 0] // STEP * 100 + center[:, 1] // STEP).tolist()


def examples(count, side=16, images=None):
    return DecodedExamples(
        ids=np.array([f"x/{i:05d}" for i in range(count)], object),
        labels=(np.arange(count) % CLASSES).astype(np.int32),
        class_names=tuple("abcde"),
        images=marked(count, side) if images is None else images,
    )


def textured(count, side=16):
    rng = np.random.default_rng(0)
    return examples(count, images=rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8))


def as_files(source, folder):
    folder.mkdir()
    paths = []
    for i in range(len(source)):
        paths.append(str(folder / f"{i}.png"))
        Image.fromarray(source.images[i]).save(paths[-1])
    return of_files(source, paths)


def of_files(source, paths):
    """The ids and labels of `source` with image files."""
    offsets = np.full(len(paths), WHOLE_FILE)
    files = np.array(paths, object)
    return EncodedExamples(source.ids, source.labels, source.class_names, files, offsets)


def write_records(folder, source, copies=1, shards=2, with_ids=True):
    def records():
        for i in range(len(source)):
            for copy in range(copies):
                probabilities = np.zeros(CLASSES, np.float32)
                probabilities[:2] = [i, copy]
                optional = (source.ids[i], copy) if with_ids else (None, None)
                yield record_schema.serialize(source.encoded(i), 0, 1.0, probabilities, *optional)

    return record_schema.write_shards(records(), folder, len(source) * copies, shards)


def batches(source, steps, spec=SMALL, noise=NOISE, **arguments):
    """Batches as arrays; see `stream`."""
    found = stream(source, spec, noise, **arguments)
    return [{k: v.numpy() for k, v in batch.items()} for batch in found.take(steps)]


def stream(source, spec=SMALL, noise=NOISE, batch_size=8, seed=3, **arguments):
    """Training batches, with those arguments of theirs in a row that come in dataclasses."""
    start_step = arguments.pop("start_step", 0)
    shard = pipeline.Shard(arguments.pop("num_shards", 1), arguments.pop("shard_index", 0))
    selected = None
    if "selected_files" in arguments:
        selected = pipeline.Selected(
            arguments.pop("selected_files"),
            arguments.pop("unlabeled_batch_size", 0),
            arguments.pop("selected_examples", None),
            arguments.pop("unlabeled_augmentation", None),
            arguments.pop("clean_spec", None),
        )
    order = pipeline.Order(seed, start_step, shard)
    return pipeline.training_batches(
        source, spec, noise, order, batch_size=batch_size, selected=selected, **arguments
    )


def assert_equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
