"""The whole method on real digits, as small as it gets, through the commands people use."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from data import sources
from noisy_student import checkpoint

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "--teacher_width=0.1", "--teacher_depth=0.1", "--student_width=0.1,0.2", "--student_depth=0.1",
    "--teacher_steps=24", "--student_steps=24", "--teacher_batch_size=32", "--batch_size=8",
    "--ratio=3", "--warmup_steps=2", "--rounds=2", "--log_every=4", "--validate_every=12",
    "--checkpoint_every=8", "--fgsm_examples=100", "--epsilons=2,8", "--min_confidence=0",
    "--num_shards=2", "--robustness_examples=8", "--corruptions=fog,contrast", "--severities=3",
    "--perturbations=translate", "--pgd_examples=8", "--pgd_epsilons=4", "--attack_steps=2",
)  # fmt: skip


def command(module: str, *flags: str) -> list[str]:
    return [sys.executable, "-m", f"noisy_student.{module}", *flags]


def run(arguments: list[str], cwd: Path = ROOT, fails: bool = False) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )
    assert (result.returncode != 0) == fails, result.stdout + result.stderr
    return result.stdout + result.stderr


def iterate(workdir: Path, *flags: str, **kwargs) -> str:
    recipe = f"--flagfile={ROOT}/recipes/mnist5k.flags"
    return run(command("iterate", recipe, *TINY, f"--workdir={workdir}", *flags), **kwargs)


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
        "round0/teacher", "round1/pseudo_labels", "round1/selected", "round1/student",
        "round2/pseudo_labels", "round2/selected", "round2/student",
    ):  # fmt: skip
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

    model, card = checkpoint.load_model(workdir / "round2" / "student" / "model.keras")
    splits = sources.load_splits(
        "mnist5k", num_labeled=100, num_validation=500, splits_file=workdir / "splits.json"
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
    output = iterate(workdir, "--label_smoothing=0.2", fails=True)
    assert "label_smoothing: 0.1 -> 0.2" in output
    output = iterate(workdir, "--num_labeled=50", fails=True)
    assert "num_labeled" in output and "50" in output


def test_interrupted_training_ends_with_the_same_bytes(workdir, tmp_path):
    """Kills the process in the first student's training, then runs the same command again."""
    other = tmp_path / "digits"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    recipe = f"--flagfile={ROOT}/recipes/mnist5k.flags"
    arguments = command("iterate", recipe, *TINY, f"--workdir={other}")
    with subprocess.Popen(
        arguments, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        saved = other / "round1" / "student" / "checkpoints" / "checkpoint"
        while not saved.exists():
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.02)
        process.kill()
    assert not (other / "round1" / "student" / "done.json").exists()
    output = iterate(other)
    assert "student 1: going on from" in output
    for part in ("round0/teacher", "round1/student", "round2/student"):
        ours, theirs = (d / part / "model.keras" for d in (other, workdir))
        assert ours.read_bytes() == theirs.read_bytes(), part
    assert figures(other) == figures(workdir)


def test_folders_of_images_give_the_same_split_sizes(tmp_path):
    splits = sources.load_splits("mnist5k", num_labeled=100, num_validation=500)
    for name, parts in (
        ("labeled", (splits.labeled, splits.validation)),
        ("test", (splits.test,)),
        ("unlabeled", (splits.unlabeled,)),
    ):
        for examples in parts:
            for index, identity in enumerate(examples.ids):
                folder = tmp_path / name
                if name != "unlabeled":
                    folder /= examples.class_names[examples.labels[index]]
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / (re.sub(r"\W", "_", identity) + ".png")
                PIL.Image.fromarray(examples.images[index]).save(file)
    output = iterate(
        tmp_path / "run", "--dataset=folder", f"--labeled_dir={tmp_path}/labeled",
        f"--unlabeled_dir={tmp_path}/unlabeled", f"--test_dir={tmp_path}/test", "--max_steps=2",
        "--rounds=1", "--benchmarks=clean",
    )  # fmt: skip
    assert "report:" in output
    sizes = json.loads((tmp_path / "run" / "config.json").read_text())["split_sizes"]
    assert sizes == {"labeled": 100, "validation": 500, "unlabeled": 3400, "test": 1000}


def test_stages_run_alone(workdir, tmp_path):
    recipe = f"--flagfile={ROOT}/recipes/mnist5k.flags"
    output = run(
        command(
            "train", recipe, *TINY, "--role=control", "--control_images=256",
            f"--output_dir={tmp_path}/control",
        )
    )  # fmt: skip
    assert "control: validation" in output
    output = run(
        command(
            "evaluate", f"--model={tmp_path}/control/model.keras", f"--output_dir={tmp_path}/eval",
            "--benchmarks=clean", "--dataset=mnist5k",
        )
    )  # fmt: skip
    assert "top-1" in output and "1000 images" in output


def test_dry_run_touches_nothing(tmp_path):
    output = iterate(tmp_path / "digits", "--dry_run", "--rounds=1")
    assert "unlabeled: 3400 images" in output and "in all about" in output
    assert not (tmp_path / "digits").exists()


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--teacher_name=efficientnet-b9", "efficientnet-b0"),
        ("--dataset=mnist6k", "mnist5k"),
        ("--images_per_class=many", "auto"),
        ("--ratio=x", "--ratio=x"),
        ("--benchmarks=clen", "clean"),
        ("--num_labeled=0", "no unlabeled images for the students"),
    ],
)
def test_bad_flags_are_one_clear_line(tmp_path, flag, named):
    output = iterate(tmp_path / "digits", flag, fails=True)
    assert "Traceback" not in output
    line = next(line for line in output.splitlines() if line.startswith("error: "))
    assert named in line


@pytest.mark.slow
def test_an_index_in_place_of_records_trains_the_same_student(workdir, tmp_path):
    iterate(tmp_path, "--index_only", "--rounds=1", "--benchmarks=clean")
    models = [folder / "round1/student/model.keras" for folder in (workdir, tmp_path)]
    assert models[0].read_bytes() == models[1].read_bytes()
    assert not list(tmp_path.rglob("*.tfrecord"))


@pytest.mark.slow
def test_the_second_teacher_labels_the_firsts_images_again(tmp_path):
    iterate(tmp_path, "--reassign", "--calibrate", "--max_copies=2", "--benchmarks=clean")
    first, second = figures(tmp_path)["pseudo_labels"]
    assert not (tmp_path / "round2/pseudo_labels").exists()
    assert "reassigned" not in first
    assert second["reassigned"]["images"] == first["num_kept"] == second["num_kept"]
    assert 0 < second["reassigned"]["changed"] and second["num_written"] == first["num_written"]
    done = json.loads((tmp_path / "round1/pseudo_labels/done.json").read_text())
    assert done["calibration"]["after"]["loss"] <= done["calibration"]["before"]["loss"]
