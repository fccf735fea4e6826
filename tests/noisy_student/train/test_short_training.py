"""Trainings of a few dozen steps: the saved averages belong to the network that was trained."""

import dataclasses

import numpy as np
import pytest

from data import sources
from noisy_student import train
from noisy_student.artifacts import model_file
from noisy_student.runtime.devices import make_devices
from noisy_student.train import build, trainer
from tests.helpers.small_learner import CLASSES, STUDENT
from tests.noisy_student.train.test_loop import LOG, TEACHER


@pytest.fixture
def warned(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(trainer.logging, "warning", lines.append)
    return lines


def stripes(name: str, count: int, seed: int) -> sources.DecodedExamples:
    """Noisy images of horizontal stripes, vertical stripes and neither."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 3
    wave = np.broadcast_to(np.arange(32) // 4 % 2 * 160, (32, 32))
    kinds = (wave.T, wave, np.full((32, 32), 80))
    shifted = [np.roll(kinds[k], rng.integers(8), axis=k % 2)[..., np.newaxis] for k in labels]
    images = np.clip(np.array(shifted) + rng.normal(40, 30, (count, 32, 32, 3)), 0, 255)
    ids = np.array([f"{name}/{i}" for i in range(count)], object)
    return sources.DecodedExamples(ids, labels, ("a", "b", "c"), images=images.astype(np.uint8))


def test_the_averaged_model_knows_what_the_network_learned(tmp_path, warned):
    """At a momentum of 0.99 all of them are of one class: 33.3%."""
    counts = {"labeled": 48, "validation": 90, "unlabeled": 3, "test": 3}
    parts = {name: stripes(name, count, len(name)) for name, count in counts.items()}
    splits = sources.Splits(**parts, class_names=("a", "b", "c"), info={})
    changes = {"width": 0.2, "image_size": 32, "strides": (2, 2, 2, 2, 1, 1, 1, 1)}
    model = dataclasses.replace(STUDENT.model, batch_norm_momentum=0.99, **changes)
    optimizer = dataclasses.replace(
        TEACHER.optimizer, name="adamw", schedule="constant", warmup_steps=5, learning_rate=0.004
    )
    settings = dataclasses.replace(
        TEACHER, steps=60, ema_decay=0.9999, batch_size=24, model=model, optimizer=optimizer
    )
    log = dataclasses.replace(LOG, log_every=20, validate_every=1000, checkpoint_every=1000)
    summary = train.run(settings, splits, tmp_path, make_devices(), log)
    assert summary["history"][-1]["labeled_accuracy"] > 0.9
    assert summary["validation_top1"] > 60
    assert warned == []
    card = model_file.read_card(tmp_path / "model.keras")
    assert card["model"]["batch_norm_momentum"] == pytest.approx(1 - 50 / 60)


@pytest.mark.parametrize(
    ("momentum", "changes", "expected"),
    [
        (0.99, {"steps": 100_000}, 0.99),
        (0.99, {"steps": 5000}, 0.99),
        (0.99, {"steps": 2000}, 0.975),
        (0.99, {"steps": 100}, 0.5),
        (0.99, {"steps": 100_000, "max_steps": 100}, 0.5),
        (0.99, {"steps": 50}, 0.0),
        (0.99, {"steps": 1}, 0.0),
        (0.9, {"steps": 500}, 0.9),
        (0.9, {"steps": 100}, 0.5),
        (0.3, {"steps": 100}, 0.3),
        (0.99, {"steps": 100, "role": "fixres", "fixres_epochs": 1.5}, 0.99),
    ],
)
def test_moving_statistics_cover_a_small_part_of_a_training(momentum, changes, expected):
    model = dataclasses.replace(STUDENT.model, batch_norm_momentum=momentum)
    settings = dataclasses.replace(STUDENT, model=model, **changes)
    assert build.batch_norm_momentum(settings, num_labeled=8) == pytest.approx(expected, abs=1e-12)
    if expected == momentum:
        assert build.batch_norm_momentum(settings, num_labeled=8) == momentum  # to the bit


def test_the_network_is_built_with_it():
    made = build.build(
        dataclasses.replace(STUDENT, steps=100), make_devices(precision="float32"), CLASSES, 8
    )
    for model in (made.model, made.average_model):
        assert model.get_layer("stem_bn").momentum == 0.5
        blocks = [layer for layer in model.layers if hasattr(layer, "batch_norms")]
        assert {norm.momentum for block in blocks for norm in block.batch_norms()} == {0.5}
    assert made.settings.model.batch_norm_momentum == 0.5


@pytest.mark.parametrize(
    ("trained", "validated", "images", "warns"),
    [
        (0.98, 33.3, 6, True),
        (0.98, 33.3, 500, True),
        (0.98, 75.0, 500, False),
        (0.70, 33.3, 6, False),  # two of six may be chance
        (0.70, 33.3, 100, True),
        (0.30, 90.0, 500, False),
        (0.98, None, 0, False),
    ],
)
def test_accuracies_far_apart_are_a_warning(trained, validated, images, warns, warned):
    row = {"step": 1, "learning_rate": 0.1, "loss": 1.0, "seconds": 1.0}
    row |= {"labeled_accuracy": trained}
    row |= {} if validated is None else {"validation_top1": validated}
    trainer._warn_if_apart("teacher", row, images)
    assert len(warned) == warns
    for line in warned:
        assert f"{100 * trained:.1f}%" in line and f"{validated:.1f}%" in line and "FAQ" in line


def test_few_validation_images_are_a_warning(warned):
    """Wilson's interval of 14 of 20 is 48.1 to 85.5%, that of 700 of 1000 is 67.1 to 72.8%."""
    rows = [{"validation_top1": 60.0}, {"step": 2}, {"validation_top1": 70.0}]
    trainer._warn_if_few("teacher", rows, 1000)
    trainer._warn_if_few("teacher", [{"step": 2}], 0)
    assert warned == []
    trainer._warn_if_few("teacher", rows, 20)
    assert len(warned) == 1 and "70.0%, is 48.1 to 85.5%" in warned[0]
