"""A whole run from Python: the bytes of the command, resumed runs, results, and a clean process."""

import inspect
import os
import signal
from pathlib import Path

import keras
import numpy as np
import pytest

import noisy_student as ns
from noisy_student import report
from noisy_student.api import process as api_process
from noisy_student.api.run import _best
from noisy_student.config import process
from tests.helpers import run_folder, run_robustness, small_runs, toy_folders

TINY = {
    "model_fn": "tests.helpers.foreign_models:self_scaling_cnn",
    "small_image": True,
    "image_size": 16,
    "teacher_steps": 4,
    "student_steps": 4,
    "batch_size": 4,
    "ratio": 2,
    "warmup_steps": 2,
    "num_validation": 6,
    "validate_every": 2,
    "checkpoint_every": 2,
    "augment": "none",
    "rounds": 1,
    "min_confidence": 0,
    "benchmarks": "clean",
}
CLASSES = {"cat": 9, "dog": 9}


class Counter(keras.callbacks.Callback):
    """Counts the validations of each training."""

    def __init__(self):
        super().__init__()
        self.counts = {}

    def on_epoch_end(self, epoch, logs=None):
        name = self.params["training"]
        self.counts[name] = self.counts.get(name, 0) + 1


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run by `ns.fit`, after another model was made in the process: the run, data, folders."""
    root = tmp_path_factory.mktemp("runs")
    for number, name in enumerate(("labeled", "unlabeled", "test")):
        toy_folders.write_classes(root / name, CLASSES, side=16 + number)
    places = {name: str(root / name) for name in ("labeled", "unlabeled", "test")}
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).predict(np.ones([1, 3]))
    data, counter = ns.Data.from_folders(**places), Counter()
    run = ns.fit(data, "folder", root / "python", callbacks=[counter], **TINY)
    assert counter.counts == {"teacher": 2, "student 1": 2}
    return run, data, places


def stages(workdir: Path) -> dict[str, int]:
    return {
        path.parent.name: path.stat().st_mtime_ns for path in workdir.glob("round*/*/done.json")
    }


@pytest.mark.slow
def test_the_bytes_are_those_of_the_command(runs, tmp_path):
    run, _, places = runs
    flags = [f"--{name}_dir={place}" for name, place in places.items()]
    flags += [f"--{name}={value}" for name, value in TINY.items()]
    recipe, command = f"--flagfile={small_runs.ROOT}/recipes/folder.flags", tmp_path / "command"
    small_runs.run(small_runs.command("iterate", recipe, f"--workdir={command}", *flags))
    for name in ("splits.json", "round0/teacher/model.keras", "round1/student/model.keras"):
        assert (run.workdir / name).read_bytes() == (command / name).read_bytes(), name
    ours, theirs = (
        {name: model | {"file": None} for name, model in each.results["models"].items()}
        for each in (run, ns.Run(command))
    )
    assert ours == theirs
    assert "ns.fit(ns.Data.from_folders(" in run.report.read_text()


def test_a_second_call_trains_nothing(runs):
    run, data, _ = runs
    before, counter = stages(run.workdir), Counter()
    again = ns.fit(data, "folder", run.workdir, callbacks=[counter], **TINY)
    assert len(before) == 4 and stages(run.workdir) == before and not counter.counts
    assert again.results["top1"] == run.results["top1"]
    with pytest.raises(ValueError, match=r"label_smoothing: 0\.1 -> 0\.2"):
        ns.fit(data, "folder", run.workdir, label_smoothing=0.2, **TINY)


def test_results_are_of_the_student_that_predicts(runs):
    run = ns.Run(runs[0].workdir)
    assert run.results["best"] == "round1_student"
    teacher, student = run.results["models"].values()
    assert student["file"] == str(run.workdir / "round1" / "student" / "model.keras")
    points = run.results["gain"]["points"]
    assert points == pytest.approx(student["top1"] - teacher["top1"], abs=1e-3)
    files = sorted((run.workdir.parent / "test").rglob("*.png"))
    names, probabilities = run.predict(files)
    right = np.mean([name == file.parent.name for name, file in zip(names, files, strict=True)])
    assert run.results["top1"] == student["top1"] == pytest.approx(100 * right)
    assert probabilities.shape == (18, 2) and run.student.output_shape == (None, 2)
    top1 = ns.evaluate(run.student, runs[1])["clean"]["top1"]
    assert top1 == run.results["top1"]


def test_a_notebook_shows_chart_and_table(tmp_path):
    """Shows a run whose numbers are written by hand."""
    folder = run_folder.make_workdir(tmp_path / "run")
    run_robustness.add_own_robustness(folder)
    report.run(folder)
    run = ns.Run(folder)
    assert run.results["top1"] == run.results["models"]["round2_student"]["top1"]
    numbers = run.results["models"]["round2_student"]["robustness"]
    assert "corruptions.mean_error" in numbers and "clean.top1" not in numbers
    page = run._repr_html_()
    rows = len(run.results["models"]) + 1
    assert "<svg" in page and page.count("<tr>") == rows and f"{run.results['top1']:.1f}" in page
    assert run.report.exists() and "Student 2" in repr(run)
    empty = ns.Run(folder / "none")
    assert "has no results yet" in empty._repr_html_() and repr(empty).startswith("Run(")
    with pytest.raises(ValueError, match="has no results yet"):
        empty.results  # noqa: B018


@pytest.mark.slow
def test_interrupted_runs_of_arrays_end_with_the_same_bytes(tmp_path):
    """First as by a kill after a checkpoint, then by Ctrl-C, which saves."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(40) % 2
    flags = TINY | {"rounds": 0, "teacher_steps": 6, "benchmarks": "clean"}

    class StopsAt(keras.callbacks.Callback):
        def __init__(self, step, stop):
            super().__init__()
            self.step, self.stop = step, stop

        def on_train_batch_end(self, batch, logs=None):
            if batch == self.step:
                self.stop()

    def fit(place, *callbacks):
        data = ns.Data.from_arrays(images.copy(), labels)
        return ns.fit(data, None, tmp_path / place, callbacks=callbacks, **flags)

    def kill():
        raise RuntimeError("as a kill would")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a notebook
    try:
        with pytest.raises(RuntimeError, match="as a kill would"):
            fit("stopped", StopsAt(2, kill))
        with pytest.raises(KeyboardInterrupt):
            fit("stopped", StopsAt(4, lambda: os.kill(os.getpid(), signal.SIGINT)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "stopped/round0/teacher/checkpoints").exists()
    whole, stopped = fit("whole"), fit("stopped")
    files = [run.workdir / "round0/teacher/model.keras" for run in (whole, stopped)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert whole.results["best"] == "round0_teacher"
    images[0] = 255 - images[0]
    with pytest.raises(ValueError, match="labeled_array: stored '40 images of 16x16, digest"):
        fit("stopped")


def small_network(num_classes, image_size):
    """A network of one's own."""
    inputs = keras.Input((image_size, image_size, 3))
    hidden = keras.layers.Conv2D(4, 3, strides=4, activation="relu")(inputs / 255)
    pooled = keras.layers.GlobalAveragePooling2D()(hidden)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(pooled))


def test_functions_are_networks(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    data = ns.Data.from_arrays(images, np.arange(40) % 2, unlabeled=images[:8])
    flags = {name: value for name, value in TINY.items() if name != "model_fn"}
    networks = {"teacher": small_network, "student": small_network}
    run = ns.fit(data, None, tmp_path / "run", **networks, **flags)
    assert run.student.count_params() == 4 * 28 + 10
    assert run.predict(images[:3]).probabilities.shape == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"magnitud": 3}, "--magnitud: no such option. Did you mean --magnitude?"),
        ({"magnitude": "much"}, "--magnitude=much: must be a number"),
        ({"recipe": "foldr"}, r"unknown recipe foldr \(did you mean folder\?\)"),
        ({"data": "photos"}, r"data is a str: ns\.Data\.from_"),
        ({"callbacks": [keras.callbacks.EarlyStopping()]}, "EarlyStopping changes a training"),
        ({"top_k": 3}, "--top_k: no such option"),
    ],
)
def test_bad_arguments_are_refused(arguments, problem, tmp_path):
    with pytest.raises(ValueError, match=problem):
        ns.fit(workdir=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_the_signature_names_the_arguments():
    assert list(inspect.signature(ns.fit).parameters)[:3] == ["data", "recipe", "workdir"]


def test_settings_of_the_process_come_back():
    policy = keras.config.dtype_policy()
    with api_process.kept():
        process.verify = "size"
        keras.config.set_dtype_policy("mixed_bfloat16")
    assert process.verify == "full" and keras.config.dtype_policy() == policy
    with pytest.raises(KeyboardInterrupt), api_process.errors_for_callers():
        raise SystemExit(130)
    with pytest.raises(SystemExit) as stopped, api_process.errors_for_callers():
        raise SystemExit(75)
    assert stopped.value.code == 75


def test_the_best_student_is_chosen_on_validation_images():
    def model(name, role, validation, top1=0.0):
        return {"name": name, "role": role, "validation_top1": validation, "top1": top1}

    teacher = model("round0_teacher", "teacher", 99.0)
    students = [model(f"round{i}_student", "student", v) for i, v in enumerate((70, 80, 80, 60), 1)]
    baseline = model("control_student", "control", 99.0)
    assert _best([teacher, *students, baseline]) == "round3_student"
    unknown = [model(f"round{i}_student", "student", None, 9 - i) for i in (1, 2)]
    assert _best([teacher, *unknown]) == "round2_student"
    assert _best([teacher]) == "round0_teacher"
