"""The whole method on real digits, as small as it gets, through the commands people use."""

import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from data import sources
from data.preprocess import PreprocessSpec
from noisy_student.artifacts import model_file, student_set
from tests.helpers.small_runs import ROBUSTNESS, iterate, start, tiny_iterate
from tests.helpers.toy_teacher import save_model


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """A finished run."""
    directory = tmp_path_factory.mktemp("run") / "digits"
    output = iterate(directory)
    assert f"report: {directory}/report/report.html" in output
    return directory


def figures(workdir: Path) -> dict:
    return json.loads((workdir / "report" / "results.json").read_text())["figures"]


def test_every_part_is_there(workdir):
    sizes = json.loads((workdir / "config.json").read_text())["split_sizes"]
    assert sizes == {"labeled": 100, "validation": 500, "unlabeled": 3400, "test": 1000}
    for stage in (
        "round0/teacher",
        "round1/pseudo_labels",
        "round1/selected",
        "round1/student",
        "round2/pseudo_labels",
        "round2/selected",
        "round2/student",
    ):
        assert (workdir / stage / "done.json").exists(), stage
    student = json.loads((workdir / "round2" / "student" / "train.json").read_text())
    teacher = json.loads((workdir / "round0" / "teacher" / "train.json").read_text())
    assert student["images_seen"] == 24 * (8 + 24)
    assert student["parameters"] > teacher["parameters"]
    for name in ("round0_teacher", "round1_student", "round2_student"):
        clean = json.loads((workdir / "evaluation" / name / "clean.json").read_text())
        attacked = json.loads((workdir / "evaluation" / name / "fgsm.json").read_text())
        assert clean["num_examples"] == 1000
        assert attacked["epsilons"] == [0, 2, 8] and attacked["num_examples"] == 100


def test_the_saved_model_is_the_one_that_was_measured(workdir):
    import tensorflow as tf

    model, card = model_file.load_model(workdir / "round2" / "student" / "model.keras")
    splits = sources.load_splits(
        sources.Builtin(),
        sources.Draw(num_labeled=100, num_validation=500),
        splits_file=workdir / "splits.json",
    )
    logits = model(tf.constant(splits.test.images), training=False).numpy()
    top1 = 100 * np.mean(logits.argmax(1) == splits.test.labels)
    clean = json.loads((workdir / "evaluation/round2_student/clean.json").read_text())
    assert top1 == pytest.approx(clean["top1"], abs=0.11)  # at most one image by another batch size
    assert card["class_names"] == splits.class_names


def test_a_rerun_trains_nothing(workdir):
    stages = sorted(workdir.glob("round*/*/done.json"))
    before = [path.stat().st_mtime_ns for path in stages]
    output = iterate(workdir)
    assert "step" not in output
    assert [path.stat().st_mtime_ns for path in stages] == before


def test_other_settings_are_refused_and_named(workdir):
    before = (workdir / "config.json").read_bytes()
    output = iterate(workdir, "--label_smoothing=0.2", fails=True)
    assert "label_smoothing: 0.1 -> 0.2" in output
    assert (workdir / "config.json").read_bytes() == before


@pytest.mark.slow
def test_every_model_has_the_robustness_benchmarks(workdir, tmp_path):
    other = tmp_path / "digits"
    ignored = shutil.ignore_patterns("evaluation", "report", "config.json")
    shutil.copytree(workdir, other, ignore=ignored)
    iterate(other, *ROBUSTNESS)
    for model in figures(other)["models"]:
        folder = other / "evaluation" / model["name"]
        read = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
        assert {"clean", "fgsm", "corruptions", "perturbations", "pgd"} <= set(read)
        assert set(read["corruptions"]["errors"]) == {"fog", "contrast"}
        assert set(read["perturbations"]["flip_probability"]) == {"translate"}
        assert read["pgd"]["epsilons"] == [0, 4] and read["pgd"]["num_examples"] == 8


@pytest.mark.slow
def test_a_kill_while_the_student_trains_ends_with_the_same_bytes(workdir, tmp_path):
    """SIGKILL soon after a checkpoint; `test_kills` kills all stages at random moments."""
    other, flags = tmp_path / "digits", ("--rounds=1", "--benchmarks=clean", "--checkpoint_every=3")
    ignored = shutil.ignore_patterns("student", "round2", "evaluation", "report", "config.json")
    shutil.copytree(workdir, other, ignore=ignored)
    with start(tiny_iterate(other, *flags)) as process:
        while not (other / "round1/student/checkpoints/checkpoint").exists():
            assert process.poll() is None, "the run ended before its first checkpoint"
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    iterate(other, *flags)
    for name in ("model.keras", "best.keras"):
        ours, theirs = (directory / "round1/student" / name for directory in (other, workdir))
        assert ours.read_bytes() == theirs.read_bytes(), name
    found, expected = (
        {model["name"]: (model["top1"], model["validation_top1"]) for model in figures(d)["models"]}
        for d in (other, workdir)
    )
    assert found.items() < expected.items() and len(found) == 2


