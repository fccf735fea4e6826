"""Choices of --auto at made-up speeds, which a run keeps."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from data import sources
from data.sources import Draw, Folder
from noisy_student import config, estimate, iterate, sizing
from noisy_student.config import derived
from noisy_student.runtime import speed
from noisy_student.runtime.devices import make_devices
from noisy_student.runtime.speed import Speed
from tests.helpers import toy_folders

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "folder.flags"
CPU = Speed(multiply_add=2e-11, activation=4e-10, layer=1e-4, memory=8e9)
SLOW = Speed(multiply_add=2e-9, activation=4e-8, layer=1e-3, memory=8e9)
FAST = Speed(multiply_add=1e-14, activation=1e-13, layer=1e-6, memory=8e10)


def examples(name: str, count: int, side: int, classes: int = 10) -> sources.DecodedExamples:
    return sources.DecodedExamples(
        ids=np.array([f"{name}/{i}" for i in range(count)], object),
        labels=(np.arange(count) % classes).astype(np.int32),
        class_names=tuple(map(str, range(classes))),
        images=np.zeros((count, side, side, 3), np.uint8),
    )


def splits(labeled=200, unlabeled=3000, side=28) -> sources.Splits:
    sizes = {"labeled": labeled, "unlabeled": unlabeled, "validation": 0, "test": 100}
    parts = {name: examples(name, count, side) for name, count in sizes.items()}
    return sources.Splits(**parts, class_names=parts["test"].class_names, info={})


def chosen(images: sources.Splits, rates: Speed, **given) -> config.Config:
    """Options after the sizing of a run."""
    settings = config.Config(auto=True, **given)
    found = sizing.choose(settings, images, rates, make_devices())
    assert found["choices"].keys() == found["reasons"].keys()
    assert not found["choices"].keys() & given.keys()
    return settings.replace(**found["choices"])


def seconds(settings: config.Config, images: sources.Splits, rates: Speed) -> float:
    return estimate.estimate(settings, estimate.Counts.of(images), rates).seconds


def test_small_images_stay_small():
    settings = chosen(splits(), CPU)
    student = settings.students[-1]
    assert student.model.small_image and student.model.image_size == 28
    assert student.model.strides == (2, 1, 2, 2, 1, 1, 1, 1)
    assert student.model.width >= settings.teacher.model.width
    assert (student.optimizer.name, student.optimizer.schedule) == ("adamw", "cosine")
    assert (settings.teacher.batch_size, student.batch_size, student.ratio) == (48, 16, 4)
    assert settings.selection.min_confidence == 0.37  # 0.1 + 0.3 * 0.9
    assert len(settings.students) == 2
    assert student.optimizer.warmup_steps < student.steps


def test_large_images_shrink_until_the_time_suffices():
    images = splits(side=300)
    sizes = [chosen(images, rates).teacher.model for rates in (FAST, CPU, SLOW)]
    assert [model.image_size for model in sizes] == sorted(
        (model.image_size for model in sizes), reverse=True
    )
    assert sizes[0].image_size > sizes[-1].image_size == 96
    assert sizes[-1].crop_padding == 96 // 7 and not sizes[-1].small_image
    assert chosen(splits(side=100), FAST).teacher.model.image_size == 100  # never enlarged
    many = splits(labeled=500, unlabeled=20_000, side=300)
    model = chosen(many, FAST).teacher.model
    assert (model.width, model.depth, model.image_size) == (1, 1, 224)


@pytest.mark.parametrize("minutes", [5, 30, 120])
@pytest.mark.parametrize("side", [28, 200])
def test_the_time_is_kept(minutes, side):
    images = splits(side=side)
    settings = chosen(images, CPU, minutes=minutes)
    assert seconds(settings, images, CPU) < 60 * minutes * 0.75
    assert (len(settings.students) == 1) == (minutes < 10)


@pytest.mark.parametrize(("minutes", "rates", "fits"), [(1, SLOW, False), (30, CPU, True)])
def test_the_expected_time_is_said_and_a_time_that_is_too_short(
    tmp_path, monkeypatch, capsys, caplog, minutes, rates, fits
):
    monkeypatch.setattr(sizing, "measure", lambda devices: rates)
    settings = config.Config(auto=True, minutes=minutes)
    devices = make_devices("one", "float32", "off")
    sizing.sized(settings, splits(), devices, tmp_path, write=True)
    printed = capsys.readouterr().out
    assert re.search(r"expected total: \d+ (s|min)", printed)
    assert ("--teacher_steps=100: the minimum" in printed) != fits
    assert (f"--minutes={minutes:g} is too short" in caplog.text) != fits
    stored = json.loads((tmp_path / sizing.FILE).read_text())
    assert (stored["seconds"] <= 60 * minutes) == fits


def test_more_time_never_means_less_training():
    work = [seconds(chosen(splits(), CPU, minutes=m), splits(), CPU) for m in (5, 20, 60)]
    assert work == sorted(work)


def test_given_flags_win_and_count():
    images = splits()
    given = {"image_size": 32, "teacher_steps": 70, "learning_rate_per_256": 0.1, "ratio": 2}
    settings = chosen(images, CPU, **given)
    assert {name: settings.options[name] for name in given} == given | {"ratio": (2.0,)}
    assert settings.options["learning_rate"] is None
    wide = chosen(images, CPU, teacher_width=1.0, student_width=1.0)
    assert wide.options["teacher_depth"] is None  # the network is the user's
    assert wide.students[0].steps < settings.students[0].steps  # and is counted
    epochs = chosen(images, CPU, epochs=3)
    assert epochs.teacher.num_steps(200) == round(3 * 200 / 48)


def test_given_weights_keep_their_network(tmp_path):
    settings = chosen(splits(side=300), CPU, init_model="imagenet")
    model = settings.students[0].model
    assert (model.name, model.width, model.depth) == ("efficientnet-b0", None, None)
    assert settings.students[0].frozen_blocks == 3
    assert settings.teacher.optimizer.learning_rate == 0.001
    small = chosen(splits(), CPU, init_model="imagenet").teacher.model
    assert small.strides[0] == 1 and small.image_size == 28
    warm = chosen(splits(), CPU, init_model="teacher")
    assert {each.model for each in warm.students} == {warm.teacher.model}


def write_folders(root: Path) -> dict[str, str]:
    toy_folders.write_classes(root / "labeled", {"a": 8, "b": 8}, side=12)
    toy_folders.write_classes(root / "unlabeled", {"x": 12}, side=12)
    toy_folders.write_classes(root / "test", {"a": 2, "b": 2}, side=13)
    return {f"{name}_dir": str(root / name) for name in ("labeled", "unlabeled", "test")}


def test_a_rerun_takes_the_same_whatever_the_speed(tmp_path, capsys):
    data = write_folders(tmp_path)
    images = sources.load_splits(
        Folder(data["labeled_dir"], test_dir=data["test_dir"]), Draw(num_validation=0)
    )
    settings, devices = config.Config(auto=True, dataset="folder", **data), make_devices()
    first = sizing.sized(settings, images, devices, tmp_path / "run", write=True)
    assert first.given["image_size"] == 12
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("  --image_size=12: ") for line in lines)
    path = tmp_path / "run" / sizing.FILE
    stored = json.loads(path.read_text())["choices"]
    assert stored["teacher_steps"] == first.teacher.steps
    speed.measure.cache_clear()  # another measurement
    again = sizing.sized(settings, images, devices, tmp_path / "run", write=True)
    assert again.given == first.given
    other = settings.replace(teacher_steps=123)
    given = sizing.sized(other, images, devices, tmp_path / "run", write=True)
    assert given.given == first.given | {"teacher_steps": 123}
    with pytest.raises(ValueError, match=r"--minutes=60: .*auto\.json .*--minutes=30\."):
        sizing.sized(settings.replace(minutes=60), images, devices, tmp_path / "run", write=True)


def test_the_recipe_leaves_to_the_sizing_what_it_chooses():
    settings = config.parse([f"--flagfile={RECIPE}"])
    found = sizing.choose(settings, splits(), CPU, make_devices())
    names = {"image_size", "teacher_width", "student_steps", "teacher_batch_size", "batch_size"}
    names |= {"ratio", "optimizer", "batch_norm_momentum", "min_confidence", "rounds"}
    assert names <= found["choices"].keys()


def test_a_run_and_its_dry_run_use_the_choices(tmp_path, monkeypatch, capsys):
    """The run stops where its first training would begin."""
    data = write_folders(tmp_path)
    settings = config.parse(
        [f"--flagfile={RECIPE}", *(f"--{name}={value}" for name, value in data.items())]
    )
    iterate.dry_run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    shown = capsys.readouterr().out
    assert "--num_validation=0: 10% of 16 labeled images" in shown

    def stop(training, *_):
        raise RuntimeError(f"teacher of {training.steps} steps")

    monkeypatch.setattr(iterate.train, "run", stop)
    with pytest.raises(RuntimeError) as error:
        iterate.run(settings, tmp_path / "run")
    steps = json.loads((tmp_path / "run" / sizing.FILE).read_text())["choices"]["teacher_steps"]
    assert f"teacher of {steps} steps" in str(error.value)
    assert f"--teacher_steps={steps}: " in shown


def test_few_images_are_all_trained_on(tmp_path):
    """Ten percent of 40 images would be 4; where flags ask for them, they are held out."""
    labeled = toy_folders.write_classes(tmp_path / "labeled", {"a": 20, "b": 20})
    test = toy_folders.write_classes(tmp_path / "test", {"a": 2, "b": 2})
    given = {"dataset": "folder", "labeled_dir": labeled, "test_dir": test}
    counts = [
        len(derived.load_splits(config.Config(**given, **options).data).validation)
        for options in ({}, {"auto": True}, {"auto": True, "num_validation": 6})
    ]
    assert counts == [4, 0, 6]


def test_a_trial_of_few_steps_has_the_networks_of_the_run():
    images = splits(side=200)
    run, trial = (chosen(images, CPU, **given) for given in ({}, {"max_steps": 3}))
    assert trial.teacher.model == run.teacher.model
    assert [each.model for each in trial.students] == [each.model for each in run.students]
    assert trial.teacher.last_step(200) == 3
    devices = make_devices()
    expected = [
        sizing.choose(config.Config(auto=True, **given), images, CPU, devices)["seconds"]
        for given in ({}, {"max_steps": 3})
    ]
    assert expected[1] < expected[0] / 5
