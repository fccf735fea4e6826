r"""Runs the whole method: a teacher, rounds of labeling, selection and training, then a report.

    python -m noisy_student.iterate --flagfile=recipes/mnist5k.flags
    python -m noisy_student.iterate --flagfile=recipes/mnist5k.flags --dry_run
    python -m noisy_student.iterate --flagfile=recipes/folder.flags --labeled_dir=photos/labeled \
        --unlabeled_dir=photos/unlabeled --workdir=runs/photos

Run again to resume: finished stages are skipped, trainings continue from their last checkpoint.
"""

import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from data import sources
from noisy_student import config, estimate, evaluate, preflight, pseudo_label, report, sizing, train
from noisy_student.artifacts import disk, model_file, stage
from noisy_student.artifacts.files import write_json
from noisy_student.artifacts.json_files import TrainSummary
from noisy_student.artifacts.lock import lock
from noisy_student.config import derived, process, schema
from noisy_student.evaluate import galleries
from noisy_student.runtime import speed
from noisy_student.runtime.devices import Devices, make_devices
from noisy_student.selection import write
from noisy_student.train import given_teacher

_SPLITS = ("labeled", "validation", "unlabeled", "test")


def run(
    settings: config.Config,
    workdir: str | Path,
    command: str = "",
    source: sources.Source | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Runs all rounds, the evaluation and the report (Xie et al., CVPR 2020, algorithm 1).

    Args:
        settings: Options of the run.
        workdir: Receives ``config.json``, ``splits.json``, ``round0/teacher``,
            ``round1/{pseudo_labels,selected,student,fixres}``, ..., ``evaluation/``, ``report/``,
            and ``selection/{pseudo_labels,selected}`` of a ``selection_model``.
        command: Command line to show in the report.
        source: Images not given by options, such as arrays. None: those of the options.
        callbacks: Keras callbacks of all trainings (`train.callbacks`).

    Returns:
        The results of the report; {} on hosts other than the chief.

    Raises:
        ValueError: An option does not fit the images, another option or finished stages.
    """
    settings, workdir = _resolved(settings, workdir), Path(workdir)
    process.verify = settings.options["verify"]
    disk.check_writable("workdir", workdir)  # which receives the splits
    devices = make_devices(**dataclasses.asdict(settings.device))
    with lock(workdir, devices.is_chief):
        rounds = _open(settings, workdir, devices, command, source)
        return _run(dataclasses.replace(rounds, callbacks=callbacks))


def _run(rounds: "Rounds") -> dict[str, Any]:
    settings, teacher = rounds.settings, rounds.first_teacher()
    models, selected = [teacher], rounds.select_once()
    for number in range(1, len(settings.students) + 1):
        selected = rounds.label_and_select(number, teacher, selected)
        student = rounds.train_student(number, teacher, selected)
        models.append(student)
        if settings.tuned:
            student = rounds.fine_tune(number, student)
            models.append(student)
        if not _improves(number, teacher, student) and settings.rounds.stop_when_worse:
            print(f"stopping after round {number} (--stop_when_worse)")
            break
        teacher = student
    baselines = rounds.train_baselines(models)
    rounds.evaluate([*models, *baselines])
    return rounds.report(models)


@dataclass(frozen=True)
class Model:
    """A trained model."""

    name: str  # its name in the evaluation and the report, such as "round1_student"
    directory: Path  # output of its training
    summary: TrainSummary  # summary of its training

    @property
    def path(self) -> Path:
        """The saved model."""
        return self.directory / "model.keras"


@dataclass(frozen=True)
class Rounds:
    """The stages of a run, each on the files of the ones before."""

    settings: config.Config  # options of the run
    splits: sources.Splits  # the images
    workdir: Path  # directory of the run
    devices: Devices  # that all stages share
    command: str  # command line to show in the report
    callbacks: Sequence[keras.callbacks.Callback] = ()  # Keras callbacks of all trainings

    def first_teacher(self) -> Model:
        """Trains the first teacher, or uses the given one."""
        given, directory = self.settings.rounds.teacher_model, self._round(0) / "teacher"
        if not given:
            inputs = train.Inputs(init_model=self._start(None))
            return self._train("round0_teacher", self.settings.teacher, directory, inputs)
        with self.devices.chief_first():
            validation, batch_size = self.splits.validation, self.settings.log.eval_batch_size
            summary = given_teacher.run(given, validation, directory, self.devices, batch_size)
        return Model("round0_teacher", directory, summary)

    def select_once(self) -> Path | None:
        """Returns the selected set that all rounds share, made by the selection model if given."""
        rounds = self.settings.rounds
        if not rounds.selects_once:
            return None
        directory = Path(rounds.selection_dir or self.workdir / "selection")
        if rounds.selection_model and self.settings.students:
            self._select(rounds.selection_model, directory)
        return directory / "selected"

    def label_and_select(self, number: int, teacher: Model, before: Path | None) -> Path:
        """Labels and selects, or relabels the set selected ``before``; returns the selected set."""
        rounds, directory = self.settings.rounds, self._round(number)
        if before is None or not (rounds.reassign or rounds.selects_once):
            return self._select(teacher.path, directory)
        selected, labeler = directory / "selected", self._labeler(teacher.path)
        hard_labels, unlabeled = self.settings.selection.hard_labels, self.splits.unlabeled
        with self.devices.chief_first():
            pseudo_label.reassign(labeler, before, unlabeled, selected, hard_labels=hard_labels)
        return selected

    def train_student(self, number: int, teacher: Model, selected: Path) -> Model:
        """Trains the student of a round on labeled and selected images."""
        training, directory = self.settings.students[number - 1], self._round(number) / "student"
        inputs = train.Inputs(selected, self._start(teacher), teacher.path)
        return self._train(f"round{number}_student", training, directory, inputs)

    def fine_tune(self, number: int, student: Model) -> Model:
        """Fine-tunes the student of a round at a higher resolution (FixRes)."""
        training, directory = self.settings.tuned[number - 1], self._round(number) / "fixres"
        inputs = train.Inputs(init_model=student.path)
        return self._train(f"round{number}_fixres", training, directory, inputs)

    def train_baselines(self, models: list[Model]) -> list[Model]:
        """Trains the supervised baselines on as many images as the models saw."""
        seen = [model.summary["images_seen"] for model in models]
        baselines = []
        for kind in self.settings.rounds.controls:
            training = self.settings.control(sum(seen) if kind == "chain" else seen[-1])
            name, inputs = f"control_{kind}", train.Inputs(init_model=self._start(None))
            baselines.append(self._train(name, training, self.workdir / name, inputs))
        return baselines

    def evaluate(self, models: list[Model]) -> None:
        """Runs the benchmarks on every model."""
        test, options = self.splits.test, self.settings.evaluation
        with self.devices.chief_first():
            for model in models:
                output_dir = self.workdir / "evaluation" / model.name
                evaluate.run(model.path, model.name, test, output_dir, options, self.devices)

    def report(self, models: list[Model]) -> dict[str, Any]:
        """Writes galleries and the report (chief only); returns its results."""
        if not self.devices.is_chief:
            return {}
        self.write_config()  # all stages accepted the options: a refused rerun changes nothing
        settings, evaluation = self.settings, self.workdir / "evaluation"
        last = settings.students[-1] if settings.students else settings.teacher
        spec, seed = derived.preprocess_spec(last.model), settings.data.seed
        noise = evaluation / "noise.json"
        galleries.write_noise(noise, self.splits.labeled, spec, last.noise, seed)
        if len(models) > 1:
            names = models[0].name, models[-1].name
            comparison = galleries.Comparison(evaluation, names, self.splits.test, spec)
            galleries.write_changes(comparison)
            galleries.write_robustness(comparison, seed, settings.evaluation.robustness)
        return report.run(self.workdir)

    def write_config(self) -> None:
        """Writes ``config.json``: options, images, versions and devices."""
        content = {
            "command": self.command,
            "flags": self.settings.to_json(),
            "versions": stage.versions(),
            "seed": self.settings.data.seed,
            "dataset": self.settings.data.dataset,
            "class_names": list(self.splits.class_names),
            "split_sizes": {name: len(getattr(self.splits, name)) for name in _SPLITS},
            "split_info": self.splits.info,
            "device": self.devices.describe(),
        }
        write_json(self.workdir / "config.json", content)

    def _select(self, model: str | Path, directory: Path) -> Path:
        """Labels all unlabeled images with a model and selects from them; returns the set."""
        labels, selected = directory / "pseudo_labels", directory / "selected"
        settings, unlabeled = self.settings.selection, self.splits.unlabeled
        labeler, skipped = self._labeler(model), self.splits.info["skipped"]
        num_shards, trial = settings.num_shards, self.settings.teacher.max_steps is not None
        with self.devices.chief_first():
            pseudo_label.run(labeler, unlabeled, labels, num_shards=num_shards, skipped=skipped)
            write.run(labels, selected, unlabeled, settings, trial=trial)
        return selected

    def _labeler(self, model: str | Path) -> pseudo_label.Teacher:
        settings, validation = self.settings, self.splits.validation
        batch_size = settings.log.eval_batch_size
        return pseudo_label.Teacher(model, self.devices, batch_size, settings.labels, validation)

    def _round(self, number: int) -> Path:
        return self.workdir / f"round{number}"

    def _train(
        self, name: str, training: config.TrainConfig, directory: Path, inputs: train.Inputs
    ) -> Model:
        log, callbacks = self.settings.log, self.callbacks
        summary = train.run(training, self.splits, directory, self.devices, log, inputs, callbacks)
        return Model(name, directory, summary)

    def _start(self, teacher: Model | None) -> str | Path | None:
        """Returns the model whose weights a training starts from, if any."""
        start = self.settings.rounds.init_model
        if start == "teacher":
            return teacher.path if teacher else None
        return start


def _open(
    settings: config.Config,
    workdir: Path,
    devices: Devices,
    command: str,
    source: sources.Source | None,
) -> Rounds:
    """Loads the images and checks that they fit the options, before anything is trained."""
    with devices.chief_first():
        splits = derived.load_splits(settings.data, workdir / "splits.json", source)
        settings = sizing.sized(settings, splits, devices, workdir, write=devices.is_chief)
    preflight.check(settings, splits, devices, workdir)
    rounds = Rounds(settings, splits, workdir, devices, command)
    if devices.is_chief and not (workdir / "config.json").exists():
        rounds.write_config()
    return rounds


def _resolved(settings: config.Config, workdir: str | Path) -> config.Config:
    """Returns the options adapted to this machine: installed packages, the given teacher's file."""
    disk.check_apart(workdir, settings.data)
    return given_teacher.on_disk(_without_missing_packages(settings))


def _without_missing_packages(settings: config.Config) -> config.Config:
    """Drops benchmarks whose optional packages are not installed, with a message for each.

    Raises:
        ValueError: no benchmark is left.
    """
    missing = evaluate.missing_packages(settings.evaluation)
    kept = [name for name in settings.evaluation.benchmarks if name not in missing]
    if missing and not kept:
        raise ValueError(next(iter(missing.values())))
    for name, reason in missing.items():
        print(f"skipping benchmark {name}: {reason}, then run the same command again", flush=True)
    return settings.replace(benchmarks=tuple(kept)) if missing else settings


def _improves(number: int, before: Model, after: Model) -> bool:
    """Returns False, with a message, if the validation accuracy is known and did not rise."""
    old, new = before.summary["validation_top1"], after.summary["validation_top1"]
    if old is None or new is None or new > old:
        return True
    print(f"round {number} did not improve validation accuracy: {old:.2f}% -> {new:.2f}%")
    return False


def dry_run(
    settings: config.Config, workdir: str | Path, source: sources.Source | None = None
) -> None:
    """Prints what `run` would do and how long it takes; trains nothing and writes no file.

    Uses the splits of the directory if it has some.

    Raises:
        ValueError: As in `run`, which makes the same checks before it trains.
    """
    settings = _resolved(settings, workdir)
    devices = make_devices(**dataclasses.asdict(settings.device))
    drawn = Path(workdir) / "splits.json"
    splits = derived.load_splits(settings.data, drawn if drawn.exists() else None, source)
    settings = sizing.sized(settings, splits, devices, workdir, write=False)
    space = preflight.check(settings, splits, devices, workdir)
    print(f"work directory: {workdir} (not written)\n{space}\nflags that differ from the defaults:")
    for flag in settings.changed_flags():
        print(f"  {flag}")
    for name in _SPLITS:
        print(f"{name}: {len(getattr(splits, name))} images")
    if given := settings.rounds.teacher_model:
        print(f"given teacher: {given}, {model_file.read_card(given)['preprocess']}")
    print(estimate.describe(settings, splits, speed.measure(devices), devices))


def _main(settings: config.Config) -> None:
    given = settings.group(schema.WorkdirConfig)
    if given.dry_run:
        dry_run(settings, given.workdir)
        return
    command = os.environ.get("NOISY_STUDENT_COMMAND") or shlex.join(
        ["python", "-m", "noisy_student.iterate", *sys.argv[1:]]
    )
    if results := run(settings, given.workdir, command):
        path = Path(given.workdir) / "report" / "report.html"
        print(f"\n{report.table(results)}\nreport: {path}")
        _without_missing_packages(settings)  # says again what is not in the report


if __name__ == "__main__":
    config.run(_main, schema.WorkdirConfig, schema.SizingConfig, *schema.SETTINGS)