@pytest.mark.slow
def test_one_model_selects_once_and_teachers_relabel(tmp_path):
    """The published chain: a small model selects; a given teacher, then the student relabel."""
    digits, spec = tuple(map(str, range(10))), PreprocessSpec(32, small_image=True)
    selector, teacher = (
        save_model(tmp_path / f"{seed}.keras", seed, digits, spec) for seed in (1, 2)
    )
    once, run = tmp_path / "once", tmp_path / "run"
    iterate(
        run,
        *(f"--selection_model={selector}", f"--selection_dir={once}"),
        *(f"--teacher_model={teacher}", "--images_per_class=200", "--min_confidence=0.3"),
        *("--student_steps=4", "--benchmarks=clean"),
    )
    assert (once / "pseudo_labels/done.json").exists() and not list(run.glob("*/pseudo_labels"))
    images = sources.load_splits(
        sources.Builtin(), sources.Draw(num_labeled=100, num_validation=500)
    ).unlabeled
    chosen, *relabeled = (
        student_set.read_set(student_set.files_of(directory / "selected"), images)
        for directory in (once, run / "round1", run / "round2")
    )
    models = selector, teacher, run / "round1/student/model.keras"
    for found, model in zip((chosen, *relabeled), models, strict=True):
        for name in ("images", "copies", "positions"):
            np.testing.assert_array_equal(getattr(found, name), getattr(chosen, name))
        logits = model_file.load_model(model)[0](images.images[found.images], training=False)
        assert np.mean(found.labels == np.argmax(logits, axis=1)) > 0.998  # another batch size
    changed = [round["reassigned"] for round in figures(run)["pseudo_labels"]]
    pairs = zip((chosen, relabeled[0]), relabeled, strict=True)
    for counts, (before, after) in zip(changed, pairs, strict=True):
        assert counts["images"] == len(chosen.images)
        assert counts["changed"] == np.sum(before.labels != after.labels) > 0


@pytest.mark.slow
def test_an_index_in_place_of_records_trains_the_same_student(workdir, tmp_path):
    iterate(tmp_path, "--index_only", "--rounds=1", "--benchmarks=clean")
    models = [folder / "round1/student/model.keras" for folder in (workdir, tmp_path)]
    assert models[0].read_bytes() == models[1].read_bytes()
    assert not list(tmp_path.rglob("*.tfrecord"))


@pytest.mark.slow
def test_the_second_teacher_labels_the_firsts_images_again(tmp_path):
    """Trained long enough that neither teacher calls all images by one name."""
    iterate(
        tmp_path,
        "--reassign",
        "--calibrate",
        "--max_copies=2",
        "--benchmarks=clean",
        "--teacher_steps=150",
        "--student_steps=100",
        "--validate_every=50",
    )
    first, second = figures(tmp_path)["pseudo_labels"]
    assert not (tmp_path / "round2/pseudo_labels").exists()
    assert "reassigned" not in first
    assert second["reassigned"]["images"] == first["num_kept"] == second["num_kept"]
    assert second["num_written"] == first["num_written"]

    unlabeled = sources.load_splits(
        sources.Builtin(),
        sources.Draw(num_labeled=100, num_validation=500),
        splits_file=tmp_path / "splits.json",
    ).unlabeled
    before, after = (
        student_set.read_set(student_set.files_of(tmp_path / part / "selected"), unlabeled)
        for part in ("round1", "round2")
    )
    np.testing.assert_array_equal(after.images, before.images)
    np.testing.assert_array_equal(after.copies, before.copies)
    for teacher, labels in (("round0/teacher", before.labels), ("round1/student", after.labels)):
        model, _ = model_file.load_model(tmp_path / teacher / "model.keras")
        answers = model.predict(unlabeled.images[before.images], verbose=0).argmax(1)
        assert np.mean(answers == labels) > 0.999  # ties may fall otherwise in other batches
        assert len(np.unique(labels)) > 2
    changed = np.count_nonzero(before.labels != after.labels)
    assert second["reassigned"]["changed"] == changed > 0
    done = json.loads((tmp_path / "round1/pseudo_labels/done.json").read_text())
    assert done["calibration"]["after"]["loss"] <= done["calibration"]["before"]["loss"]
