import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import pipeline, seeds
from data.pipeline import Augmentation, order, selected
from data.pipeline.augmentation import batch_noise
from data.preprocess import PreprocessSpec
from tests.helpers.marks import STREAMED
from tests.helpers.toy_batches import (
    CLASSES,
    LARGE,
    NOISE,
    NONE,
    SMALL,
    as_files,
    assert_equal,
    batches,
    examples,
    marks,
    of_files,
    stream,
    textured,
    write_records,
)

pytestmark = pytest.mark.usefixtures("quick_operations")


def test_batches_have_the_promised_form(tmp_path):
    files = write_records(tmp_path, examples(9))
    arguments = {"selected_files": files, "unlabeled_batch_size": 6}
    training = stream(examples(10), batch_size=4, **arguments)
    assert training.element_spec == {
        "images": tf.TensorSpec([4, 16, 16, 3], tf.uint8),
        "labels": tf.TensorSpec([4], tf.int32),
        "unlabeled_images": tf.TensorSpec([6, 16, 16, 3], tf.uint8),
        "probabilities": tf.TensorSpec([6, CLASSES], tf.float32),
    }


@pytest.mark.parametrize(("count", "batch_size"), [(30, 8), (24, 8), (5, 8), (1, 3), (300, 8)])
def test_every_pass_sees_every_example_once_with_its_label(count, batch_size):
    steps = -(-3 * count // batch_size)
    seen, labels = [], []
    for batch in batches(examples(count), steps, noise=NONE, batch_size=batch_size):
        seen += marks(batch["images"])
        labels += batch["labels"].tolist()
    assert labels == [mark % CLASSES for mark in seen]
    passes = [seen[start : start + count] for start in range(0, 3 * count, count)]
    for one_pass in passes:
        assert sorted(one_pass) == list(range(count))
    if count > 20:
        assert passes[0] != passes[1] != passes[2] != sorted(passes[2])


@pytest.mark.slow
def test_another_seed_is_another_order_and_other_noise():
    source = textured(40)
    first, other = batches(source, 2), batches(source, 2, seed=4)
    assert first[0]["labels"].tolist() != other[0]["labels"].tolist()
    same, noised = (pipeline.noisy_views(source, [0], SMALL, NOISE, s, 1) for s in (3, 4))
    assert not np.array_equal(same, noised)


@pytest.mark.slow
def test_two_runs_are_bit_identical_whatever_the_global_seed(tmp_path, either):
    files = write_records(tmp_path, textured(20))
    arguments = {"selected_files": files, "unlabeled_batch_size": 6}
    tf.random.set_seed(1)
    first = batches(textured(30), 8, **arguments)
    tf.random.set_seed(2)
    assert_equal(first, batches(textured(30), 8, **arguments))


@STREAMED
def test_resumed_batches_are_the_same(tmp_path, either):
    files = write_records(tmp_path, textured(11), shards=3)
    arguments = {"selected_files": files, "unlabeled_batch_size": 6}
    whole = batches(textured(13), 9, **arguments)
    for start in (1, 7):
        resumed = batches(textured(13), 9 - start, start_step=start, **arguments)
        assert_equal(resumed, whole[start:])


def test_resuming_does_no_image_work_for_earlier_batches(tmp_path):
    source = as_files(textured(16), tmp_path / "files")
    open(source.files[0], "wb").close()  # Not an image any more: whatever decodes it fails.
    with pytest.raises(tf.errors.InvalidArgumentError):
        batches(source, 2)
    drawn = order.batch_order(16, 8, order.Order(seed=3), order.LABELED)
    clean = [0 in batch["index"].numpy() for batch in drawn.take(8)].index(False)
    assert len(batches(source, 1, start_step=clean)) == 1


@pytest.mark.slow
def test_parallelism_changes_nothing(tmp_path, either):
    files = write_records(tmp_path, textured(20), shards=3)
    source = as_files(textured(30), tmp_path / "files")

    def run(threads):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.threading.max_intra_op_parallelism = threads
        arguments = {"selected_files": files, "unlabeled_batch_size": 6}
        training = stream(source, LARGE, **arguments).with_options(options)
        return [{k: v.numpy() for k, v in batch.items()} for batch in training.take(6)]

    assert_equal(run(1), run(7))


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1, 5])
def test_the_number_of_parallel_calls_changes_nothing(tmp_path, either, monkeypatch, calls):
    files = write_records(tmp_path, textured(20), shards=3)
    source = as_files(textured(30), tmp_path / "files")
    arguments = {"spec": LARGE, "selected_files": files, "unlabeled_batch_size": 6}
    expected = batches(source, 6, **arguments)
    monkeypatch.setattr(tf.data, "AUTOTUNE", calls)
    assert_equal(batches(source, 6, **arguments), expected)


