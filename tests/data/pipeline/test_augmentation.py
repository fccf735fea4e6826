import numpy as np
import pytest

from data import pipeline
from data.pipeline import Augmentation, augmentation
from tests.helpers.marks import STREAMED, slow_param
from tests.helpers.toy_batches import (
    LARGE,
    NOISE,
    NONE,
    SMALL,
    assert_equal,
    batches,
    examples,
    marked,
    marks,
    textured,
    write_records,
)

pytestmark = pytest.mark.usefixtures("quick_operations")


def test_passes_are_noised_differently():
    source = textured(8)
    first, second = batches(source, 2)
    first = first["images"][np.argsort(first["labels"], kind="stable")]
    second = second["images"][np.argsort(second["labels"], kind="stable")]
    assert not any(np.array_equal(a, b) for a in first for b in second)


@STREAMED
@pytest.mark.parametrize("with_ids", [True, slow_param(False)], ids=["ids", "no ids"])
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


@pytest.mark.parametrize("spec", [SMALL, LARGE], ids=["small", "large"])
def test_crop_is_the_noise_without_operations(spec):
    """The same images as where the operations leave an image as it is."""
    source = textured(20)
    cropped, idle, clean = (
        batches(source, 1, spec, noise, batch_size=20)[0]["images"]
        for noise in (Augmentation("crop"), Augmentation(magnitude=0), NONE)
    )
    np.testing.assert_array_equal(cropped, idle)
    assert not np.array_equal(cropped, clean)


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


@pytest.mark.parametrize(
    ("spec", "order"),
    [(SMALL, ["operations", "cutout", "crop", "flip"]), (LARGE, ["flip", "operations"])],
    ids=["small", "large"],
)
def test_noise_comes_in_the_published_order(monkeypatch, spec, order):
    done = []

    def noting(name):
        def note(images, *_, **__):
            done.append(name)
            return images

        return note

    monkeypatch.setattr(augmentation.randaugment, "rand_augment_batch", noting("operations"))
    for name, function in (("cutout", "cutout"), ("crop", "small_crop"), ("flip", "flip")):
        monkeypatch.setattr(augmentation.preprocess, function, noting(name))
    side = spec.image_size
    noise = augmentation.batch_noise(spec, Augmentation(cutout=True), seed=0)
    noise(np.zeros((2, side, side, 3), np.uint8), np.zeros((2, 2), np.int32))
    assert done == order


def test_cutout_fills_a_square_of_half_the_side(monkeypatch):
    monkeypatch.setattr(augmentation.preprocess, "small_crop", lambda images, image_seeds: images)
    source = examples(40, images=np.zeros((40, 16, 16, 3), np.uint8))
    for cutout in (False, True):
        quiet = Augmentation(magnitude=0, cutout=cutout)
        (batch,) = batches(source, 1, noise=quiet, batch_size=40)
        gray = np.sum(batch["images"][..., 0] == 128, axis=(1, 2))
        assert gray.max() == (64 if cutout else 0)


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


@pytest.mark.slow
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
