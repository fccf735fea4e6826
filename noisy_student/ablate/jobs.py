"""Jobs of studies: every stage of every arm and seed, equal ones once.

A job is one command of a stage. Its directory carries what was changed in readable form and a hash
of stage, changed flags and the jobs it builds on, so that arms and studies that have a part in
common find the same directories.
"""

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noisy_student import config
from noisy_student.ablate.recipe import Recipe
from noisy_student.ablate.spec import GIVEN, Arm, FineTuning, Flags, Study, Supervised
from noisy_student.artifacts.files import read_json

BENCHMARKS = ("clean", "fgsm")  # of every model; a study may add others
RECORD = "job.json"  # written when a job is done
_TAG = 60  # characters of a directory's readable part
_TAGLESS = re.compile(r"--(no)?(role|round|rounds|benchmarks)\b")  # flags that say nothing new


@dataclass(frozen=True, eq=False)
class Job:
    """One command of a stage.

    Attributes:
        name: its directory below that of the recipe.
        stage: module of `noisy_student`.
        seed: of everything random.
        flags: changed, without those below.
        splits: file of the splits below the directory of the recipe.
        inputs: (flag, job, file in its directory; "": the directory itself).
        counted: trainings, the images of which a control sees, as ``counts`` says.
        counts: `Supervised.images`, or "" for jobs that are no such training.
        training: what is trained, where something is; the length of a control is not in it.
        told: the changed flags in its name: its own after those of the first job it builds on.
    """

    name: str
    stage: str
    seed: int
    flags: tuple[str, ...]
    splits: str
    inputs: tuple[tuple[str, "Job", str], ...] = ()
    counted: tuple["Job", ...] = ()
    counts: str = ""
    training: config.TrainConfig | None = None
    told: tuple[str, ...] = ()

    @property
    def parents(self) -> tuple["Job", ...]:
        """The jobs that must be done first."""
        return (*(job for _, job, _ in self.inputs), *self.counted)

    @property
    def digest(self) -> str:
        """The hash in the name."""
        return self.name[-8:]

    @property
    def label(self) -> str:
        """What it is to its arm, such as student1; the begin of its directory's name."""
        return Path(self.name).name.split("-")[0]

    def is_done(self, root: Path) -> bool:
        """Whether its record is in its directory."""
        return (root / self.name / RECORD).exists()

    def command(self, root: Path, recipe: Recipe) -> list[str]:
        """The command; those of controls can only be known once the trainings before are done."""
        inputs = [f"--{flag}={root / job.name / file}" for flag, job, file in self.inputs]
        if self.counted:
            inputs.append(f"--control_images={self._images(root)}")
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

    def _images(self, root: Path) -> int:
        """How many images a control sees."""
        logs = [read_json(root / job.name / "train.json") for job in self.counted]
        if self.counts == "labeled":
            return logs[-1]["num_steps"] * logs[-1]["labeled_batch_size"]
        return sum(log["images_seen"] for log in logs)


@dataclass(frozen=True)
class Chain:
    """An arm at one seed: its trainings, the last of which is evaluated, and all its jobs."""

    study: Study
    arm: Arm
    seed: int
    trainings: tuple[Job, ...]
    tests: tuple[Job, ...]
    jobs: tuple[Job, ...]
    given: tuple[str, ...] = ()

    @property
    def changed(self) -> str:
        """All changed flags: those given beside the recipe, then stage by stage."""
        lines = [f"{GIVEN}{shlex.join(self.given)}"] if self.given else []
        lines += [
            f"{job.label}: {shlex.join(flags)}"
            for job in self.jobs
            if (flags := [flag for flag in job.flags if not _TAGLESS.match(flag)])
        ]
        return "; ".join(dict.fromkeys(lines))


