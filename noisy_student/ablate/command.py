r"""Tests the paper's claims: runs studies and publishes their results.

    python -m noisy_student.ablate --list
    python -m noisy_student.ablate --study=noise,compute --recipe=mnist5k --seeds=0,1,2 \
        --workdir=runs/ablate [--jobs=2 --results_dir=docs/results] [--data_dir=DIR ...]
    python -m noisy_student.ablate --publish=docs/results [--pages=README.md,docs/RESULTS.md]

Each arm of a study is a chain of the usual stages with some flags changed. Each stage runs in a
separate process, and stages shared by several arms, studies or earlier calls run only once. To
resume after an interruption, run the same command again. Further flags are passed to every stage.
Each study writes its rows (CSV), its means, paired differences and verdicts (Markdown, JSON) and a
chart to ``<workdir>/<recipe>/studies``. ``--collect_only`` writes them for the arms finished so
far. ``--publish`` generates pages and charts next to the CSV files of a results folder, and the
marked tables in ``--pages``.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from noisy_student import config
from noisy_student.ablate import check, publish, results, runner
from noisy_student.ablate.claims import STUDIES
from noisy_student.ablate.jobs import Graph, Job
from noisy_student.ablate.recipe import OPTIONS, OWN, Recipe
from noisy_student.ablate.spec import ByDataset, Scaled, Study
from noisy_student.ablate.tables import comparisons
from noisy_student.ablate.time_estimate import Estimator, wall_seconds
from noisy_student.artifacts import stage
from noisy_student.artifacts.files import write_json
from noisy_student.config import schema
from noisy_student.metrics.formatting import duration
from noisy_student.runtime import gpu

# Flags that a study sets itself.
_RESERVED = (
    *("seed", "role", "round", "output_dir", "splits_file", "model", "predictions_dir"),
    *("selected_dir", "teacher_model", "control_images"),
)


def studies_named(names: Sequence[str]) -> list[Study]:
    """Returns the studies of a list of names, or all for ["all"].

    Raises:
        ValueError: a name is not a study.
    """
    if list(names) == ["all"]:
        return list(STUDIES.values())
    unknown = [name for name in names if name not in STUDIES]
    if unknown or not names:
        raise ValueError(
            f"--study={','.join(unknown)}: must be all, or some of {', '.join(STUDIES)} (see "
            "--list)"
        )
    return [STUDIES[name] for name in dict.fromkeys(names)]


def run(graph: Graph, root: Path, slots: int, gpus: Sequence[str] = ()) -> list[Job]:
    """Runs the unfinished jobs of a graph and returns those that failed.

    Runs `slots` jobs at a time, in ``seed<S>/<job>/`` below `root`, spread over `gpus` as
    CUDA_VISIBLE_DEVICES names them.

    Raises:
        ValueError: `root` holds results of the recipe with other flags.
    """
    stage.open_stage(root, graph.recipe.request())
    estimator = _estimator(graph, root)
    print(outlook(graph, root, estimator, slots), flush=True)
    return runner.run(list(graph.jobs.values()), root, graph.recipe, slots, estimator, gpus)


def slots_for(jobs: int | None, gpus: Sequence[str], memory: int | str) -> int:
    """Returns the number of jobs at a time.

    Args:
        jobs: the requested number; None: one per GPU, else one per CPU core.
        gpus: GPUs that jobs are spread over.
        memory: GPU memory that a job allocates (`runtime.gpu.set_memory`).

    Raises:
        ValueError: two jobs would each take all memory of one GPU.
    """
    slots = jobs or len(gpus) or len(os.sched_getaffinity(0))
    if gpus and slots > len(gpus) and memory == "all":
        raise ValueError(
            f"--jobs={slots} with --gpu_memory=all: jobs would share {len(gpus)} GPU"
            f"{'s' * (len(gpus) > 1)}, and each takes all memory. Use --jobs={len(gpus)} or "
            "--gpu_memory=grow."
        )
    return slots


def collect(graph: Graph, studies: Sequence[Study], root: Path, results_dir: Path | None) -> None:
    """Writes and prints the results of the finished arms of studies.

    ``studies/<study>.csv``, .json, .md and .png go below `root`, copies of the CSV files to
    ``<recipe>/<study>.csv`` below `results_dir`, unless that is None.
    """
    for study in studies:
        chains = [chain for chain in graph.chains if chain.study is study]
        rows = results.collect(graph.recipe.name, study, chains, root)
        if not rows:
            print(f"\n{study.name}: no arm is finished")
            continue
        folder, text = root / "studies", results.to_csv(rows)
        publish.write_text(folder / f"{study.name}.csv", text)
        if results_dir:
            publish.write_text(results_dir / graph.recipe.name / f"{study.name}.csv", text)
        table = publish.read_table(folder / f"{study.name}.csv", STUDIES)
        write_json(folder / f"{study.name}.json", table.summary())
        publish.write_study(table, folder)
        print(f"\n{study.name}: {study.claim}\n\n{comparisons(table)}\n")
        print(f"{folder / study.name}.csv, .json, .md, .png")


def outlook(graph: Graph, root: Path, estimator: Estimator, slots: int) -> str:
    """Describes the number of jobs and the expected time of the unfinished ones."""
    missing = [job for job in graph.jobs.values() if not job.is_done(root)]
    if not missing:
        return f"{len(graph.jobs)} jobs, all finished"
    seconds = [estimator.seconds(job) for job in missing]
    one, several = (duration(wall_seconds(seconds, count)) for count in (1, slots))
    text = f"{len(graph.jobs)} jobs, {len(missing)} to run: {one} on CPU one at a time, "
    text += f"{several} with {slots} in parallel"
    if None in seconds:
        text += " (some unknown: give --num_labeled for the length of an epoch)"
    return text


def dry_run(graph: Graph, root: Path, slots: int) -> None:
    """Prints every job, its state and its expected duration; touches no file."""
    estimator = _estimator(graph, root)
    used = Counter(job for chain in graph.chains for job in set(chain.jobs))
    for job in graph.jobs.values():
        state = "done" if job.is_done(root) else "to run"
        shared = f", shared by {used[job]} chains" if used[job] > 1 else ""
        print(f"{state:6} {job.name}: {duration(estimator.seconds(job))}{shared}")
    print(outlook(graph, root, estimator, slots))


def listing() -> str:
    """Describes all studies with their claims and arms."""
    lines = []
    for study in STUDIES.values():
        lines.append(f"{study.name}: {study.claim} ({study.source})")
        for arm in study.arms:
            count = f"{len(arm.rounds)} student{'' if len(arm.rounds) == 1 else 's'}"
            lines.append(f"    {arm.name}: {'; '.join([count, *map(_describe, arm.flags)])}")
    return "\n".join(lines)


def _describe(flag: str | Scaled | ByDataset) -> str:
    if isinstance(flag, Scaled):
        return f"--{flag.flag} times {flag.factor:g}"
    return flag if isinstance(flag, str) else f"--{flag.flag} depending on the data set"


def _estimator(graph: Graph, root: Path) -> Estimator:
    """Returns an estimator that knows the finished jobs."""
    estimator = Estimator(graph.recipe.settings.data.num_labeled)
    for job in graph.jobs.values():
        if job.is_done(root):
            estimator.learn(job, results.seconds_of(job, root))
    return estimator


def _given(settings: config.Config) -> list[str]:
    """Returns the command-line flags that are passed to every stage.

    Raises:
        ValueError: a study sets one of them itself.
    """
    given = {name: value for name, value in settings.given.items() if name not in OWN}
    for name in given:
        if name in _RESERVED:
            raise ValueError(f"--{name} is set by the study and cannot be given (seeds: --seeds)")
    return [OPTIONS[name].to_flag(value) for name, value in given.items()]


def _seeds(given: Sequence[int]) -> list[int]:
    if not given or len(set(given)) < len(given):
        raise ValueError(f"--seeds={','.join(map(str, given))}: must be distinct whole numbers")
    return list(given)


def _applicable(studies: Sequence[Study], recipe: Recipe) -> list[Study]:
    """Returns the studies that a recipe supports, and prints why others are skipped."""
    applicable = []
    for study in studies:
        try:
            Graph(recipe, [study], [0])
            applicable.append(study)
        except ValueError as error:
            print(f"skipped: {error}", file=sys.stderr)
    return applicable


def _main(settings: config.Config) -> None:
    given = settings.group(schema.StudyCommandConfig)
    if given.list:
        print(listing())
        return
    if given.publish:
        written = publish.publish(Path(given.publish), list(map(Path, given.pages)), STUDIES)
        print("\n".join(f"written: {path}" for path in written) or "no results found")
        return
    studies, recipe = studies_named(given.study), Recipe(given.recipe, _given(settings))
    seeds = _seeds(given.seeds)
    if given.study == ("all",):
        studies = _applicable(studies, recipe)
    graph = Graph(recipe, studies, seeds)
    root = Path(given.workdir) / recipe.name
    gpus = gpu.visible()
    slots = slots_for(given.jobs, gpus, recipe.settings.device.gpu_memory)
    results_dir = Path(given.results_dir) if given.results_dir else None
    if given.collect_only:
        print(outlook(graph, root, _estimator(graph, root), slots))
    else:
        check.check(graph, root, results_dir)
    if given.dry_run:
        dry_run(graph, root, slots)
        return
    failed = [] if given.collect_only else run(graph, root, slots, gpus)
    collect(graph, studies, root, results_dir)
    if failed:
        print(f"{len(failed)} jobs failed: {json.dumps([job.name for job in failed])}")
        sys.exit(1)


def command() -> None:
    """Runs ``python -m noisy_student.ablate``."""
    config.run(_main, schema.StudyCommandConfig, workdir="runs/ablate")
