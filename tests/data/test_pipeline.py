import collections

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import augmentation, order, pipeline, seeds, selected, tfrecord
from data.examples import Examples
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
    return Examples(
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
    return Examples(source.ids, source.labels, source.class_names, files=np.array(paths, object))


def write_records(folder, source, copies=1, shards=2, with_ids=True):
    def records():
        for i in range(len(source)):
            for copy in range(copies):
                probabilities = np.zeros(CLASSES, np.float32)
                probabilities[:2] = [i, copy]
                optional = (source.ids[i], copy) if with_ids else (None, None)
                yield tfrecord.serialize(source.encoded(i), 0, 1.0, probabilities, *optional)

    return tfrecord.write_shards(records(), folder, len(source) * copies, shards)


def batches(source, steps, spec=SMALL, noise=NOISE, batch_size=8, seed=3, **arguments):
    stream = pipeline.training_batches(
        source,
        spec,
        noise,
        batch_size=batch_size,
        seed=seed,
        num_classes=CLASSES,
        **arguments,
    )
    return [{k: v.numpy() for k, v in batch.items()} for batch in stream.take(steps)]


def assert_equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture
def real_operations():
    """Asks for RandAugment itself."""


@pytest.fixture(autouse=True)
def quick_operations(request, monkeypatch):
    """Adds random numbers instead of RandAugment, whose graph takes seconds to build."""
    if "real_operations" in request.fixturenames:
        return

    def add(images, image_seeds, num_layers, magnitude, **arguments):
        del num_layers, arguments
        numbers = seeds.uniform(image_seeds, 3)[:, tf.newaxis, tf.newaxis]
        return images + tf.cast(numbers * magnitude, tf.uint8)

    monkeypatch.setattr(augmentation.randaugment, "rand_augment_batch", add)


@pytest.fixture
def streaming(monkeypatch):
    """Any set of records is too large for memory, and blocks are small enough to be several."""
    monkeypatch.setattr(selected, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(selected, "_BLOCK_RECORDS", 7)


@pytest.fixture(params=["in memory", "streamed"])
def either(request):
    if request.param == "streamed":
        request.getfixturevalue("streaming")
    return request.param


# Order.


def test_batches_have_the_promised_form(tmp_path):
    files = write_records(tmp_path, examples(9))
    stream = pipeline.training_batches(
        examples(10),
        SMALL,
        NOISE,
        batch_size=4,
        seed=0,
        num_classes=CLASSES,
        selected_files=files,
        unlabeled_batch_size=6,
    )
    assert stream.element_spec == {
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


def test_permutations_are_uniform():
    counts = np.zeros((6, 6))
    for one_pass in order.batch_order(6, 6, seed=0, purpose=0, start_step=0).take(3000):
        counts[np.arange(6), one_pass["index"]] += 1
    # Chi square of 25 degrees of freedom stays below 52.6 in 99.9% of draws.
    assert np.sum((counts - 500) ** 2 / 500) < 52.6


def test_another_seed_is_another_order_and_other_noise():
    source = textured(40)
    first, other = batches(source, 2), batches(source, 2, seed=4)
    assert first[0]["labels"].tolist() != other[0]["labels"].tolist()
    same, noised = (pipeline.noisy_views(source, [0], SMALL, NOISE, s, 1) for s in (3, 4))
    assert not np.array_equal(same, noised)


# Reproducibility.


def test_two_runs_are_bit_identical_whatever_the_global_seed(tmp_path, either):
    files = write_records(tmp_path, textured(20))
    arguments = {"selected_files": files, "unlabeled_batch_size": 6}
    tf.random.set_seed(1)
    first = batches(textured(30), 8, **arguments)
    tf.random.set_seed(2)
    assert_equal(first, batches(textured(30), 8, **arguments))


def test_resumed_batches_are_the_same(tmp_path, either):
    files = write_records(tmp_path, textured(11), shards=3)
    arguments = {"selected_files": files, "unlabeled_batch_size": 6}
    whole = batches(textured(13), 9, **arguments)
    for start in (1, 7):
        resumed = batches(textured(13), 9 - start, start_step=start, **arguments)
        assert_equal(resumed, whole[start:])


def test_resumed_batches_are_the_same_with_the_real_operations(real_operations, tmp_path):
    files = write_records(tmp_path, textured(11))
    arguments = {"selected_files": files, "unlabeled_batch_size": 6}
    whole = batches(textured(13), 4, **arguments)
    assert_equal(batches(textured(13), 2, start_step=2, **arguments), whole[2:])
    clean = {image.tobytes() for image in textured(13).images}
    assert not any(image.tobytes() in clean for batch in whole for image in batch["images"])


def test_resuming_does_no_image_work_for_earlier_batches(tmp_path):
    source = as_files(textured(16), tmp_path / "files")
    open(source.files[0], "wb").close()  # Not an image any more: whatever decodes it fails.
    with pytest.raises(tf.errors.InvalidArgumentError):
        batches(source, 2)
    drawn = order.batch_order(16, 8, 3, order.LABELED, 0)
    clean = [0 in batch["index"].numpy() for batch in drawn.take(8)].index(False)
    assert len(batches(source, 1, start_step=clean)) == 1


def test_parallelism_changes_nothing(tmp_path, either):
    files = write_records(tmp_path, textured(20), shards=3)
    source = as_files(textured(30), tmp_path / "files")

    def run(threads):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        options.threading.max_intra_op_parallelism = threads
        stream = pipeline.training_batches(
            source,
            LARGE,
            NOISE,
            batch_size=8,
            seed=3,
            num_classes=CLASSES,
            selected_files=files,
            unlabeled_batch_size=6,
        ).with_options(options)
        return [{k: v.numpy() for k, v in batch.items()} for batch in stream.take(6)]

    assert_equal(run(1), run(7))


def test_files_give_the_same_batches_as_memory(tmp_path):
    source = textured(20)
    files = as_files(source, tmp_path / "files")
    for spec in (SMALL, LARGE):
        assert_equal(batches(source, 4, spec), batches(files, 4, spec))


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


# Noise.


def test_passes_are_noised_differently():
    source = textured(8)
    first, second = batches(source, 2)
    first = first["images"][np.argsort(first["labels"], kind="stable")]
    second = second["images"][np.argsort(second["labels"], kind="stable")]
    assert not any(np.array_equal(a, b) for a in first for b in second)


@pytest.mark.parametrize("with_ids", [True, False], ids=["ids", "no ids"])
def test_copies_are_noised_differently(tmp_path, either, with_ids):
    files = write_records(tmp_path, textured(2), copies=20, with_ids=with_ids)
    (batch,) = batches(textured(8), 1, selected_files=files, unlabeled_batch_size=40)
    for image in (0, 1):
        noised = batch["unlabeled_images"][batch["probabilities"][:, 0] == image]
        assert len(noised) == 20
        assert len({one.tobytes() for one in noised}) == 20


def test_no_augmentation_leaves_images_as_evaluated():
    source = textured(20)
    for spec in (SMALL, LARGE):
        (batch,) = batches(source, 1, spec, NONE, batch_size=20)
        (clean,) = pipeline.evaluation_batches(source, spec, batch_size=20)
        trained = {image.tobytes() for image in batch["images"]}
        assert trained == {image.tobytes() for image in clean["images"].numpy()}


def test_digits_are_never_mirrored():
    """Identity operations leave crop and flip: a bright left half must stay left."""
    images = np.zeros((40, 16, 16, 3), np.uint8)
    images[:, :, :8] = 200
    source = examples(40, images=images)
    for flip, mirrored in [(False, 0), (True, 20)]:
        quiet = Augmentation(magnitude=0, flip=flip)
        (batch,) = batches(source, 1, noise=quiet, batch_size=40)
        left, right = batch["images"][:, :, 0, 0].mean(1), batch["images"][:, :, -1, 0].mean(1)
        assert np.sum(right > left) == pytest.approx(mirrored, abs=12 if flip else 0)


def test_cutout_fills_a_square_of_half_the_side(monkeypatch):
    monkeypatch.setattr(augmentation.preprocess, "small_crop", lambda images, image_seeds: images)
    source = examples(40, images=np.zeros((40, 16, 16, 3), np.uint8))
    for cutout in (False, True):
        quiet = Augmentation(magnitude=0, cutout=cutout)
        (batch,) = batches(source, 1, noise=quiet, batch_size=40)
        gray = np.sum(batch["images"][..., 0] == 128, axis=(1, 2))
        assert gray.max() == (64 if cutout else 0)


def test_translation_of_small_images_is_bounded_by_their_size(real_operations):
    """At full magnitude 16 px images move by 2 px, where the default is 100 px."""
    views = pipeline.noisy_views(textured(4), range(4), SMALL, NOISE, 0, 20)
    only_gray = np.all(views == 128, axis=(2, 3, 4))
    assert not only_gray.any()


def test_labeled_and_unlabeled_noise_can_differ(tmp_path):
    files = write_records(tmp_path, examples(8))
    (batch,) = batches(
        examples(8),
        1,
        noise=NONE,
        selected_files=files,
        unlabeled_batch_size=8,
        unlabeled_augmentation=NOISE,
    )
    assert sorted(marks(batch["images"])) == list(range(8))
    clean = {image.tobytes() for image in marked(8)}
    assert sum(image.tobytes() in clean for image in batch["unlabeled_images"]) < 8


def test_keras_cv_noise_is_the_same_in_two_runs():
    pytest.importorskip("keras_cv")
    noise = Augmentation("keras_cv", magnitude=10)
    first, second = (batches(textured(64), 4, noise=noise, batch_size=64) for _ in range(2))
    assert_equal(first, second)
    clean = {image.tobytes() for image in textured(64).images}
    assert not any(image.tobytes() in clean for image in first[0]["images"])
    assert first[0]["images"].std() > 20


def test_noisy_views_are_what_training_shows():
    source = textured(8)
    first, second = batches(source, 2)
    views = pipeline.noisy_views(source, range(8), SMALL, NOISE, 3, 2)
    assert views.shape == (8, 2, 16, 16, 3) and views.dtype == np.uint8
    for batch, shown in [(first, views[:, 0]), (second, views[:, 1])]:
        assert {i.tobytes() for i in batch["images"]} == {i.tobytes() for i in shown}
    some = pipeline.noisy_views(source, [5, 2], SMALL, NOISE, 3, 2)
    np.testing.assert_array_equal(some, views[[5, 2]])


# Selected records.


def test_records_keep_their_probabilities_and_are_seen_once_a_pass(tmp_path, either):
    files = write_records(tmp_path, examples(25), copies=2, shards=4)
    steps = batches(examples(10), 20, noise=NONE, selected_files=files, unlabeled_batch_size=10)
    seen = []
    for batch in steps:
        image = batch["probabilities"][:, 0].astype(int).tolist()
        assert marks(batch["unlabeled_images"]) == image
        seen += zip(image, batch["probabilities"][:, 1].astype(int).tolist(), strict=True)
    passes = [seen[start : start + 50] for start in range(0, 200, 50)]
    for one_pass in passes:
        assert sorted(one_pass) == [(i, copy) for i in range(25) for copy in range(2)]
    assert passes[0] != passes[1]
    assert passes[0] != sorted(passes[0])


@pytest.mark.parametrize(("block", "shards"), [(100, 1), (1, 8)], ids=["blocks", "shards"])
def test_streamed_records_are_shuffled_in_blocks_and_by_shards(
    tmp_path, streaming, monkeypatch, block, shards
):
    monkeypatch.setattr(selected, "_BLOCK_RECORDS", block)
    files = write_records(tmp_path, examples(16), shards=shards)
    arguments = {"noise": NONE, "selected_files": files, "unlabeled_batch_size": 16}
    passes = [marks(batch["unlabeled_images"]) for batch in batches(examples(8), 3, **arguments)]
    assert passes[0] != passes[1] != passes[2] != passes[0]
    assert list(range(16)) not in passes


def test_large_images_of_different_sizes(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    paths = [str(folder / f"{i}.jpg") for i in range(6)]
    for i, path in enumerate(paths):
        Image.new("RGB", (30 + 10 * i, 50), (40, 40, 40)).save(path)
    source = Examples(
        np.array(paths, object),
        np.zeros(6, np.int32),
        ("a",),
        files=np.array(paths, object),
    )
    (batch,) = batches(source, 1, LARGE, Augmentation(magnitude=0), batch_size=6)
    assert np.abs(batch["images"].astype(int) - 40).max() <= 2


def test_inputs_that_cannot_be_trained_on_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'cutmix'; valid: randaugment, keras_cv, none"):
        Augmentation("cutmix")
    with pytest.raises(ValueError, match="no labeled images"):
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
    with pytest.raises(ValueError, match="no records"):
        batches(examples(3), 1, selected_files=[], unlabeled_batch_size=2)
    with pytest.raises(ValueError, match="5 probabilities, but there are 7 classes"):
        pipeline.training_batches(
            examples(3),
            SMALL,
            NONE,
            batch_size=2,
            seed=0,
            num_classes=7,
            selected_files=files,
            unlabeled_batch_size=2,
        )


# Evaluation.


@pytest.mark.parametrize("count", [1, 7, 8, 9, 30])
@pytest.mark.parametrize("stored", ["memory", "files"])
def test_evaluation_sees_every_example_once_in_order(tmp_path, count, stored):
    source = examples(count)
    if stored == "files":
        source = as_files(source, tmp_path / "files")
    stream = pipeline.evaluation_batches(source, SMALL, batch_size=8)
    assert stream.element_spec == {
        "images": tf.TensorSpec([8, 16, 16, 3], tf.uint8),
        "labels": tf.TensorSpec([8], tf.int32),
        "index": tf.TensorSpec([8], tf.int64),
    }
    seen = []
    for batch in stream:
        images, labels, index = (batch[k].numpy() for k in ("images", "labels", "index"))
        real = index >= 0
        assert marks(images[real]) == index[real].tolist()
        assert labels[real].tolist() == (index[real] % CLASSES).tolist()
        assert np.all(labels[~real] == -1)
        seen += index[real].tolist()
    assert seen == list(range(count))


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
