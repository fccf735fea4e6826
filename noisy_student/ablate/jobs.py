"""The job graph of studies: every stage of every arm and seed, equal ones once.

A job is one command of a stage. The name of its directory consists of the changed flags, for
readers, and a hash of stage, changed flags and inputs, so that arms and studies share directories.
"""

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from noisy_student import config
from noisy_student.ablate import spec
from noisy_student.ablate.recipe import Recipe
from noisy_student.ablate.spec import Arm, FineTuning, Flags, Study, Supervised
from noisy_student.artifacts.files import read_json

BENCHMARKS = ("clean", "fgsm")  # of every model; a study may add others
RECORD = "job.json"  # written when a job is done
_MODEL = "model.keras"
_MAX_TAG = 60  # characters of a directory's readable part
_UNTAGGED = re.compile(r"--(no)?(role|round|rounds|benchmarks)\b")  # implied by the job's label


class Input(NamedTuple):
    """A flag that names an output of another job; an empty `file` means its directory."""

    flag: str
    job: "Job"
    file: str


@dataclass(frozen=True)
class Budget:
    """The number of images of a supervised training: what some other trainings saw."""

    kind: spec.Budget  # see `spec.Supervised`
    trainings: tuple["Job", ...]  # the jobs whose images count

    def images(self, root: Path) -> int:
        """Returns the number of images, once the trainings below `root` are done."""
        logs = [read_json(root / job.name / "train.json") for job in self.trainings]
        if self.kind == "labeled":
            return logs[-1]["num_steps"] * logs[-1]["labeled_batch_size"]
        return sum(log["images_seen"] for log in logs)


@dataclass(frozen=True, eq=False)
class Job:
    """One command of a stage."""

    name: str  # its directory below that of the recipe
    stage: str  # module of `noisy_student`
    seed: int  # determines everything random
    flags: tuple[str, ...]  # changed flags, without those below
    splits: str  # file of the splits below the directory of the recipe
    inputs: tuple[Input, ...] = ()  # outputs of other jobs
    budget: Budget | None = None  # number of images of a supervised training, or None
    # The training, without the length that `budget` gives; None for other stages.
    training: config.TrainConfig | None = None
    tags: tuple[str, ...] = ()  # changed flags in its name: those of its first input, then its own

    @property
    def parents(self) -> tuple["Job", ...]:
        """The jobs that must be done first."""
        counted = self.budget.trainings if self.budget else ()
        return (*(job for _, job, _ in self.inputs), *counted)

    @property
    def digest(self) -> str:
        """The hash in its name."""
        return self.name[-8:]

    @property
    def label(self) -> str:
        """Role in the arm, such as student1; begins the name of the directory."""
        return Path(self.name).name.split("-")[0]

    def is_done(self, root: Path) -> bool:
        """Returns whether its record is in its directory below `root`."""
        return (root / self.name / RECORD).exists()

    def command(self, root: Path, recipe: Recipe) -> list[str]:
        """Returns the command line; a job with a budget has one once its parents are done."""
        inputs = [f"--{flag}={root / job.name / file}" for flag, job, file in self.inputs]
        if self.budget:
            inputs.append(f"--control_images={self.budget.images(root)}")
        return [
            sys.executable,
            "-m",
            f"noisy_student.{self.stage}",
            *recipe.arguments,
            *self.flags,
            f"--seed={self.seed}",
            f"--splits_file={root / self.splits}",
            *inputs,
            f"--output_dir={root / self.name}",
        ]


@dataclass(frozen=True)
class Chain:
    """An arm at one seed."""

    study: Study
    arm: Arm
    seed: int
    trainings: tuple[Job, ...]  # in order; the last model is evaluated
    tests: tuple[Job, ...]  # the evaluations
    jobs: tuple[Job, ...]  # all jobs
    given: tuple[str, ...] = ()  # flags given beside the recipe

    @property
    def changed(self) -> str:
        """All changed flags: those given in addition to the recipe, then stage by stage."""
        lines = [f"{spec.EVERY_STAGE}{shlex.join(self.given)}"] if self.given else []
        lines += [
            f"{job.label}: {shlex.join(flags)}"
            for job in self.jobs
            if (flags := [flag for flag in job.flags if not _UNTAGGED.match(flag)])
        ]
        return "; ".join(dict.fromkeys(lines))


class Graph:
    """The jobs of some studies.

    Attributes:
        recipe: the recipe of all jobs.
        jobs: name -> job, parents first.
        chains: study by study, seed by seed, arm by arm.
    """

    def __init__(self, recipe: Recipe, studies: Sequence[Study], seeds: Sequence[int]):
        """Builds the jobs.

        Raises:
            ValueError: the recipe does not allow an arm, which the message names.
        """
        self.recipe = recipe
        self.jobs: dict[str, Job] = {}
        self.chains: list[Chain] = []
        for study in studies:
            for seed in seeds:
                for arm in study.arms:
                    try:
                        chain = _ChainBuilder(recipe, self.jobs, arm, seed).build(study)
                    except ValueError as error:
                        where = f"study {study.name}, {arm.name}"
                        raise ValueError(f"{where}: {error}") from None
                    self.chains.append(chain)


