"""The command of studies, and a tiny study on real digits from the command to the verdict."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags as absl_flags

from noisy_student.ablate import command as ablate

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "--teacher_width=0.1",
    "--teacher_depth=0.1",
    "--student_width=0.1",
    "--student_depth=0.1",
    "--max_steps=2",
    "--teacher_batch_size=16",
    "--batch_size=8",
    "--ratio=2",
    "--log_every=2",
    "--min_confidence=0",
    "--images_per_class=20",
    "--fgsm_examples=50",
    "--epsilons=4",
)


def run(*flags: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, "-m", "noisy_student.ablate", *flags],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.fixture
def within(monkeypatch, capsys):
    """Runs the command in this process: returns its exit code and what it prints."""

    def run(*flags: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ablate", *flags])
        before = set(absl_flags.FLAGS)
        with pytest.raises(SystemExit) as ended:
            ablate.command()
        for name in set(absl_flags.FLAGS) - before:
            delattr(absl_flags.FLAGS, name)
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_the_list_has_claims_and_arms(within):
    _, output, _ = within("--list")
    assert "\nratio: A larger ratio of unlabeled to labeled images in the batch helps." in output
    assert "    noised teacher: 1 student; --noised_labels\n" in output


def test_a_dry_run_touches_nothing(within, tmp_path):
    code, output, errors = within(
        "--study=ratio,noise", "--seeds=0,3", "--dry_run", f"--workdir={tmp_path}"
    )
    assert code == 0, errors
    lines = output.splitlines()
    jobs = [line.split()[2].rstrip(":") for line in lines if line.startswith("to run")]
    assert len(jobs) == len(set(jobs))
    # Teacher, labels (and noised ones) and selections once; four ratios and eight kinds of noise.
    assert len(jobs) == 2 * (1 + 2 + 2 + 2 * 12)
    assert "58 jobs, 58 to run: " in lines[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--study=nose"], "--study=nose: "),
        (["--study=ratio", "--seeds=0,0"], "--seeds=0,0: "),
        (["--study=ratio", "--seed=1"], "--seed "),
        (["--study=ratio", "--recipe=none"], "--recipe=none: "),
    ],
)
def test_invalid_flags_are_named(within, flags, message, tmp_path):
    code, _, errors = within(*flags, f"--workdir={tmp_path}")
    assert code == 2 and f"error: {message}" in errors


@pytest.mark.slow  # three minutes
def test_a_study_from_command_to_verdict(tmp_path):
    workdir, copies = tmp_path / "work", tmp_path / "results"
    given = (
        "--study=from_scratch_vs_init",
        "--seeds=0,1",
        f"--workdir={workdir}",
        f"--results_dir={copies}",
        *TINY,
    )
    result = run(*given)
    assert result.returncode == 0, result.stdout + result.stderr
    root = workdir / "mnist5k"
    folder = root / "studies"
    with (folder / "from_scratch_vs_init.csv").open() as file:
        rows = list(csv.DictReader(file))
    starts = ("from scratch", "from the teacher")
    lengths = ("", ", twice the steps")
    arms = {(start + length, seed) for start in starts for length in lengths for seed in "01"}
    assert {(row["arm"], row["seed"]) for row in rows} == arms
    row = next(row for row in rows if row["metric"] == "clean.top1")
    assert 0 <= float(row["value"]) <= 100 and row["steps"] == "2" and row["images_seen"] == "48"
    assert row["changed"].startswith("every stage: ") and "--max_steps=2" in row["changed"]
    assert {row["metric"] for row in rows} >= {"clean.top1", "fgsm.top1.0", "fgsm.top1.4"}
    copied = copies / "mnist5k" / "from_scratch_vs_init.csv"
    assert copied.read_bytes() == (folder / "from_scratch_vs_init.csv").read_bytes()
    summary = json.loads((folder / "from_scratch_vs_init.json").read_text())
    assert summary["comparisons"][0]["verdict"] == "too few seeds"
    assert (folder / "from_scratch_vs_init.md").exists()
    assert (folder / "from_scratch_vs_init.png").exists()
    # A teacher, its labels and their selection of each seed; four students, four evaluations.
    records = sorted(root.glob("seed*/*/job.json"))
    assert len(records) == 2 * (3 + 4 + 4)
    started = next(root.glob("seed1/logs/student1-*init_model*.log")).read_text()
    assert "--intra_op_threads=1" in started and "starting from " in started
    # The test images and labeled images are those of the seed, whatever the arm.
    assert len(list(root.glob("seed0/splits*.json"))) == 1

    before = {path: path.stat().st_mtime_ns for path in records}
    again = run(*given)
    assert again.returncode == 0 and "22 jobs, all finished" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in records} == before
    # Without one arm's evaluation of one seed the table has the other rows, and nothing is run.
    tests = root.glob("seed1/test-*init_model*/job.json")
    next(test for test in tests if "student_steps" not in str(test)).unlink()
    partly = run(*given, "--collect_only")
    assert partly.returncode == 0 and "22 jobs, 1 to run" in partly.stdout
    with copied.open() as file:
        left = {(row["arm"], row["seed"]) for row in csv.DictReader(file)}
    assert left == arms - {("from the teacher", "1")}
    other = run(*given, "--ratio=3")
    assert other.returncode == 2 and "flags.ratio: " in other.stderr
