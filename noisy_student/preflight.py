"""Checks a whole run before anything is trained.

A run and its dry run make the same checks: names, sizes and batches of the trainings of all rounds,
given models, images, benchmarks with their folders, and the disk.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from data import sources
from noisy_student import config, evaluate, networks, train
from noisy_student.artifacts import disk, model_file, stage, student_set
from noisy_student.artifacts.model_file import Card
from noisy_student.config import derived, schema
from noisy_student.runtime.devices import Devices

_SAMPLE = 100  # unlabeled images whose mean size counts for all
_ROW = 100  # bytes of a pseudo label without its probabilities, and of a record without its image


@dataclasses.dataclass(frozen=True)
class _Training:
    """A training of a run, its network without weights, and its directory."""

    settings: config.TrainConfig
    network: keras.Model
    directory: Path


def check(
    settings: config.Config, splits: sources.Splits, devices: Devices, workdir: str | Path
) -> str:
    """Makes all checks of a run; writes nothing.

    Returns:
        A line about disk space: needed and free.

    Raises:
        ValueError: names the flag, file or class at fault.
    """
    disk.check_writable("workdir", workdir)
    _check_images(settings, splits)
    for training in settings.trainings():
        if training.noise.cutout and not training.model.small_image:
            raise ValueError(f"{train.name_of(training)}: --cutout needs --small_image.")
    given = _given_models(settings, splits)
    trainings = _trainings(settings, splits, devices, Path(workdir))
    derived.warn_of_framing(settings.trainings(), splits.labeled)
    derived.warn_of_unused(settings.given, settings.trainings())
    derived.warn_of_ranges(settings.trainings())
    _check_starts(settings.rounds, trainings, splits.class_names)
    sizes = [derived.preprocess_spec(each.settings.model).image_size for each in trainings]
    teacher = given.get("teacher_model")
    if teacher:
        sizes.append(teacher["preprocess"].image_size)
    _check_online(settings, teacher, splits.class_names)
    _check_noised_labels(settings, teacher)
    evaluate.check(settings.evaluation, sizes, splits.test, splits.class_names)
    least = _model_bytes(trainings)
    expected = least + max(0, _label_bytes(settings, splits) - _labels_written(Path(workdir)))
    return disk.check_space("workdir", workdir, least, expected)


def _check_images(settings: config.Config, splits: sources.Splits) -> None:
    """Refuses options that need missing images."""
    if settings.students and not len(splits.unlabeled):
        raise ValueError(
            "there are no unlabeled images for the students: give --unlabeled_dir, "
            "--unlabeled_records or --unlabeled_dataset, a --num_labeled below the number of "
            "labeled images, or --rounds=0."
        )
    num_shards = settings.selection.num_shards
    if settings.students and num_shards > len(splits.unlabeled):
        raise ValueError(
            f"--num_shards={num_shards} is more than the {len(splits.unlabeled)} unlabeled images."
        )
    needs = {"stop_when_worse": settings.rounds.stop_when_worse}
    needs["calibrate"] = settings.labels.calibrate
    for name, is_given in needs.items():
        if is_given and not len(splits.validation):
            raise ValueError(f"--{name} needs validation images: give a --num_validation above 0.")


def _given_models(settings: config.Config, splits: sources.Splits) -> Mapping[str, Card]:
    """Returns the cards of saved models that label, by the flags that name them."""
    rounds = settings.rounds
    if rounds.selection_dir and not rounds.selection_model:
        selected = Path(rounds.selection_dir) / "selected"
        stage.read_done(selected, "records_hash")
        student_set.check_classes(selected, splits.class_names)
    files = {"teacher_model": rounds.teacher_model, "selection_model": rounds.selection_model}
    return {
        flag: model_file.check_classes(flag, path, splits.class_names)
        for flag, path in files.items()
        if path
    }


def _check_online(
    settings: config.Config, given: Card | None, class_names: tuple[str, ...]
) -> None:
    """Refuses teachers that cannot label within the steps of their students."""
    if not any(student.teacher_mode == "online" for student in settings.students):
        return
    if given and given["class_names"] != class_names:
        raise ValueError(
            f"--teacher_model={settings.rounds.teacher_model} must have the classes of the data "
            "in the same order for --teacher_mode=online."
        )
    first = given["preprocess"] if given else derived.preprocess_spec(settings.teacher.model)
    later = [derived.preprocess_spec(each.model) for each in settings.tuned or settings.students]
    for student, spec in zip(settings.students, [first, *later], strict=False):
        own = derived.preprocess_spec(student.model)
        if student.model.small_image and spec != own:
            raise ValueError(
                f"{train.name_of(student)}: --teacher_mode=online with --small_image needs "
                f"a teacher with the same preprocessing, {own}, not {spec}."
            )


def _check_noised_labels(settings: config.Config, given: Card | None) -> None:
    """Refuses third-party teachers, which have no noise, for labeling under noise."""
    if not settings.labels.noise:
        return
    names = [] if given else [settings.teacher.model.name]
    names += [student.model.name for student in settings.students[:-1]]
    foreign = [name for name in names if networks.get(name).is_foreign]
    if foreign or (given and model_file.is_foreign(given)):
        name = foreign[0] if foreign else settings.rounds.teacher_model
        raise ValueError(f"--noised_labels only works with EfficientNets, not with {name}.")


def _trainings(
    settings: config.Config, splits: sources.Splits, devices: Devices, workdir: Path
) -> list[_Training]:
    """Returns all trainings of a run; equal ones share a network."""
    num_classes, num_labeled = len(splits.class_names), len(splits.labeled)
    found: list[_Training] = []
    known: dict[config.TrainConfig, keras.Model] = {}
    for place, training in _places(settings, num_labeled):
        alike = dataclasses.replace(training, round=0, seed=0)  # other rounds are often the same
        if alike not in known:
            known[alike] = train.outline(training, devices, num_classes, num_labeled)
        found.append(_Training(training, known[alike], workdir / place))
    return found


def _places(settings: config.Config, num_labeled: int) -> Iterator[tuple[str, config.TrainConfig]]:
    """Yields the trainings of all rounds and of the baselines, each with its directory."""
    for each in settings.trainings():
        yield f"round{each.round}/{each.role}", each
    yield from baselines(settings, num_labeled)


def baselines(
    settings: config.Config, num_labeled: int
) -> Iterator[tuple[str, config.TrainConfig]]:
    """Yields the trainings of the supervised baselines, each with its directory.

    Raises:
        ValueError: there is no training whose compute they could match.
    """
    trainings, kinds = settings.trainings(), settings.rounds.controls
    seen = [each.last_step(num_labeled) * each.images_per_step for each in trainings]
    if kinds and not seen:
        raise ValueError(
            f"--controls={','.join(kinds)}: no training whose compute the baselines could match."
        )
    for kind in kinds:
        yield f"control_{kind}", settings.control(sum(seen) if kind == "chain" else seen[-1])


def _check_starts(
    rounds: schema.RoundsConfig, trainings: Sequence[_Training], class_names: tuple[str, ...]
) -> None:
    """Refuses initial weights that do not fit a network; fine-tuning always fits."""
    start = rounds.init_model
    starting = [each for each in trainings if each.settings.role != "fixres"]
    if start and start != "teacher":
        for network in {id(each.network): each.network for each in starting}.values():
            train.check_start(network, start, class_names)
    if start != "teacher":
        return
    before = model_file.load_model(rounds.teacher_model)[0] if rounds.teacher_model else None
    for each in starting:
        if each.settings.role == "student" and before is not None:
            origin = f"--init_model=teacher: the teacher of {train.name_of(each.settings)}"
            model_file.check_fit(each.network, before, origin, with_head=True)
        before = each.network


def _model_bytes(trainings: Sequence[_Training]) -> int:
    """Returns the bytes of models, and of the largest training's checkpoints, to be written."""
    waiting = [each for each in trainings if not (each.directory / stage.DONE).exists()]
    sizes = [train.disk_bytes(each.network) for each in waiting]
    written = sum(disk.size(each.directory) for each in waiting)
    total = sum(kept for kept, _ in sizes) + max((most for _, most in sizes), default=0)
    return max(0, total - written)


