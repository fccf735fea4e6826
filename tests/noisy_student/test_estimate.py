"""Times of whole runs at made-up rates."""

import numpy as np
import pytest

from data import sources
from noisy_student import config, estimate, iterate
from noisy_student.config import derived
from noisy_student.estimate import Counts
from noisy_student.runtime.devices import make_devices
from noisy_student.runtime.speed import Speed
from noisy_student.train import build
from tests.helpers import toy_folders

SLOW = Speed(multiply_add=1e-9, activation=0.0, layer=0.0, memory=1e9)
COUNTS = Counts(labeled=100, unlabeled=300, test=50, classes=3)
RUN = {
    **{"teacher_width": 0.1, "teacher_depth": 0.1, "small_image": True, "rounds": 2},
    **{"batch_size": 10, "ratio": 2, "teacher_steps": 20, "student_steps": 30},
    **{"benchmarks": "clean,fgsm", "epsilons": "2,8"},
}


def test_a_run_by_hand():
    settings = config.Config(**RUN, controls="student")
    cost = derived.model_cost(settings.teacher.model, 3)
    image, start = 1e-9 * cost.multiply_adds, SLOW.start(cost)
    found = estimate.estimate(settings, COUNTS, SLOW)
    images = [200, 900, 900, 900]  # steps * batch
    assert [each.role for each, _ in found.trainings] == [
        "teacher",
        "student",
        "student",
        "control",
    ]
    expected = [start + 3 * image * count for count in images]
    assert [seconds for _, seconds in found.trainings] == pytest.approx(expected)
    assert found.labeling == pytest.approx(2 * (4 + 300 * image))
    # Clean images once; gradients of 50 images and two attacks of each.
    assert found.evaluation == pytest.approx(4 * (2 * 4 + (50 + 50 * (3 + 2)) * image))
    assert found.seconds == pytest.approx(15 + sum(expected) + found.labeling + found.evaluation)


def splits(counts: Counts) -> sources.Splits:
    def part(name: str, count: int) -> sources.DecodedExamples:
        labels = (np.arange(count) % 3).astype(np.int32)
        ids = np.array([f"{name}/{i}" for i in range(count)], object)
        images = np.zeros((count, 8, 8, 3), np.uint8)
        return sources.DecodedExamples(ids, labels, ("a", "b", "c"), images)

    sizes = {"labeled": counts.labeled, "unlabeled": counts.unlabeled, "test": counts.test}
    parts = {name: part(name, count) for name, count in (sizes | {"validation": 0}).items()}
    return sources.Splits(**parts, class_names=("a", "b", "c"), info={})


def test_parameters_are_counted_as_in_the_report():
    settings, devices = config.Config(**RUN), make_devices()
    model = build.outline(settings.teacher, devices, 3, 100)
    text = estimate.describe(settings, splits(COUNTS), SLOW, devices)
    assert f"teacher: efficientnet-b0, {build.count_parameters(model):,} parameters" in text


def test_advice_is_given_where_a_run_takes_hours_and_names_what_is_left():
    devices = make_devices()
    slow = config.Config(**RUN | {"small_image": False, "image_size": 224, "student_steps": 9999})
    text = estimate.describe(slow, splits(COUNTS), SLOW, devices)
    for way in ("--image_size=112", "--optimizer=adamw --schedule=cosine", "--init_model=", "auto"):
        assert way in text.splitlines()[-1]
    tuned = slow.replace(optimizer="adamw", schedule="cosine", init_model="teacher", auto=True)
    last = estimate.describe(tuned, splits(COUNTS), SLOW, devices).splitlines()[-1]
    assert "adamw" not in last and "--auto" not in last and "--image_size=112" in last
    quick = estimate.describe(config.Config(**RUN), splits(COUNTS), SLOW, devices)
    assert "long" not in quick.splitlines()[-1]


def test_a_dry_run_shows_changed_flags_and_trains_nothing(tmp_path, capsys, monkeypatch):
    labeled = toy_folders.write_classes(tmp_path / "labeled", {"a": 6, "b": 6})
    folders = {"dataset": "folder", "labeled_dir": labeled, "unlabeled_dir": labeled}
    monkeypatch.setattr(build, "build", lambda *_: pytest.fail("a training was built"))
    options = RUN | folders | {"seed": 0, "num_validation": 2, "teacher_mode": "stored"}
    iterate.dry_run(config.Config(**options), tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    flags = {line.strip().split("=")[0] for line in lines if line.startswith("  --")}
    assert "--teacher_width" in flags and "--dataset" in flags and len(flags) == 12
    assert not {"--seed", "--teacher_mode"} & flags  # given, but the defaults
    assert not (tmp_path / "run").exists()
