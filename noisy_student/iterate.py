r"""The whole method: teacher, then rounds of pseudo labels, selection and student, then the report.

    python -m noisy_student.iterate --flagfile=recipes/mnist5k.flags

Every finished stage is skipped on a rerun, a half-finished training goes on from its checkpoint.
"""

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from data import sources
from noisy_student import config, evaluate, pseudo_label, report, train
from noisy_student.artifacts import model_file, stage
from noisy_student.artifacts.files import write_json
from noisy_student.artifacts.json_files import TrainSummary
from noisy_student.config import derived, schema
from noisy_student.evaluate import galleries
from noisy_student.runtime.devices import Devices, make_devices
from noisy_student.selection import write
from noisy_student.train import given_teacher

Trained = dict[str, tuple[Path, TrainSummary]]  # name -> directory, summary


def run(settings: config.Config, workdir: str | Path, command: str = "") -> dict[str, Any]:
    """Runs all rounds in ``workdir`` and returns the report's results (the chief of several hosts).

    Args:
        settings: the whole run.
        workdir: receives ``config.json``, ``splits.json``, ``round0/teacher``,
            ``round1/{pseudo_labels,selected,student,fixres}``, ..., ``evaluation/``, ``report/``.
        command: what the report shows as the command that made it.
    """
    workdir = Path(workdir)
    devices = make_devices(**dataclasses.asdict(settings.device))
    with devices.chief_first():
        splits = derived.load_splits(settings.data, workdir / "splits.json")
    _check_parts(settings, splits)
    if devices.is_chief and not (workdir / "config.json").exists():
        _write_config(workdir, settings, splits, devices, command)

    teacher_dir = workdir / "round0" / "teacher"
    if settings.rounds.teacher_model:
        with devices.chief_first():
            summary = given_teacher.run(
                settings.rounds.teacher_model,
                splits.validation,
                teacher_dir,
                devices,
                settings.log.eval_batch_size,
            )
    else:
        summary = train.run(
            settings.teacher,
            splits,
            teacher_dir,
            devices,
            settings.log,
            train.Inputs(init_model=_start(settings, None)),
        )
    trained = {"round0_teacher": (teacher_dir, summary)}
    for number, student in enumerate(settings.students, start=1):
        round_dir = workdir / f"round{number}"
        with devices.chief_first():
            selected = _label_and_select(settings, splits, teacher_dir, workdir, number, devices)
        student_dir = round_dir / "student"
        previous = summary
        summary = train.run(
            student,
            splits,
            student_dir,
            devices,
            settings.log,
            train.Inputs(selected, _start(settings, teacher_dir), teacher_dir / "model.keras"),
        )
        trained[f"round{number}_student"] = (student_dir, summary)
        if settings.tuned:
            student_dir, start = round_dir / "fixres", student_dir / "model.keras"
            summary = train.run(
                settings.tuned[number - 1],
                splits,
                student_dir,
                devices,
                settings.log,
                train.Inputs(init_model=start),
            )
            trained[f"round{number}_fixres"] = (student_dir, summary)
        if not _better(number, previous, summary) and settings.rounds.stop_when_worse:
            print(f"stopping after round {number} (--stop_when_worse)")
            break
        teacher_dir = student_dir

    trained |= _controls(settings, splits, workdir, devices, trained)
    evaluation = workdir / "evaluation"
    with devices.chief_first():
        for name, (directory, _) in trained.items():
            evaluate.run(
                directory / "model.keras",
                name,
                splits.test,
                evaluation / name,
                settings.evaluation,
                devices,
            )
    if not devices.is_chief:
        return {}
    # Again, now that every stage has accepted the flags: a refused rerun changes nothing.
    _write_config(workdir, settings, splits, devices, command)
    _pictures(settings, splits, workdir, [name for name in trained if "control" not in name])
    return report.run(workdir)


def _check_parts(settings: config.Config, splits: sources.Splits) -> None:
    """Refuses, before anything is trained, splits that lack what a later stage needs."""
    if settings.students and not len(splits.unlabeled):
        raise ValueError(
            "there are no unlabeled images for the students: give --unlabeled_dir, "
            "--unlabeled_records or --unlabeled_dataset, a --num_labeled that leaves some of the "
            "labeled ones, or --rounds=0."
        )
    if not len(splits.validation):
        calibrate = settings.labels.calibrate
        for name, given in (
            ("stop_when_worse", settings.rounds.stop_when_worse),
            ("calibrate", calibrate),
        ):
            if given:
                raise ValueError(f"--{name} needs validation images: a --num_validation above 0.")


def _controls(
    settings: config.Config,
    splits: sources.Splits,
    workdir: Path,
    devices: Devices,
    trained: Trained,
) -> Trained:
    """Trains the supervised controls of a finished chain."""
    seen = [summary["images_seen"] for _, summary in trained.values()]
    controls = {}
    for control in settings.rounds.controls:
        images = sum(seen) if control == "chain" else seen[-1]
        control_dir = workdir / f"control_{control}"
        summary = train.run(
            settings.control(images),
            splits,
            control_dir,
            devices,
            settings.log,
            train.Inputs(init_model=_start(settings, None)),
        )
        controls[f"control_{control}"] = (control_dir, summary)
    return controls


