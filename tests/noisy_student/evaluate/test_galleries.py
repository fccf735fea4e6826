"""Which pictures of robustness the report gets, and that they are what the models saw."""

import base64
import io
import json

import numpy as np
import PIL.Image
import pytest

from data.preprocess import PreprocessSpec
from data.sources import splits
from noisy_student import config
from noisy_student.evaluate import corruptions, galleries, perturbations
from tests.helpers import tiny_evaluation as tiny

SPEC = PreprocessSpec(tiny.SIDE, small_image=True)
SEED = 3


@pytest.fixture
def examples():
    return tiny.examples(4)


def answer(folder, file, **arrays):
    """What an evaluation leaves of each model's answers: `arrays` are pairs, before and after."""
    for model, number in (("teacher", 0), ("student", 1)):
        path = folder / model / file
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **{name: np.array(pair[number]) for name, pair in arrays.items()})


def gallery(folder, tested, **other):
    robust = tiny.settings("clean", **other).robustness
    path = folder / "robust_gallery.json"
    comparison = galleries.Comparison(folder, ("teacher", "student"), tested, SPEC)
    galleries.write_robustness(comparison, SEED, robust)
    return json.loads(path.read_text())["images"] if path.exists() else None


def picture(image):
    with PIL.Image.open(io.BytesIO(base64.b64decode(image["png_base64"]))) as stored:
        return np.asarray(stored)


def test_changes_of_clean_images_the_most_confident_first(tmp_path, examples):
    truth = examples.labels
    wrong = (truth + 1) % 10
    before = np.array([wrong[0], wrong[1], truth[2], truth[3]])
    after = np.array([truth[0], truth[1], wrong[2], truth[3]])
    confident = np.array([0.5, 0.9, 0.7, 0.8])
    answer(
        tmp_path, "predictions.npz", labels=(before, after), confidences=(1 - confident, confident)
    )
    comparison = galleries.Comparison(tmp_path, ("teacher", "student"), examples, SPEC)
    galleries.write_changes(comparison)
    content = json.loads((tmp_path / "gallery.json").read_text())
    assert (content["before"], content["after"]) == ("teacher", "student")
    assert (content["count_fixed"], content["count_broken"]) == (2, 1)
    found = [(image["kind"], image["id"]) for image in content["images"]]
    assert found == [("fixed", "tiny/001"), ("fixed", "tiny/000"), ("broken", "tiny/002")]
    first, names = content["images"][0], examples.class_names
    assert (first["true"], first["after"]) == (names[truth[1]], names[truth[1]])
    assert first["before"] == names[wrong[1]]
    assert (first["before_confidence"], first["after_confidence"]) == (0.1, 0.9)
    np.testing.assert_array_equal(picture(first), examples.images[1])


def test_without_predictions_there_are_no_changes(tmp_path, examples):
    galleries.write_changes(galleries.Comparison(tmp_path, ("a", "b"), examples, SPEC))
    assert not list(tmp_path.iterdir())


def test_training_images_beside_noisy_views(tmp_path):
    examples = tiny.examples(20)
    noise = config.NoiseConfig("randaugment", 2, 10.0, True, False)
    galleries.write_noise(tmp_path / "noise.json", examples, SPEC, noise, SEED)
    content = json.loads((tmp_path / "noise.json").read_text())
    assert len(content["clean"]) == 8 and [len(row) for row in content["noisy"]] == [5] * 8
    first = picture({"png_base64": content["clean"][0]})
    np.testing.assert_array_equal(first, examples.images[0])
    view = picture({"png_base64": content["noisy"][0][0]})
    assert view.shape == first.shape and not np.array_equal(view, first)


def test_without_answers_there_is_no_gallery(tmp_path, examples):
    assert gallery(tmp_path, examples) is None


def test_corrupted_images_that_became_right_the_surest_first(tmp_path, examples):
    truth = examples.labels
    wrong = (truth + 1) % 10
    before, after = wrong.copy(), truth.copy()
    before[0], after[1] = truth[0], wrong[1]  # right before, still wrong
    sure = np.array([0.9, 0.9, 0.5, 0.7])
    answer(tmp_path, "corruptions/fog-3.npz", labels=(before, after), confidences=(sure, sure))
    images = gallery(tmp_path, examples)
    assert [image["id"] for image in images] == ["tiny/003", "tiny/002"]
    names = examples.class_names
    for image, index in zip(images, (3, 2), strict=True):
        assert (image["benchmark"], image["setting"]) == ("corruptions", "fog 3")
        assert image["true"] == image["after"] == names[truth[index]]
        assert image["before"] == names[wrong[index]]
        expected = corruptions.corrupted_image(
            examples.images[index], examples.ids[index], "fog", 3, SEED
        )
        np.testing.assert_array_equal(picture(image), expected)


def test_of_a_part_of_the_images_those_are_shown_that_were_measured(tmp_path, examples):
    measured = splits.sample(examples, 2)
    assert list(measured.ids) != list(examples.ids[:2])
    truth, sure = measured.labels, np.array([0.9, 0.5])
    answer(
        tmp_path,
        "corruptions/fog-3.npz",
        labels=((truth + 1) % 10, truth),
        confidences=(sure, sure),
    )
    images = gallery(tmp_path, examples, examples=2)
    assert [image["id"] for image in images] == list(measured.ids)


def test_frames_at_which_only_the_first_model_strays(tmp_path, examples):
    film = perturbations.generated_sequence(examples, 0, "tilt", SPEC, SEED)
    steady = np.repeat(examples.labels[:, np.newaxis], len(film), axis=1)
    before, after = steady.copy(), steady.copy()
    before[1, 4:] = (before[1, 4:] + 1) % 10  # strays from the fifth frame on
    before[2, 3] = (before[2, 3] + 1) % 10
    after[2, 7] = (after[2, 7] + 1) % 10  # but the other model does so, too
    before[3] = (before[3] + 1) % 10  # was never right
    answer(tmp_path, "perturbations/tilt.npz", labels=(before, after))
    (image,) = gallery(tmp_path, examples)
    assert (image["id"], image["setting"]) == ("tiny/001", "tilt frame 5")
    assert image["true"] == image["after"] != image["before"]
    frames = perturbations.generated_sequence(examples, 1, "tilt", SPEC, SEED)
    np.testing.assert_array_equal(picture(image), frames[4])


def test_images_of_imagenet_a(tmp_path, examples):
    for wnid, image in zip(tiny.WNIDS[:3], tiny.pictures(3, seed=7), strict=True):
        tiny.write_image(tmp_path / "a" / wnid / "0.png", image)
    labels = ([1, 1, 1], [0, 0, 2])
    sure = [0.2, 0.9, 0.8]
    answer(tmp_path, "imagenet_a/predictions.npz", labels=labels, confidences=(sure, sure))
    images = gallery(tmp_path, examples, imagenet_a_dir=tmp_path / "a")
    assert [image["true"] for image in images] == [tiny.WNIDS[2], tiny.WNIDS[0]]
    assert {image["before"] for image in images} == {tiny.WNIDS[1]}
    np.testing.assert_array_equal(picture(images[0]), tiny.pictures(3, seed=7)[2])
