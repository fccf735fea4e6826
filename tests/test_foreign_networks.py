"""The whole method with networks of others: a CNN teaches a MobileNetV3, which teaches a file."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from noisy_student import config, iterate, predict
from noisy_student.artifacts import model_file
from noisy_student.evaluate import runner
from noisy_student.runtime.devices import make_devices
from tests.helpers import foreign_models
from tests.helpers import tiny_evaluation as tiny

pytestmark = pytest.mark.slow  # two minutes; tests/noisy_student/train has the parts
NAMES = ("bird", "cat", "dog")
CNN = "tests.helpers.foreign_models:self_scaling_cnn"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Striped squares in a color of their class."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for part, count in (("labeled", 12), ("unlabeled", 16), ("test", 6)):
        for label, name in enumerate(NAMES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = rng.normal(128, 40, (32, 32, 3))
                image[..., label] += 60
                pixels = np.clip(image, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def options(photos, **changed):
    """Returns the options that all runs share."""
    folders = {f"{part}_dir": photos / part for part in ("labeled", "unlabeled", "test")}
    common = {"dataset": "folder", "num_validation": 6, "model_fn": CNN, "image_size": 32}
    return folders | common | {"batch_size": 6, "ratio": 2, "benchmarks": "clean,fgsm"} | changed


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    """A run of two rounds: model_fn, then keras:MobileNetV3Small, then the CNN in a file."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    keras.utils.set_random_seed(9)
    file = workdir.parent / "net.keras"
    foreign_models.self_scaling_cnn(len(NAMES), 32).save(file)
    settings = config.Config(
        **options(photos),
        student_name=("keras:MobileNetV3Small", str(file)),
        student_width=0.25,
        crop_padding=0,
        small_image=True,
        augment="crop",
        rounds=2,
        teacher_steps=40,
        student_steps=6,
        optimizer="adamw",
        schedule="constant",
        learning_rate=0.01,
        warmup_steps=0,
        ema_decay=0.5,
        min_confidence=0,
        epsilons=8,
        validate_every=20,
        strides=(1, 1, 1, 1, 1, 1, 1, 1),
    )
    return workdir, iterate.run(settings, workdir)


def test_a_report_has_all_models(run):
    workdir, results = run
    models = {model["name"]: model for model in results["figures"]["models"]}
    assert list(models) == ["round0_teacher", "round1_student", "round2_student"]
    assert models["round0_teacher"]["top1"] > 60  # chance is 33
    networks = {
        name: json.loads((workdir / name.replace("_", "/") / "train.json").read_text())
        for name in models
    }
    assert [n["model_name"] for n in networks.values()][:2] == [CNN, "keras:MobileNetV3Small"]


def test_every_model_predicts_what_keras_does(run, photos):
    workdir, _ = run
    files = sorted((photos / "test").rglob("*.png"))
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    for name in ("round0/teacher", "round1/student", "round2/student"):
        path = workdir / name / "model.keras"
        found, probabilities, card = predict.run(path, files, make_devices())
        logits = keras.saving.load_model(path).predict(images, verbose=0)
        expected = np.exp(logits - logits.max(1, keepdims=True))
        expected /= expected.sum(1, keepdims=True)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
        assert card["class_names"] == NAMES and found == [str(file) for file in files]


def test_trained_models_are_evaluated_alone_and_unused_options_are_named(
    run, photos, tmp_path, caplog
):
    workdir, results = run
    path = workdir / "round1" / "student" / "model.keras"
    options = {"dataset": "folder", "test_dir": photos / "test", "benchmarks": "clean"}
    runner._main(config.Config(model=path, output_dir=tmp_path, **options))
    top1 = json.loads((tmp_path / "clean.json").read_text())["top1"]
    models = {model["name"]: model for model in results["figures"]["models"]}
    assert top1 == models["round1_student"]["top1"]
    training = config.Config(teacher_name=CNN, strides=(1,) * 7, teacher_width=2.0)
    iterate.derived.warn_of_unused(training.given, training.trainings())
    assert f"--teacher_width, --strides: no effect on {CNN} (teacher)." in caplog.text


def test_a_dry_run_knows_the_cost_of_networks_of_others(photos, tmp_path, capsys):
    given = options(photos, rounds=1, student_name="keras:MobileNetV3Small", teacher_steps=9)
    iterate.dry_run(config.Config(**given, student_steps=9), tmp_path / "run")
    printed = capsys.readouterr().out
    assert CNN in printed and "keras:MobileNetV3Small" in printed
    assert not (tmp_path / "run").exists()


def test_networks_of_others_are_named_once(tmp_path):
    with pytest.raises(ValueError, match="student_model=net.keras excludes --student_name"):
        config.Config(student_model="net.keras", student_name="keras:ResNet50")
    settings = config.Config(model_fn="m:f", student_model="net.keras", rounds=1)
    names = [training.model.name for training in settings.trainings()]
    assert names == ["m:f", "net.keras"]
    tiny.save_models(tmp_path)
    card = model_file.read_card(tmp_path / "wnids.keras")
    assert not model_file.is_foreign(card)