def _start(settings: config.Config, teacher_dir: Path | None) -> str | Path | None:
    """The model whose weights a training starts from, if any."""
    if settings.rounds.init_model == "teacher":
        return teacher_dir and teacher_dir / "model.keras"
    return settings.rounds.init_model


def _label_and_select(
    settings: config.Config,
    splits: sources.Splits,
    teacher_dir: Path,
    workdir: Path,
    number: int,
    devices: Devices,
) -> Path:
    """Pseudo labels of one round; returns the directory of the student's set."""
    round_dir = workdir / f"round{number}"
    labels, selected = round_dir / "pseudo_labels", round_dir / "selected"
    teacher = pseudo_label.Teacher(
        teacher_dir / "model.keras",
        devices,
        settings.log.eval_batch_size,
        settings.labels,
        splits.validation,
    )
    if settings.rounds.reassign and number > 1:
        before = workdir / f"round{number - 1}" / "selected"
        hard_labels = settings.selection.hard_labels
        pseudo_label.reassign(teacher, before, splits.unlabeled, selected, hard_labels=hard_labels)
        return selected
    pseudo_label.run(
        teacher,
        splits.unlabeled,
        labels,
        num_shards=settings.selection.num_shards,
        skipped=splits.info["skipped"],
    )
    write.run(labels, selected, splits.unlabeled, settings.selection)
    return selected


def _better(number: int, before: TrainSummary, after: TrainSummary) -> bool:
    """Whether the validation accuracy rose, if there is one; says so where it did not."""
    old, new = before["validation_top1"], after["validation_top1"]
    if old is None or new is None:
        return True
    if new <= old:
        print(f"round {number} did not improve validation accuracy: {old:.2f}% -> {new:.2f}%")
    return new > old


def _pictures(
    settings: config.Config, splits: sources.Splits, workdir: Path, names: list[str]
) -> None:
    """What the report shows as pictures: changed predictions, and the student's noisy input."""
    evaluation = workdir / "evaluation"
    last = settings.students[-1] if settings.students else settings.teacher
    spec = derived.preprocess_spec(last.model)
    galleries.write_noise(
        evaluation / "noise.json", splits.labeled, spec, last.noise, settings.data.seed
    )
    if len(names) > 1:
        models = names[0], names[-1]
        comparison = galleries.Comparison(evaluation, models, splits.test, spec)
        galleries.write_changes(comparison)
        robustness = settings.evaluation.robustness
        galleries.write_robustness(comparison, settings.data.seed, robustness)


def _write_config(
    workdir: Path, settings: config.Config, splits: sources.Splits, devices: Devices, command: str
) -> None:
    parts = ("labeled", "validation", "unlabeled", "test")
    write_json(
        workdir / "config.json",
        {
            "command": command,
            "flags": settings.to_json(),
            "versions": stage.versions(),
            "seed": settings.data.seed,
            "dataset": settings.data.dataset,
            "class_names": list(splits.class_names),
            "split_sizes": {part: len(getattr(splits, part)) for part in parts},
            "split_info": splits.info,
            "device": devices.describe(),
        },
    )


def dry_run(settings: config.Config, workdir: str | Path) -> None:
    """Prints what ``run`` would do, with times measured on this machine; touches no file."""
    devices = make_devices(**dataclasses.asdict(settings.device))
    splits_file = Path(workdir) / "splits.json"
    splits = derived.load_splits(settings.data, splits_file if splits_file.exists() else None)
    print(f"work directory {workdir} (not touched)\nflags:")
    for name, value in sorted(settings.to_json().items()):
        if value is not None:
            print(f"  --{name}={value}")
    for part in ("labeled", "validation", "unlabeled", "test"):
        print(f"{part}: {len(getattr(splits, part))} images")
    trainings = (*settings.students, *settings.tuned)
    if settings.rounds.teacher_model:
        card = model_file.read_card(settings.rounds.teacher_model)
        print(f"teacher 0: {settings.rounds.teacher_model}, {card['preprocess']}")
    else:
        trainings = (settings.teacher, *trainings)
    seconds = sum(train.dry_run(training, splits, devices) for training in trainings)
    print(
        f"pseudo labels: {len(splits.unlabeled)} images a round; "
        f"evaluation: {', '.join(settings.evaluation.benchmarks)} on {len(splits.test)} images\n"
        f"training in all about {seconds / 60:.1f} minutes"
    )


def _main(settings: config.Config) -> None:
    given = settings.group(schema.WorkdirConfig)
    workdir = given.workdir
    if given.dry_run:
        dry_run(settings, workdir)
        return
    command = os.environ.get("NOISY_STUDENT_COMMAND") or shlex.join(
        ["python", "-m", "noisy_student.iterate", *sys.argv[1:]]
    )
    results = run(settings, workdir, command)
    if results:
        print(f"\n{report.table(results)}\nreport: {Path(workdir) / 'report' / 'report.html'}")


if __name__ == "__main__":
    config.run(_main, schema.WorkdirConfig, *schema.SETTINGS)