# Clean copies, for a teacher within the step.


@pytest.mark.slow
@pytest.mark.parametrize("side", [16, 40])
def test_clean_copies_are_what_evaluation_shows_of_the_same_images(tmp_path, either, side):
    """The pseudo labels of these records number their images."""
    source = textured(20)
    files = write_records(tmp_path, source)
    spec, clean_spec = (SMALL, SMALL) if side == 16 else (LARGE, PreprocessSpec(side))
    arguments = {"spec": spec, "selected_files": files, "unlabeled_batch_size": 6}
    got = batches(source, 4, clean_spec=clean_spec, **arguments)
    (expected,) = pipeline.evaluation_batches(source, clean_spec, batch_size=20)
    for batch, without in zip(got, batches(source, 4, **arguments), strict=True):
        clean = batch.pop("unlabeled_clean_images")
        assert_equal([batch], [without])
        numbers = batch["probabilities"][:, 0].astype(int)
        np.testing.assert_array_equal(clean, expected["images"].numpy()[numbers])
        assert not np.array_equal(clean, batch["unlabeled_images"])


def test_clean_copies_of_small_images_have_their_size(tmp_path):
    files = write_records(tmp_path, examples(6))
    with pytest.raises(ValueError, match="must keep their size: .*image_size=24"):
        batches(
            examples(6),
            1,
            selected_files=files,
            unlabeled_batch_size=2,
            clean_spec=PreprocessSpec(24, small_image=True),
        )


# Several hosts.


@STREAMED
def test_hosts_together_make_the_batches_of_one(tmp_path, either):
    files = write_records(tmp_path, textured(11), shards=3)
    arguments = {"selected_files": files, "unlabeled_batch_size": 20, "start_step": 2}
    whole = batches(textured(13), 4, **arguments)  # 2.5 unlabeled images for each labeled one
    parts = [
        batches(textured(13), 4, num_shards=2, shard_index=host, **arguments) for host in (0, 1)
    ]
    together = [
        {name: np.concatenate([part[name] for part in batch]) for name in batch[0]}
        for batch in zip(*parts, strict=True)
    ]
    assert_equal(together, whole)