class _ChainBuilder:
    """Builds the jobs of an arm at one seed, stage by stage."""

    def __init__(self, recipe: Recipe, known: dict[str, Job], arm: Arm, seed: int):
        """Starts an arm; `known` has the jobs of the graph by name and receives the new ones."""
        self._recipe, self._known, self._arm, self._seed = recipe, known, arm, seed
        self._jobs: list[Job] = []

    def build(self, study: Study) -> Chain:
        """Returns the arm's chain, with the benchmarks of `study`."""
        arm = self._arm
        trainings = [self._add("teacher", "train", ("--role=teacher", *arm.teacher))]
        for number in range(1, len(arm.rounds) + 1):
            trainings.append(self._student(number, trainings[-1]))
        if arm.last:
            trainings += self._last(arm.last, trainings)
        model = (Input("model", trainings[-1], _MODEL),)
        tests = [self._add("test", "evaluate", (_benchmarks(BENCHMARKS), *arm.test), model)]
        if study.benchmarks:
            changes = (_benchmarks(study.benchmarks), *arm.test)
            tests.append(self._add("more_tests", "evaluate", changes, model))
        jobs = tuple(trainings), tuple(tests), tuple(self._jobs)
        return Chain(study, arm, self._seed, *jobs, self._recipe.given)

    def _student(self, number: int, teacher: Job) -> Job:
        """Adds pseudo labels, selection and student of a round; returns the student."""
        changed, data = self._arm.rounds[number - 1], self._arm.data
        model = (Input("model", teacher, _MODEL),)
        labels = self._add(f"labels{number}", "pseudo_label", changed.labels, model, unlabeled=data)
        predictions = (Input("predictions_dir", labels, ""),)
        selected = self._add(
            f"selected{number}", "selection", changed.selection, predictions, unlabeled=data
        )
        inputs = [Input("selected_dir", selected, "")]
        if changed.starts_from_teacher:
            inputs.append(Input("init_model", teacher, _MODEL))
        if self._recipe.student.teacher_mode == "online":
            inputs.append(Input("teacher_model", teacher, _MODEL))
        changes = ("--role=student", f"--round={number}", *changed.student)
        return self._add(f"student{number}", "train", changes, tuple(inputs), unlabeled=data)

    def _last(self, last: Supervised | FineTuning, trainings: Sequence[Job]) -> list[Job]:
        """Adds the trainings after the last round."""
        rounds, (teacher, *students) = self._arm.rounds, trainings
        if isinstance(last, FineTuning):
            changes = ("--role=fixres", f"--round={len(rounds)}", *rounds[-1].student, *last.flags)
            start = (Input("init_model", students[-1], _MODEL),)
            return [self._add(f"fixres{len(rounds)}", "train", changes, start)]
        if last.budget == "rounds":
            chain = [teacher]
            for number, student in enumerate(students, start=1):
                budget = Budget("student", (student,))
                chain.append(self._supervised(f"control_rounds{number}", number, chain[-1], budget))
            return chain[1:]
        budget = Budget(last.budget, tuple(trainings if last.budget == "chain" else students[-1:]))
        label, before = f"control_{last.budget}", None
        if last.starts_from_student:
            label, before = "tuned", students[-1]
        return [self._supervised(label, len(rounds), before, budget)]

    def _supervised(self, label: str, number: int, before: Job | None, budget: Budget) -> Job:
        """Adds a training on labeled images with the network and noise of round `number`.

        It starts from the weights of `before`, if that is given.
        """
        last = self._arm.last.flags if self._arm.last else ()
        role = ("--role=control", f"--rounds={number}")
        inputs = (Input("init_model", before, _MODEL),) if before else ()
        changes = (*role, *self._arm.rounds[number - 1].student, *last)
        return self._add(label, "train", changes, inputs, budget=budget)

    def _add(
        self,
        label: str,
        module: str,
        changes: Flags,
        inputs: tuple[Input, ...] = (),
        *,
        unlabeled: Flags = (),
        budget: Budget | None = None,
    ) -> Job:
        """Adds a job to the chain, and to the graph unless that has an equal one.

        Its label says what it is to its arm, its module which stage it runs. The changed flags of
        `unlabeled` images also determine the splits.
        """
        resolved = self._recipe.resolve((*unlabeled, *changes))
        counted = [job.digest for job in budget.trainings] if budget else []
        content = [module, resolved.flags, budget.kind if budget else "", counted]
        content += [[flag, job.digest, file] for flag, job, file in inputs]
        own = [flag.removeprefix("--") for flag in resolved.flags if not _UNTAGGED.match(flag)]
        inherited = [tag for _, job, _ in inputs[:1] for tag in job.tags]
        tags = tuple(dict.fromkeys((*inherited, *own, *(flag for flag, _, _ in inputs[1:]))))
        tag = re.sub(r"[^\w.=,+-]", "_", "-".join(tags))[:_MAX_TAG].strip("-")
        name = "-".join(filter(None, (f"seed{self._seed}/{label}", tag, _digest(content))))
        images = self._recipe.resolve(unlabeled).flags
        splits = f"seed{self._seed}/splits{'-' + _digest(images) if images else ''}.json"
        job = self._known.setdefault(
            name,
            Job(
                name,
                module,
                self._seed,
                resolved.flags,
                splits,
                inputs,
                budget,
                resolved.training,
                tags,
            ),
        )
        self._jobs.append(job)
        return job


def _digest(content: Sequence[object]) -> str:
    """Returns a hash of JSON-like values."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


def _benchmarks(names: Sequence[str]) -> str:
    return f"--benchmarks={','.join(names)}"
