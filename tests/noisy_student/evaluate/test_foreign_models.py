"""Benchmarks of models without a card: the same numbers as Keras itself gives."""

import json

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from noisy_student import config, report
from noisy_student.evaluate import runner
from tests.helpers import foreign_models
from tests.helpers import tiny_evaluation as tiny
from tests.helpers.foreign_models import CLASSES
from tests.helpers.marks import slow_param

EPSILON = 8.0


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Test images in folders, lossless, and in the order in which they are read."""
    folder, made = tmp_path_factory.mktemp("test"), foreign_models.examples(16)
    for number, (image, label) in enumerate(zip(made.images, made.labels, strict=True)):
        path = folder / CLASSES[label] / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(image).save(path)
    order = np.argsort(made.labels, kind="stable")
    return folder, made.images[order], made.labels[order]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A CNN with softmax for 0..1 and a MobileNetV3 for 0..255, each as file and as folder."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    keras.utils.set_random_seed(0)
    for name, model, scale in (
        ("cnn", foreign_models.cnn(), 1 / 255),
        ("mobilenet", foreign_models.mobilenet(), 1.0),
    ):
        foreign_models.confident(model, scale)
        model.save(folder / f"{name}.keras")
        model.export(folder / name, verbose=False)
        found[name] = model, np.float32(scale)
    return folder, found


def evaluate(path, images, output_dir, **options):
    defaults = {
        "class_names": CLASSES,
        "dataset": "folder",
        "test_dir": images[0],
        "crop_padding": 0,  # the command's default
        "epsilons": EPSILON,
        "pgd_epsilons": EPSILON,
        "attack_steps": 2,
        "attack_random_start": False,
        "benchmarks": "clean,fgsm,pgd",
    }
    runner._main(config.Config(model=path, output_dir=output_dir, **(defaults | options)))
    return {file.stem: json.loads(file.read_text()) for file in output_dir.glob("*.json")}


def attacked(model, scale, images, labels, steps):
    """FGSM (one step) and PGD by the definition, on cross entropy of the probabilities."""
    moved = tf.cast(images, tf.float32)
    size = EPSILON if steps == 1 else 2.5 * EPSILON / steps
    low, high = tf.maximum(moved - EPSILON, 0), tf.minimum(moved + EPSILON, 255)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            tape.watch(moved)
            probabilities = model(moved * scale, training=False)
            loss = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        moved = tf.clip_by_value(moved + size * tf.sign(tape.gradient(loss, moved)), low, high)
    return 100 * np.mean(np.argmax(model(moved * scale, training=False), 1) == labels)


@pytest.mark.parametrize("name", ["cnn", slow_param("mobilenet")])
@pytest.mark.parametrize("ending", [".keras", ""])
def test_accuracies_are_those_of_predict(name, ending, models, images, tmp_path):
    folder, found = models
    (model, scale), (_, pixels, labels) = found[name], images
    input_range = {"cnn": "0..1", "mobilenet": "0..255"}[name]
    results = evaluate(f"{folder / name}{ending}", images, tmp_path, input_range=input_range)
    predicted = model.predict(pixels * scale, verbose=0).argmax(1)
    assert results["clean"]["top1"] == pytest.approx(100 * np.mean(predicted == labels))
    assert 0 < results["clean"]["top1"] < 100
    stored = np.load(tmp_path / "predictions.npz")["labels"]
    np.testing.assert_array_equal(stored, predicted)
    # A sign of zero or of rounding may differ in a pixel, and an image among sixteen with it.
    for benchmark, steps in (("fgsm", 1), ("pgd", 2)):
        expected = attacked(model, scale, pixels, labels, steps)
        assert results[benchmark]["top1"][1] == pytest.approx(expected, abs=100 / 16 + 0.1)
        assert results[benchmark]["top1"][0] == pytest.approx(results["clean"]["top1"])


def test_a_result_is_of_one_description(models, images, tmp_path):
    """Another input range is another request; equal ones reuse the file."""
    path = models[0] / "cnn.keras"
    first = evaluate(path, images, tmp_path, input_range="0..1", benchmarks="clean")
    again = evaluate(path, images, tmp_path, input_range="0..1", benchmarks="clean")
    assert again == first
    other = evaluate(path, images, tmp_path, input_range="-1..1", benchmarks="clean")
    assert other["clean"]["request"] != first["clean"]["request"]


@pytest.mark.slow
def test_models_are_compared_with_a_baseline(models, images, tmp_path, capsys):
    folder, output = models[0], tmp_path / "out"
    baseline = {"baseline_model": folder / "mobilenet.keras", "input_range": "0..255"}
    evaluate(folder / "cnn.keras", images, output, benchmarks="clean,fgsm", **baseline)
    assert (output / "baseline" / "clean.json").exists()
    lines = capsys.readouterr().out.splitlines()
    top1 = {
        name: json.loads((output / place / "clean.json").read_text())["top1"]
        for name, place in (("cnn", "."), ("mobilenet (baseline)", "baseline"))
    }
    for name, accuracy in top1.items():
        assert f"{name}, clean: top-1 {accuracy:.2f}%" in "\n".join(lines)
    compared = next(line for line in lines if line.startswith("accuracy on clean images"))
    assert ", ".join(f"{name} {accuracy:.1f}%" for name, accuracy in top1.items()) in compared


def test_a_report_sets_several_models_side_by_side(models, images, tmp_path):
    top1 = {}
    for name, input_range in (("cnn", "0..1"), ("mobilenet", "0..255")):
        output = tmp_path / "all" / "evaluation" / name
        results = evaluate(
            models[0] / f"{name}.keras", images, output, input_range=input_range, benchmarks="clean"
        )
        top1[name] = results["clean"]["top1"]
    figures = report.run(tmp_path / "all")["figures"]
    assert {model["name"]: model["top1"] for model in figures["models"]} == top1
    assert figures["missing"] == []
    for name in top1:
        target = tmp_path / name / "evaluation"
        target.mkdir(parents=True)
        (tmp_path / "all" / "evaluation" / name).rename(target / name)
    report.compare([tmp_path / "cnn", tmp_path / "mobilenet"], tmp_path / "out")
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "|  | cnn | mobilenet |" in text and f"{top1['cnn']:.1f} (" in text


def test_what_does_not_fit_is_refused_before_the_first_image(models, images, tmp_path):
    folder = models[0]
    tiny_models = tiny.save_models(tmp_path)
    for path, options, message in (
        (folder / "cnn.keras", {}, "--input_range"),
        (folder / "cnn", {"input_range": "0..1", "class_names": ("a", "b")}, "2 classes"),
        (folder / "none.keras", {}, "none.keras does not exist"),
        (folder / "cnn.keras", {"input_range": "0..1", "class_names": tuple("abcd")}, "n00000000"),
        (tiny_models["wnids"], {}, "has a card"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(path, images, tmp_path / "out", **options)
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.mark.slow
def test_attacks_on_whole_numbers_are_refused(models, images, tmp_path):
    model = models[1]["mobilenet"][0]
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec([None, 32, 32, 3], tf.uint8)]
    archive.add_endpoint("serving_default", lambda x: model(tf.cast(x, "float32")), signature)
    archive.write_out(str(tmp_path / "bytes"), verbose=False)
    with pytest.raises(ValueError, match="fgsm,pgd: .*square"):
        evaluate(tmp_path / "bytes", images, tmp_path / "out")
    results = evaluate(tmp_path / "bytes", images, tmp_path / "out", benchmarks="clean")
    expected = model.predict(images[1].astype("float32"), verbose=0).argmax(1) == images[2]
    assert results["clean"]["top1"] == pytest.approx(100 * np.mean(expected))
