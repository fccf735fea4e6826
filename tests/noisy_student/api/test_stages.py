"""Models and stages from Python, against the commands' code on the same images."""

import sys

import keras
import numpy as np
import pytest
from PIL import Image

import noisy_student as ns
from noisy_student import selection
from noisy_student.artifacts import predictions
from tests.helpers import small_runs, toy_batches, toy_folders, toy_teacher

NAMES = toy_teacher.NAMES
IMAGES = np.random.default_rng(1).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return toy_teacher.save_model(tmp_path_factory.mktemp("model") / "model.keras", seed=3)


@pytest.fixture(scope="module")
def expected(path):
    """Probabilities of Keras alone: images of 16 pixels are as the model takes them."""
    logits = keras.models.load_model(path).predict(IMAGES, verbose=0)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_a_loaded_model_classifies_arrays_and_files(path, expected, tmp_path):
    loaded = ns.load(path)
    assert loaded.class_names == NAMES and loaded.preprocess == toy_teacher.SPEC
    files = [tmp_path / f"{i}.png" for i in range(len(IMAGES))]
    for file, image in zip(files, IMAGES, strict=True):
        Image.fromarray(image).save(file)
    files = [files[3], *files[:3], *files[3:]]  # one twice, in another order
    names, probabilities = loaded.predict(IMAGES, batch_size=7)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    assert names == [NAMES[label] for label in expected.argmax(axis=1)]
    of_files = loaded.predict(files).probabilities
    np.testing.assert_allclose(of_files[1:], expected[[0, 1, 2, *range(3, 20)]], rtol=1e-5)
    np.testing.assert_allclose(loaded.predict(str(files[0])).probabilities, of_files[:1], rtol=1e-5)
    np.testing.assert_allclose(loaded.predict(IMAGES / 255).probabilities, expected, rtol=1e-5)