@pytest.mark.slow
def test_a_host_decodes_its_own_rows_alone(tmp_path):
    source = as_files(textured(16), tmp_path / "files")
    open(source.files[0], "wb").close()  # Not an image any more: whatever decodes it fails.
    everything = order.batch_order(16, 8, order.Order(seed=3), order.LABELED)
    drawn = [batch["index"].numpy() for batch in everything.take(2)]
    (host,) = [int(np.flatnonzero(batch == 0)[0] // 4) for batch in drawn if 0 in batch]
    assert len(batches(source, 2, num_shards=2, shard_index=1 - host)) == 2
    with pytest.raises(tf.errors.InvalidArgumentError):
        batches(source, 2, num_shards=2, shard_index=host)


def test_files_give_the_same_batches_as_memory(tmp_path):
    source = textured(20)
    files = as_files(source, tmp_path / "files")
    for spec in (SMALL, LARGE):
        assert_equal(batches(source, 4, spec), batches(files, 4, spec))


@pytest.mark.slow
def test_streamed_records_are_noised_like_those_in_memory(tmp_path, monkeypatch):
    files = write_records(tmp_path, textured(8))
    arguments = {"selected_files": files, "unlabeled_batch_size": 8}

    def first_pass():
        (batch,) = batches(textured(8), 1, **arguments)
        order = np.argsort(batch["probabilities"][:, 0])
        return batch["unlabeled_images"][order]

    in_memory = first_pass()
    monkeypatch.setattr(selected, "IN_MEMORY_BYTES", 0)
    np.testing.assert_array_equal(in_memory, first_pass())


def test_large_images_of_different_sizes(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    paths = [str(folder / f"{i}.jpg") for i in range(6)]
    for i, path in enumerate(paths):
        Image.new("RGB", (30 + 10 * i, 50), (40, 40, 40)).save(path)
    source = of_files(examples(6), paths)
    (batch,) = batches(source, 1, LARGE, Augmentation(magnitude=0), batch_size=6)
    assert np.abs(batch["images"].astype(int) - 40).max() <= 2


def test_inputs_that_cannot_be_trained_on_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'cutmix'; valid: randaugment, keras_cv, crop, none"):
        Augmentation("cutmix")
    with pytest.raises(ValueError, match="No labeled images"):
        batches(examples(0), 1)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        batches(examples(3), 1, batch_size=0)
    unknown = examples(3)
    unknown.labels[1] = -1
    with pytest.raises(ValueError, match=r"x/00001 has the label -1; valid: 0..4"):
        batches(unknown, 1)
    files = write_records(tmp_path, examples(3))
    with pytest.raises(ValueError, match="unlabeled_batch_size must be at least 1, not 0"):
        batches(examples(3), 1, selected_files=files)
    with pytest.raises(ValueError, match="No records"):
        batches(examples(3), 1, selected_files=[], unlabeled_batch_size=2)
    with pytest.raises(ValueError, match="5 probabilities for 7 classes"):
        seven = dataclasses.replace(examples(3), class_names=tuple("abcdefg"))
        batches(seven, 1, selected_files=files, unlabeled_batch_size=2)


# Evaluation.


@pytest.mark.parametrize("count", [1, 7, 8, 9, 30])
@pytest.mark.parametrize("stored", ["memory", "files"])
def test_evaluation_sees_every_example_once_in_order(tmp_path, count, stored):
    source = examples(count)
    if stored == "files":
        source = as_files(source, tmp_path / "files")
    evaluation = pipeline.evaluation_batches(source, SMALL, batch_size=8)
    assert evaluation.element_spec == {
        "images": tf.TensorSpec([8, 16, 16, 3], tf.uint8),
        "labels": tf.TensorSpec([8], tf.int32),
        "index": tf.TensorSpec([8], tf.int64),
    }
    seen = []
    for batch in evaluation:
        images, labels, index = (batch[k].numpy() for k in ("images", "labels", "index"))
        real = index >= 0
        assert marks(images[real]) == index[real].tolist()
        assert labels[real].tolist() == (index[real] % CLASSES).tolist()
        assert np.all(labels[~real] == -1)
        seen += index[real].tolist()
    assert seen == list(range(count))


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["memory", "files"])
def test_evaluation_may_be_noised_by_image_and_seed_alone(tmp_path, stored):
    source = textured(11)
    if stored == "files":
        source = as_files(source, tmp_path / "files")

    def noised(part, batch_size, seed=3):
        stream = pipeline.evaluation_batches(
            part, SMALL, batch_size=batch_size, augmentation=NOISE, seed=seed
        )
        columns = [{name: column.numpy() for name, column in b.items()} for b in stream]
        whole = {name: np.concatenate([b[name] for b in columns]) for name in columns[0]}
        return {name: column[whole["index"] >= 0] for name, column in whole.items()}

    whole = noised(source, 4)
    hashes = tf.constant(seeds.hash_ids(source.ids).view(np.int64))
    everywhere = tf.zeros([11], tf.int64)
    expected = seeds.example_seeds(3, everywhere - 1, hashes, tf.zeros([11], tf.int32))
    np.testing.assert_array_equal(whole["seeds"], expected)
    (clean,) = pipeline.evaluation_batches(source, SMALL, batch_size=11)
    noise = batch_noise(SMALL, NOISE, seed=0)
    np.testing.assert_array_equal(whole["images"], noise(clean["images"], expected))
    part = [7, 2, 10]
    np.testing.assert_array_equal(
        noised(source.take(part), 2)["images"], whole["images"][np.array(part)]
    )
    assert (noised(source, 4, seed=4)["images"] != whole["images"]).any()
    first_pass = pipeline.noisy_views(source, range(11), SMALL, NOISE, seed=3, views=1)[:, 0]
    assert (first_pass != whole["images"]).any()


def test_evaluation_of_nothing_is_empty():
    assert not list(pipeline.evaluation_batches(examples(0), SMALL, batch_size=8))


def test_small_images_are_padded_once():
    source = textured(10, side=12)
    (batch,) = pipeline.evaluation_batches(source, SMALL, batch_size=10)
    np.testing.assert_array_equal(batch["images"][:, 2:14, 2:14], source.images)
    assert np.all(batch["images"][:, :2] == 0)


def test_labels_are_balanced_over_a_pass():
    counts = collections.Counter()
    for batch in batches(examples(40), 5):
        counts.update(batch["labels"].tolist())
    assert counts == dict.fromkeys(range(CLASSES), 8)
