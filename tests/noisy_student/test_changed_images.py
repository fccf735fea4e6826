"""Results of images that were exchanged under their names are not taken for those of the new ones.

A run keeps digests in splits.json; single commands without such a file have those of their request.
"""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import noisy_student as ns
from data import sources
from noisy_student import config, pseudo_label
from noisy_student.artifacts import stage, student_set
from noisy_student.evaluate import resumable
from noisy_student.pseudo_label import relabel
from noisy_student.runtime.devices import make_devices
from noisy_student.selection import write
from noisy_student.train import trainer
from tests.helpers import toy_teacher


def write_images(root, seed, suffix="png"):
    """Writes 15 images of 5 classes, always under the same names; returns the folder."""
    rng = np.random.default_rng(seed)
    for name in toy_teacher.NAMES:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.{suffix}")
    return str(root)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return toy_teacher.save_model(tmp_path_factory.mktemp("model") / "model.keras", seed=3)


def test_an_evaluation_is_made_again(model, tmp_path):
    data = ns.Data.from_folders(test=write_images(tmp_path / "test", 0))

    def predictions(place):
        ns.evaluate(model, data, output_dir=tmp_path / place)
        with np.load(tmp_path / place / "predictions.npz") as stored:
            return {name: stored[name] for name in stored.files}

    before, again = predictions("out"), predictions("out")
    written = (tmp_path / "out" / "clean.json").stat().st_mtime_ns
    write_images(tmp_path / "test", 1)
    after, fresh = predictions("out"), predictions("fresh")
    assert (tmp_path / "out" / "clean.json").stat().st_mtime_ns > written
    assert any(not np.array_equal(before[name], after[name]) for name in before)
    for name in before:
        np.testing.assert_array_equal(before[name], again[name])
        np.testing.assert_array_equal(after[name], fresh[name])


def test_pseudo_labels_and_their_selection_are_refused(model, tmp_path):
    def unlabeled():
        place = str(tmp_path / "unlabeled")
        return sources.UnlabeledFolder(place).read_unlabeled(toy_teacher.NAMES)[0]

    write_images(tmp_path / "unlabeled", 0)
    place = tmp_path / "labels"
    pseudo_label.run(toy_teacher.teacher(model), unlabeled(), place)
    pseudo_label.run(toy_teacher.teacher(model), unlabeled(), place)  # finished
    write_images(tmp_path / "unlabeled", 1)
    with pytest.raises(ValueError, match="inputs.images.unlabeled"):
        pseudo_label.run(toy_teacher.teacher(model), unlabeled(), place)
    with pytest.raises(ValueError, match="images have changed since they were labeled"):
        write.run(place, tmp_path / "selected", unlabeled(), toy_teacher.selection())


def test_a_training_is_refused(tmp_path):
    def request():
        splits = sources.load_splits(sources.Folder(write_images(tmp_path / "labeled", seed)))
        settings = config.Config(image_size=16, small_image=True).teacher
        return trainer._request(settings, splits, make_devices("one"), trainer.Inputs())

    seed = 0
    opened = stage.open_stage(tmp_path / "stage", request())
    opened.finish([])
    assert stage.open_stage(tmp_path / "stage", request()).done
    seed = 1
    with pytest.raises(ValueError, match="inputs.images.labeled"):
        stage.open_stage(tmp_path / "stage", request())


def test_results_from_before_the_digests_are_taken(tmp_path):
    before, now = {"inputs": {"labeled": "a"}}, {"inputs": {"labeled": "a", "images": {"a": "b"}}}
    stage.open_stage(tmp_path / "stage", before).finish([])
    assert stage.open_stage(tmp_path / "stage", now).done
    part = tmp_path / "part.json"
    part.write_text(json.dumps({"request": {"examples": "a"}}))
    assert resumable.is_finished(part, {"examples": "a", "images": "b"}, dict)
    part.write_text(json.dumps({"request": {"examples": "a", "images": "c"}}))
    assert not resumable.is_finished(part, {"examples": "a", "images": "b"}, dict)


def test_selected_labels_of_other_classes_are_refused(model, tmp_path):
    """Labels index the classes, so another order would teach wrong names."""
    place = write_images(tmp_path / "unlabeled", 0)
    examples = sources.UnlabeledFolder(place).read_unlabeled(toy_teacher.NAMES)[0]
    toy_teacher.label(model, examples, tmp_path / "labels")
    selected = tmp_path / "selected"
    settings = toy_teacher.selection(min_confidence=0.0)
    write.run(tmp_path / "labels", selected, examples, settings)
    student_set.check_classes(selected, toy_teacher.NAMES)
    other = dataclasses.replace(examples, class_names=toy_teacher.NAMES[::-1])
    splits = sources.Splits(other, other, other, other, other.class_names, {})
    training = config.Config(image_size=16, small_image=True).student(1)
    for call in (
        lambda: trainer._request(training, splits, make_devices("one"), trainer.Inputs(selected)),
        lambda: relabel.reassign(toy_teacher.teacher(model), selected, other, tmp_path / "again"),
    ):
        with pytest.raises(ValueError, match="classes a, b, c, d, e, but the data has e, d"):
            call()
