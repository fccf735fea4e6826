"""The first steps of the recipes, on random images: everything but the batch size as it is."""

import dataclasses
import gc
from pathlib import Path

import keras
import numpy as np
import pytest

from data import record_schema, sources
from noisy_student import config
from noisy_student.artifacts import model_file
from noisy_student.config import derived
from noisy_student.runtime.devices import make_devices
from noisy_student.train import batches, build, step
from noisy_student.train.learner import Learner

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


@pytest.fixture(autouse=True)
def freed_memory():
    """Lets go of a network before the next one is built: those of L2 take 15 GB."""
    yield
    keras.backend.clear_session()
    gc.collect()


def read(recipe: str, *overrides: str) -> config.Config:
    """The settings of a recipe."""
    return config.parse([f"--flagfile={RECIPES / recipe}.flags", *overrides])


def pictures(name: str, count: int, side: int, classes: int) -> sources.Examples:
    rng = np.random.default_rng(len(name))
    return sources.DecodedExamples(
        ids=np.array([f"{name}/{number}" for number in range(count)], object),
        labels=rng.integers(0, classes, count).astype(np.int32),
        class_names=tuple(map(str, range(classes))),
        images=rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8),
    )


def pseudo_labeled(folder: Path, count: int, side: int, classes: int) -> list[str]:
    """Records of as many images with random soft labels."""
    examples = pictures("unlabeled", count, side, classes)
    table = np.random.default_rng(0).dirichlet(np.ones(classes), count).astype(np.float32)

    def records():
        for row, p in enumerate(table):
            label, prob = int(p.argmax()), float(p.max())
            yield record_schema.serialize(examples.encoded(row), label, prob, p, examples.ids[row])

    files = record_schema.write_shards(records(), folder, count, 1)
    return [str(path) for path in files]


def first_steps(
    settings: config.Config, training: config.TrainConfig, folder: Path, classes: int, steps: int
) -> tuple[Learner, dict[str, np.ndarray]]:
    """Takes the first steps as `train.run` does; the learner, and the logged metrics by name."""
    spec = derived.preprocess_spec(training.model)
    side = spec.image_size if spec.small_image else 96
    # The number of threads is the process's own, which other tests share.
    devices = make_devices(**dataclasses.asdict(settings.device) | {"intra_op_threads": 0})
    teacher = None
    if training.teacher_mode == "online":
        teacher, names = folder / "teacher.keras", tuple(map(str, range(classes)))
        network = build.build(settings.teacher, devices, classes, training.batch_size)
        model_file.save_model(network.average_model, teacher, names, spec)
    learner = build.build(training, devices, classes, training.batch_size, teacher)
    files = None
    if training.unlabeled_batch_size:
        files = pseudo_labeled(folder, training.unlabeled_batch_size, side, classes)
    labeled = pictures("labeled", training.batch_size, side, classes)
    images = batches.training_batches(learner, labeled, files)
    table = step.compile_steps(learner)(images, steps)
    return learner, dict(zip(step.metric_names(learner), table.numpy().T, strict=True))


def check_student(recipe: str, folder: Path, classes: int, steps: int, *overrides: str) -> None:
    settings = read(recipe, *overrides)
    student = settings.students[0]
    learner, parts = first_steps(settings, student, folder, classes, steps)
    assert learner.finished_steps == steps
    for name, values in parts.items():
        assert np.all(np.isfinite(values)), name
    # An untrained network knows nothing: cross entropies not far from log(classes).
    for name in ("labeled_loss", "unlabeled_loss"):
        assert 0.5 < parts[name][0] / np.log(classes) < 2.5
    sums = parts["labeled_loss"] + student.ratio * parts["unlabeled_loss"] + parts["l2_loss"]
    np.testing.assert_allclose(parts["loss"], sums, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["svhn", "cifar10", "fashion_mnist"])
def test_first_steps_of_small_images(tmp_path, recipe):
    check_student(recipe, tmp_path, 10, 2, "--batch_size=4")


@pytest.mark.slow
def test_first_steps_of_imagenet_b0(tmp_path):
    check_student("imagenet_b0", tmp_path, 1000, 2, "--batch_size=2")


@pytest.mark.slow
def test_first_steps_of_a_tenth_of_imagenet(tmp_path):
    check_student("imagenet_10percent", tmp_path, 1000, 1, "--batch_size=1")


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7])
def test_a_step_of_larger_networks(tmp_path, size):
    """At 128 pixels, which one CPU holds."""
    overrides = ("--batch_size=1", "--image_size=128")
    check_student(f"imagenet_b{size}", tmp_path, 1000, 1, *overrides)


@pytest.mark.slow
def test_a_step_of_l2(tmp_path):
    """At 32 pixels: needs 15 GB of memory for weights, averages, slots and gradients."""
    check_student("imagenet_l2_round1", tmp_path, 1000, 1, "--batch_size=1", "--image_size=32")


@pytest.mark.slow
def test_fine_tuning_of_l2_leaves_the_shallow_blocks(tmp_path):
    overrides = ("--batch_size=1", "--image_size=32", "--fixres_image_size=64")
    settings = read("imagenet_l2_round1", *overrides)
    learner, parts = first_steps(settings, settings.tuned[0], tmp_path, 1000, 1)
    assert np.isfinite(parts["loss"][0])
    trained = {variable.path.split("/")[0] for variable in learner.model.trainable_variables}
    assert {f"blocks_{number}" for number in range(60, 88)} <= trained
    assert not trained & {f"blocks_{number}" for number in range(60)}