def _labels_written(workdir: Path) -> int:
    """Returns the bytes of pseudo labels and of selected images that a run has already."""
    folders = [*workdir.glob("round*"), workdir / "selection"]
    return sum(disk.size(f / name) for f in folders for name in ("pseudo_labels", "selected"))


def _label_bytes(settings: config.Config, splits: sources.Splits) -> int:
    """Returns an estimate of the bytes of pseudo labels and of selected images.

    Assumes as many selected records as there are unlabeled images, or those of
    ``--images_per_class``.
    """
    rounds, labels, selection = settings.rounds, settings.labels, settings.selection
    count, classes = len(splits.unlabeled), len(splits.class_names)
    if not settings.students:
        return 0
    row = (
        min(labels.store_top_k or classes, classes) * np.dtype(labels.probabilities_dtype).itemsize
    )
    once = rounds.reassign or rounds.selects_once
    total = (1 if once else len(settings.students)) * count * (row + _ROW)
    if selection.index_only:
        return total
    places = np.linspace(0, count - 1, min(count, _SAMPLE)).astype(int)
    image = sum(splits.unlabeled.num_bytes(place) for place in places) // len(places)
    per_class = selection.images_per_class
    records = per_class * classes if isinstance(per_class, int) else count
    sets = len(settings.students) + rounds.selects_once
    return total + sets * records * (image + 4 * classes + _ROW)