class Graph:
    """The jobs of some studies.

    Attributes:
        recipe: of all jobs.
        jobs: name -> job, those that others build on first.
        chains: study by study, seed by seed, arm by arm.
    """

    def __init__(self, recipe: Recipe, studies: Sequence[Study], seeds: Sequence[int]):
        """Makes the jobs; an arm that a recipe does not allow is a ValueError naming it."""
        self.recipe = recipe
        self.jobs: dict[str, Job] = {}
        self.chains: list[Chain] = []
        for study in studies:
            for seed in seeds:
                for arm in study.arms:
                    try:
                        self.chains.append(self._chain(study, arm, seed))
                    except ValueError as error:
                        where = f"study {study.name}, {arm.name}"
                        raise ValueError(f"{where}: {error}") from None

    def jobs_of(self, study: Study) -> list[Job]:
        """The jobs of a study, each once."""
        found = {job: None for chain in self.chains if chain.study is study for job in chain.jobs}
        return list(found)

    def _chain(self, study: Study, arm: Arm, seed: int) -> Chain:
        jobs: list[Job] = []

        def add(label: str, stage: str, changed: Flags, **other) -> Job:
            jobs.append(self._job(f"seed{seed}/{label}", stage, seed, changed, **other))
            return jobs[-1]

        teacher = add("teacher", "train", ("--role=teacher", *arm.teacher))
        trainings, data = [teacher], {"data": arm.data}
        for number, given in enumerate(arm.rounds, start=1):
            start = (("init_model", teacher, "model.keras"),) if given.starts_from_teacher else ()
            model = ("model", teacher, "model.keras")
            labels = add(f"labels{number}", "pseudo_label", given.labels, inputs=(model,), **data)
            selected = add(
                f"selected{number}",
                "selection",
                given.selection,
                inputs=(("predictions_dir", labels, ""),),
                **data,
            )
            online = (("teacher_model", teacher, "model.keras"),) if self._is_online else ()
            teacher = add(
                f"student{number}",
                "train",
                ("--role=student", f"--round={number}", *given.student),
                inputs=(("selected_dir", selected, ""), *start, *online),
                **data,
            )
            trainings.append(teacher)
        if isinstance(arm.last, Supervised) and arm.last.images == "rounds":
            trainings += self._without_pseudo_labels(arm, trainings, add)
        elif arm.last:
            trainings.append(self._last(arm, trainings, add))
        model = (("model", trainings[-1], "model.keras"),)
        tests = [add("test", "evaluate", (_benchmarks(BENCHMARKS), *arm.test), inputs=model)]
        if study.benchmarks:
            more = (_benchmarks(study.benchmarks), *arm.test)
            tests.append(add("more_tests", "evaluate", more, inputs=model))
        return Chain(
            study, arm, seed, tuple(trainings), tuple(tests), tuple(jobs), self.recipe.given
        )

    def _last(self, arm: Arm, trainings: list[Job], add) -> Job:
        """The training after the rounds of an arm."""
        number, student = len(arm.rounds), trainings[-1]
        start = (("init_model", student, "model.keras"),)
        changed = (*arm.rounds[-1].student, *arm.last.flags)
        if isinstance(arm.last, FineTuning):
            role = ("--role=fixres", f"--round={number}")
            return add(f"fixres{number}", "train", (*role, *changed), inputs=start)
        is_tuned = arm.last.starts_from_student
        return add(
            "tuned" if is_tuned else f"control_{arm.last.images}",
            "train",
            ("--role=control", f"--rounds={number}", *changed),
            inputs=start if is_tuned else (),
            counted=tuple(trainings if arm.last.images == "chain" else [student]),
            counts=arm.last.images,
        )

    def _without_pseudo_labels(self, arm: Arm, trainings: list[Job], add) -> list[Job]:
        """For each student a training on labeled images alone, which starts as that one did."""
        before, found = trainings[0], []
        for number, (given, student) in enumerate(zip(arm.rounds, trainings[1:], strict=True), 1):
            before = add(
                f"control_rounds{number}",
                "train",
                ("--role=control", f"--rounds={number}", *given.student, *arm.last.flags),
                inputs=(("init_model", before, "model.keras"),),
                counted=(student,),
                counts="student",
            )
            found.append(before)
        return found

    @property
    def _is_online(self) -> bool:
        return self.recipe.student.teacher_mode == "online"

    def _job(
        self,
        label: str,
        stage: str,
        seed: int,
        changed: Flags,
        *,
        data: Flags = (),
        inputs: tuple[tuple[str, Job, str], ...] = (),
        counted: tuple[Job, ...] = (),
        counts: str = "",
    ) -> Job:
        """The job of these facts, the one that is there already where it is."""
        reading, images = self.recipe.read((*data, *changed)), self.recipe.read(data).flags
        facts = [stage, reading.flags, counts, [job.digest for job in counted]]
        facts += [[flag, job.digest, file] for flag, job, file in inputs]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
        told = [flag.removeprefix("--") for flag in reading.flags if not _TAGLESS.match(flag)]
        before = [flag for _, job, _ in inputs[:1] for flag in job.told]
        told = list(dict.fromkeys((*before, *told, *(flag for flag, _, _ in inputs[1:]))))
        tag = re.sub(r"[^\w.=,+-]", "_", "-".join(told))[:_TAG].strip("-")
        name = "-".join(filter(None, (label, tag, digest)))
        splits = "splits.json"
        if images:
            splits = f"splits-{hashlib.sha256(json.dumps(images).encode()).hexdigest()[:8]}.json"
        return self.jobs.setdefault(
            name,
            Job(
                name,
                stage,
                seed,
                reading.flags,
                f"seed{seed}/{splits}",
                inputs,
                counted,
                counts,
                reading.training,
                tuple(told),
            ),
        )


def _benchmarks(names: Sequence[str]) -> str:
    return f"--benchmarks={','.join(names)}"