def test_other_images_are_refused(path, tmp_path):
    loaded = ns.load(path)
    with pytest.raises(ValueError, match=f"{tmp_path}/none.png does not exist"):
        loaded.predict(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(ValueError, match="text.png is not a readable image"):
        loaded.predict([tmp_path / "text.png"])
    with pytest.raises(ValueError, match=r"images has the shape \[0\]"):
        loaded.predict([])
    with pytest.raises(ValueError, match="none.keras does not exist"):
        ns.load(tmp_path / "none.keras")


@pytest.mark.slow
def test_a_fresh_process_needs_ns_load_alone(path):
    code = f"""
import noisy_student as ns, numpy as np
model = ns.load({str(path)!r})
print(*model.predict(np.full((2, 16, 16, 3), 7, np.uint8)).class_names)"""
    output = small_runs.run([sys.executable, "-c", code])
    expected = ns.load(path).predict(np.full((2, 16, 16, 3), 7, np.uint8)).class_names
    assert output.splitlines()[-1].split() == expected


def test_labels_are_those_of_the_stage(path, expected, tmp_path):
    examples = toy_batches.examples(len(IMAGES), images=IMAGES)
    toy_teacher.label(path, examples, tmp_path / "labels", probabilities_dtype="float32")
    files = predictions.shard_files(tmp_path / "labels")
    stage = [*predictions.read(files, ["label", "confidence", "probabilities"])]
    stored = {key: np.concatenate([part[key] for part in stage]) for key in stage[0]}
    data = ns.Data.from_arrays(IMAGES, np.arange(20) % 5, unlabeled=IMAGES, class_names=NAMES)
    for images in (IMAGES, data):
        ours = ns.pseudo_label(path, images)
        assert ours.labels.tolist() == stored["label"].tolist()
        np.testing.assert_allclose(ours.confidences, stored["confidence"], rtol=1e-5)
        np.testing.assert_allclose(ours.probabilities, stored["probabilities"], rtol=1e-5)
    with pytest.raises(ValueError, match="has no unlabeled images"):
        ns.pseudo_label(path, ns.Data.from_arrays(IMAGES, np.arange(20) % 5))


def test_selection_has_the_defaults_of_the_stage():
    labels = np.array([0, 0, 0, 1, 2])
    confidences = np.array([0.9, 0.8, 0.2, 0.7, 0.1], np.float32)
    assert ns.select(labels, confidences).tolist() == [1, 1, 0, 2, 0]
    assert ns.select(labels, confidences, max_copies=1).tolist() == [1, 1, 0, 1, 0]
    assert ns.select(labels, confidences, 4, images_per_class="none").tolist() == [1, 1, 0, 1, 0]
    ids = np.arange(5, dtype=np.uint64)
    expected = selection.select(labels, confidences, ids, 3, 4, 0.0)
    ours = ns.select(labels, confidences, images_per_class=4, min_confidence=0.0)
    assert ours.tolist() == expected.tolist()


def test_evaluation_of_paths_and_models_in_memory(path, expected, tmp_path):
    labels = expected.argmax(axis=1)
    labels[:5] = (labels[:5] + 1) % 5
    pair = (IMAGES, labels)
    clean = ns.evaluate(path, pair)["clean"]
    assert clean["top1"] == 75.0 and clean["num_examples"] == 20
    data = ns.Data.from_arrays(IMAGES, labels, test=pair, class_names=NAMES)
    loaded = ns.load(path)
    for model in (loaded, loaded.model):
        assert ns.evaluate(model, data)["clean"]["top1"] == 75.0
    attacked = ns.evaluate(
        loaded, data, ["clean", "fgsm"], tmp_path, epsilons=(2,), fgsm_examples=10
    )["fgsm"]
    assert attacked["epsilons"] == [0, 2] and attacked["num_examples"] == 10
    assert attacked["top1"][1] <= attacked["top1"][0]
    before = (tmp_path / "fgsm.json").stat().st_mtime_ns
    ns.evaluate(loaded, data, ["fgsm"], tmp_path, epsilons=(2,), fgsm_examples=10)
    assert (tmp_path / "fgsm.json").stat().st_mtime_ns == before, "measured again"


def test_evaluation_reads_the_test_folder_alone(path, tmp_path):
    toy_folders.write_classes(tmp_path, {"a": 2, "c": 1}, side=16)
    result = ns.evaluate(path, ns.Data.from_folders(test=tmp_path))["clean"]
    assert result["num_examples"] == 3


def test_bad_evaluations_are_refused(path):
    with pytest.raises(ValueError, match=r"give test=\(images, labels\)"):
        ns.evaluate(path, ns.Data.from_arrays(IMAGES, np.arange(20) % 5))
    with pytest.raises(ValueError, match=r"label 5; valid: 0\.\.4"):
        ns.evaluate(path, (IMAGES, np.arange(20) % 6))
    with pytest.raises(ValueError, match="the model lacks 5 of the data's classes"):
        numbers = (IMAGES, np.arange(20) % 5)
        ns.evaluate(path, ns.Data.from_arrays(*numbers, test=numbers))
    with pytest.raises(ValueError, match="--benchmarks=fgms: must be one of"):
        ns.evaluate(path, (IMAGES, np.arange(20) % 5), ["fgms"])
    with pytest.raises(ValueError, match="the student of a run"):
        ns.evaluate(print, (IMAGES, np.arange(20) % 5))
    with pytest.raises(ValueError, match="give --class_names"):
        ns.evaluate(foreign_model(), (IMAGES, np.arange(20) % 5))


def foreign_model():
    keras.utils.set_random_seed(1)
    layers = [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(5)]
    return keras.Sequential([*layers, keras.layers.Softmax()])


def test_models_of_others_are_measured_as_they_are_described(tmp_path):
    model = foreign_model()
    labels = model.predict(IMAGES / 255, verbose=0).argmax(axis=1)
    labels[:2] = (labels[:2] + 1) % 5
    model.save(tmp_path / "model.keras")
    for given in (model, tmp_path / "model.keras"):
        described = {"class_names": NAMES, "input_range": "0..1"}
        assert ns.evaluate(given, (IMAGES, labels), **described)["clean"]["top1"] == 90.0


@pytest.mark.parametrize("batch_size", [0, -1, 2.5])
def test_a_batch_has_at_least_an_image(path, batch_size):
    for call in (ns.load(path).predict, lambda *given, **n: ns.pseudo_label(path, *given, **n)):
        with pytest.raises(ValueError, match=f"batch_size={batch_size}: must be a whole number"):
            call(IMAGES, batch_size=batch_size)


def test_one_benchmark_needs_no_list(path):
    labels = np.arange(len(IMAGES)) % len(NAMES)
    one = ns.evaluate(path, (IMAGES, labels), benchmarks="clean")
    assert one["clean"]["top1"] == ns.evaluate(path, (IMAGES, labels))["clean"]["top1"]


def test_labels_of_classes_that_are_called_by_other_numbers_are_named(tmp_path, caplog):
    names = tuple(sorted(map(str, range(12))))  # as folders are: 0, 1, 10, 11, 2, ...
    model = toy_teacher.save_model(tmp_path / "model.keras", seed=3, names=names)
    ns.evaluate(model, (IMAGES, np.zeros(len(IMAGES), int)))
    assert "label 2 is class '10'" in caplog.text
