r"""The paper's claims, measured: every study is a table of `studies`, run by one command.

    python -m noisy_student.ablate --list
    python -m noisy_student.ablate --study=noise,compute --recipe=mnist5k --seeds=0,1,2 \
        --workdir=runs/ablate [--jobs=2 --results_dir=docs/results] [--data_dir=DIR ...]

Every arm of a study is a chain of the usual stages with some flags changed, each stage a process of
its own; those that arms, studies and earlier calls have in common run once. Killed, the same
command goes on. Other flags given here go to every stage. In ``<workdir>/<recipe>/studies`` each
study leaves its rows (CSV), means, paired differences and verdicts (Markdown, JSON) and a picture.
``--collect_only`` makes these of what is done so far, as while another process is at work.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path

from noisy_student import config
from noisy_student.ablate import chart, claims, collect, publish, results, runner, wording
from noisy_student.ablate.jobs import Graph, Job
from noisy_student.ablate.recipe import OWN, Recipe
from noisy_student.ablate.spec import ByDataset, Study, Times
from noisy_student.ablate.time_estimate import Estimator, wall_seconds
from noisy_student.artifacts import stage
from noisy_student.artifacts.files import atomic_write, write_json
from noisy_student.config import flags

_DEFAULT_WORKDIR = "runs/ablate"
# What a study decides itself.
_DECIDED = (
    *("seed", "role", "round", "output_dir", "splits_file", "model", "predictions_dir"),
    *("selected_dir", "teacher_model", "init_model", "control_images"),
)


def studies_named(names: list[str]) -> list[Study]:
    """The studies of a list of names, or all for the word "all".

    Raises:
        ValueError: naming what is no study, and those that are.
    """
    if names == ["all"]:
        return list(claims.STUDIES.values())
    unknown = [name for name in names if name not in claims.STUDIES]
    if unknown or not names:
        raise ValueError(
            f"--study={','.join(unknown)}: must be all, or of {', '.join(claims.STUDIES)} (--list "
            "says what they are)."
        )
    return [claims.STUDIES[name] for name in dict.fromkeys(names)]


def run(
    graph: Graph,
    chosen: list[Study],
    workdir: Path,
    slots: int,
    results_dir: Path | None = None,
    collect_only: bool = False,
) -> list[Job]:
    """Runs studies, prints and writes what they came to.

    Args:
        graph: of the chosen studies.
        chosen: the studies.
        workdir: receives ``<recipe>/seed<S>/<job>/`` and ``<recipe>/studies/<study>.*``.
        slots: jobs at once.
        results_dir: receives copies of the CSV files as ``<recipe>/<study>.csv``.
        collect_only: whether to run nothing, and go by what is done so far.

    Returns:
        The jobs that failed.

    Raises:
        ValueError: ``workdir`` holds results of the recipe with other flags.
    """
    root = workdir / graph.recipe.name
    stage.begin(root, graph.recipe.request())
    estimator = estimator_of(graph, root)
    print(outlook(graph, root, estimator, slots), flush=True)
    failed = []
    if not collect_only:
        failed = runner.run(list(graph.jobs.values()), root, graph.recipe, slots, estimator)
    for study in chosen:
        chains = [chain for chain in graph.chains if chain.study is study]
        found = collect.collect(graph.recipe.name, study, chains, root)
        if not found:
            print(f"\n{study.name}: no arm is done")
            continue
        write(study, found, root / "studies", results_dir)
    return failed


def write(study: Study, found: list[results.Row], folder: Path, results_dir: Path | None) -> None:
    """Writes and prints what a study came to: CSV, JSON, Markdown and a picture."""
    text = results.to_csv(found)
    recipe = found[0].recipe
    targets = [folder / f"{study.name}.csv"]
    if results_dir:
        targets.append(results_dir / recipe / f"{study.name}.csv")
    for path in targets:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    table = publish.table_beside(targets[0], study)
    write_json(folder / f"{study.name}.json", table.summary())
    page = f"# {study.name}\n\n{table.markdown()}\n"
    with atomic_write(folder / f"{study.name}.md") as temporary:
        temporary.write_text(page, encoding="utf-8")
    chart.write(table, folder / f"{study.name}.png")
    print(f"\n{page}\n{folder / study.name}.csv, .json, .md, .png")


def estimator_of(graph: Graph, root: Path) -> Estimator:
    """What the jobs that are done tell of the time of others."""
    estimator = Estimator(graph.recipe.settings.data.num_labeled)
    for job in graph.jobs.values():
        if job.is_done(root):
            estimator.learn(job, collect.seconds_of(job, root))
    return estimator


def outlook(graph: Graph, root: Path, estimator: Estimator, slots: int) -> str:
    """How many jobs there are, and how long those that are not done will take."""
    missing = [job for job in graph.jobs.values() if not job.is_done(root)]
    if not missing:
        return f"{len(graph.jobs)} jobs, all done"
    seconds = [estimator.seconds(job) for job in missing]
    one, several = (wording.duration(wall_seconds(seconds, count)) for count in (1, slots))
    told = f"{len(graph.jobs)} jobs, {len(missing)} to do: {one} on CPU one by one, "
    told += f"{several} with {slots} at once"
    if None in seconds:
        told += " (--num_labeled is not given: the length of epochs is not known)"
    return told


def listing() -> str:
    """The studies with claim and arms, for people."""
    lines = []
    for study in claims.STUDIES.values():
        lines += [f"{study.name}: {study.claim} ({study.source})"]
        for arm in study.arms:
            changed = ", ".join(map(_in_words, arm.flags()))
            rounds = f"{len(arm.rounds)} students" if len(arm.rounds) != 1 else "1 student"
            lines.append(f"    {arm.name}: {rounds}{'; ' + changed if changed else ''}")
    return "\n".join(lines)


def _in_words(flag: str | Times | ByDataset) -> str:
    if isinstance(flag, Times):
        return f"--{flag.flag} times {flag.factor:g}"
    return flag if isinstance(flag, str) else f"--{flag.flag} by data set"


def dry_run(graph: Graph, root: Path, slots: int) -> None:
    """Prints every job once, whether it is done and how long it takes; touches no file."""
    estimator = estimator_of(graph, root)
    used = Counter(job for chain in graph.chains for job in dict.fromkeys(chain.jobs))
    for job in graph.jobs.values():
        state = "done " if job.is_done(root) else "to do"
        shared = f", in {used[job]} chains" if used[job] > 1 else ""
        print(f"{state} {job.name}: {wording.duration(estimator.seconds(job))}{shared}")
    print(outlook(graph, root, estimator, slots))


def _given() -> list[str]:
    """The flags of the command line that go to every stage, as they are written there.

    Raises:
        ValueError: one among them that a study decides itself.
    """
    present = [name for name in flags.values() if flags.FLAGS[name].present and name not in OWN]
    for name in present:
        if name in _DECIDED:
            raise ValueError(f"--{name} is for a study to decide (seeds: --seeds).")
    return [flags.FLAGS[name].serialize() for name in present]


def _seeds() -> list[int]:
    given = flags.FLAGS.seeds
    if not given or not all(seed.isdigit() for seed in given) or len(set(given)) < len(given):
        raise ValueError(f"--seeds={','.join(given)}: must be different whole numbers from 0.")
    return list(map(int, given))


def _possible(chosen: list[Study], recipe: Recipe) -> list[Study]:
    """The studies that a recipe allows; of others says why it does not."""
    possible = []
    for study in chosen:
        try:
            Graph(recipe, [study], [0])
            possible.append(study)
        except ValueError as error:
            print(f"left out: {error}", file=sys.stderr)
    return possible


def _main(_: config.Config) -> None:
    given = flags.FLAGS
    if given.list:
        print(listing())
        return
    wanted, recipe, seeds = studies_named(given.study), Recipe(given.recipe, _given()), _seeds()
    if given.study == ["all"]:
        wanted = _possible(wanted, recipe)
    graph = Graph(recipe, wanted, seeds)
    workdir = Path(given.workdir if given["workdir"].present else _DEFAULT_WORKDIR)
    slots = given.jobs or len(os.sched_getaffinity(0))
    if given.dry_run:
        dry_run(graph, workdir / graph.recipe.name, slots)
        return
    results_dir = Path(given.results_dir) if given.results_dir else None
    try:
        failed = run(graph, wanted, workdir, slots, results_dir, given.collect_only)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
    if failed:
        print(f"{len(failed)} jobs failed: {json.dumps([job.name for job in failed])}")
        sys.exit(1)


def command() -> None:
    """Runs the command."""
    config.run(
        _main,
        [
            "study",
            "list",
            "recipe",
            "seeds",
            "workdir",
            "jobs",
            "results_dir",
            "dry_run",
            "collect_only",
        ],
    )
