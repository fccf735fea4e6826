"""Markdown tables of a study: its arms, its comparisons, and its page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from noisy_student.ablate import statistics
from noisy_student.ablate.results import Row
from noisy_student.ablate.spec import EVERY_STAGE, Comparison, Study
from noisy_student.metrics.benchmarks import ATTACKS
from noisy_student.metrics.formatting import NONE, duration, interval
from noisy_student.report.text import markdown_table

_CLAIMED = {1: "above 0", 0: "none", -1: "below 0"}
_METRICS = {
    "clean.top1": "top-1",
    "corruptions.mean_error": "corruption error",
    "perturbations.mean_flip_probability": "flip probability",
}
_LEGEND = """\
*Difference*: first arm minus second in points, on the same seed; mean and Student's 95% interval
over seeds.
*Supported*: the interval is on the claimed side of 0; *contradicted*: on the other side;
*inconclusive*: it contains 0; *not refuted*: it contains 0 and no difference is claimed.
*p, Holm*: p-value of the paired t-test, corrected for the comparisons in this table.

*Metrics*: percent of test images, mean (standard deviation over seeds). *FGSM 4*, *PGD 4*: top-1
under attacks that change each pixel by at most 4 of 255. *Validation*: top-1 on validation images.
*Images*, *s*: number of images and seconds of the last training only. *default*: the unchanged
first student of the recipe. *Italic*: supervised baselines from another study, trained only on
labeled images."""


class Table:
    """The results of a study on a recipe.

    Attributes:
        study: the study.
        rows: its rows, at least one.
        baselines: rows of supervised baselines from another study, on the same seeds, whose arms
            are not in the study.
        seeds: seeds of the rows.
    """

    def __init__(self, study: Study, rows: Sequence[Row], baselines: Sequence[Row] = ()):
        """Keeps the baselines with the seeds of the rows that are not arms of the study."""
        self.study, self.rows = study, rows
        seeds, own = {row.seed for row in rows}, {arm.name for arm in study.arms}
        self.seeds = tuple(sorted(seeds))
        self.baselines = [row for row in baselines if row.seed in seeds and row.arm not in own]

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return self.rows[0].recipe

    @property
    def arms(self) -> list[str]:
        """The arms that have results, in the order of the study."""
        found = {row.arm for row in self.rows}
        return [arm.name for arm in self.study.arms if arm.name in found]

    @property
    def baseline_arms(self) -> list[str]:
        """The arms of `baselines`, in the order of their study."""
        return list(dict.fromkeys(row.arm for row in self.baselines))

    @property
    def metrics(self) -> list[str]:
        """The metrics that the study shows and that have results."""
        found = {row.metric for row in self.rows}
        return [metric for metric in self.study.metrics if metric in found]

    def values(self, arm: str, metric: str) -> dict[int, float]:
        """Returns seed -> value."""
        return {
            row.seed: row.value
            for row in (*self.rows, *self.baselines)
            if row.arm == arm and row.metric == metric
        }

    def difference(self, comparison: Comparison) -> statistics.Difference | None:
        """Returns the result of a comparison, or None if no seed has both arms."""
        first, second = (
            self.values(arm, comparison.metric) for arm in (comparison.first, comparison.second)
        )
        return statistics.paired(first, second, comparison.sign)

    def summary(self) -> dict[str, Any]:
        """Returns the tables as JSON-like values."""
        arms = {
            arm: {
                metric: {"mean": mean, "sd": _or_none(sd), "by_seed": values}
                for metric in self.metrics
                if (values := self.values(arm, metric))
                for mean, sd in [statistics.mean_sd(values)]
            }
            for arm in (*self.arms, *self.baseline_arms)
        }
        return {
            "study": self.study.name,
            "claim": self.study.claim,
            "source": self.study.source,
            "recipe": self.recipe,
            "seeds": self.seeds,
            "arms": arms,
            "comparisons": [
                {
                    "first": comparison.first,
                    "second": comparison.second,
                    "metric": comparison.metric,
                    "claimed_sign": comparison.sign,
                    "mean": found.mean,
                    "sd": _or_none(found.sd),
                    "interval": [_or_none(found.low), _or_none(found.high)],
                    "p_value": _or_none(found.p_value),
                    "seeds": found.seeds,
                    "verdict": found.verdict,
                }
                for comparison in self.study.comparisons
                if (found := self.difference(comparison))
            ],
            "seconds": self.rows[0].study_seconds,
        }


def page(table: Table, picture: str) -> str:
    """Returns the page of a study: claim, comparisons, chart, arms, how to reproduce them."""
    study = table.study
    attacks = [text for name in ATTACKS if (text := attack(table, name))]
    parts = [
        f"# Study `{study.name}` on recipe `{table.recipe}`",
        f"**Claim:** {study.claim} (Source: {study.source}.)",
        comparisons(table),
        f"![Arms with their seeds, and differences with their intervals]({picture})",
        arms(table),
        *attacks,
        _LEGEND,
        _provenance(table),
    ]
    return "\n\n".join(parts) + "\n"


def arms(table: Table) -> str:
    """Returns a Markdown table of the arms with all metrics of the study."""
    seeds = ", ".join(map(str, table.seeds))
    names = [metric_name(metric) for metric in table.metrics]
    headers = ["arm", f"seeds {seeds}", *names, "validation", "images", "s"]
    shown = {arm: arm for arm in table.arms} | {arm: f"*{arm}*" for arm in table.baseline_arms}
    return "\n".join(
        markdown_table(headers, [[text, *_cells(table, arm)] for arm, text in shown.items()])
    )


def comparisons(table: Table) -> str:
    """Returns a Markdown table of the comparisons with their verdicts."""
    seeds = ", ".join(map(str, table.seeds))
    headers = ["difference", f"seeds {seeds}", "mean (95% interval)", "p, Holm"]
    headers += ["claimed", "verdict"]
    rows = []
    adjusted = statistics.holm([p_value(table, each) for each in table.study.comparisons])
    for comparison, corrected in zip(table.study.comparisons, adjusted, strict=True):
        first, second = (
            table.values(arm, comparison.metric) for arm in (comparison.first, comparison.second)
        )
        both = first.keys() & second.keys()
        by_seed = [f"{first[s] - second[s]:+.1f}" if s in both else NONE for s in table.seeds]
        found = table.difference(comparison)
        rows.append(
            [
                comparison_name(comparison),
                ", ".join(by_seed),
                _interval(found) if found else NONE,
                NONE if math.isnan(corrected) else shown(corrected),
                _CLAIMED[comparison.sign],
                f"**{found.verdict}**" if found else "not measured",
            ]
        )
    return "\n".join(markdown_table(headers, rows))


def attack(table: Table, benchmark: str) -> str:
    """Returns the mean top-1 of every arm by step size of an attack, or "" for a single size."""
    start = f"{benchmark}.top1."
    sizes = {row.metric.removeprefix(start) for row in table.rows if row.metric.startswith(start)}
    if len(sizes) < 2:
        return ""
    metrics = [f"{start}{size}" for size in sorted(sizes, key=float)]
    name = metric_name(metrics[0]).split()[0]
    headers = [f"mean top-1, {name} at", *(m.removeprefix(start) for m in metrics)]
    rows = [
        [arm, *(f"{statistics.mean_sd(table.values(arm, m))[0]:.1f}" for m in metrics)]
        for arm in table.arms
    ]
    return "\n".join(markdown_table(headers, rows))


def claims(studies: Iterable[Study], tables: Mapping[tuple[str, str], Table], folder: str) -> str:
    """Returns the table of claims: one row per study, one column per recipe.

    A cell has the first comparison and the number of comparisons with each verdict, and links to
    the page of the study in `folder`.
    """
    recipes = list(dict.fromkeys(recipe for recipe, _ in tables))
    rows = []
    for study in studies:
        first = study.comparisons[0]
        cells = []
        for recipe in recipes:
            table = tables.get((recipe, study.name))
            found = table.difference(first) if table else None
            link = f"{folder}/{recipe}/{study.name}.md"
            cells.append(
                f"[{_interval(found)}]({link}): {_count_verdicts(table)}" if found and table else ""
            )
        if any(cells):
            rows.append([f"*Claim:* {study.claim}", comparison_name(first), *cells])
    headers = ["claim", "first difference", *(f"`{recipe}`" for recipe in recipes)]
    return "\n".join(markdown_table(headers, rows))


def shown(p: float) -> str:
    """Returns a p-value with one digit that is not 0."""
    return f"{p:.3f}" if p >= 0.0005 else f"{p:.0e}"


def p_value(table: Table, comparison: Comparison) -> float:
    """Returns the p-value of a comparison; NaN if it was not made."""
    found = table.difference(comparison)
    return found.p_value if found else math.nan


def gains(tables: Sequence[Table]) -> str:
    """Returns a table of teacher, student and best supervised baseline: one row per study."""
    headers = ["recipe", "student", "top-1", "teacher", "gain", "best supervised baseline", "gain"]
    rows = []
    for table in tables:
        student = table.study.comparisons[0].first
        means = {arm: statistics.mean_sd(table.values(arm, "clean.top1"))[0] for arm in table.arms}
        best = max((arm for arm in table.study.baselines if arm in means), key=means.__getitem__)
        gain = [
            _interval(found) if (found := table.difference(Comparison(student, other))) else NONE
            for other in ("teacher", best)
        ]
        rows.append(
            [f"`{table.recipe}`", student, f"{means[student]:.1f}", f"{means['teacher']:.1f}"]
            + [gain[0], f"{means[best]:.1f} ({best.removeprefix('supervised, ')})", gain[1]]
        )
    return "\n".join(markdown_table(headers, rows))


def metric_name(name: str) -> str:
    """Returns the header of a metric's column: clean.top1 -> top-1, fgsm.top1.4 -> FGSM 4."""
    benchmark, _, measure = name.partition(".")
    if measure.startswith("top1."):
        name = "Square" if benchmark == "square" else benchmark.upper()
        return f"{name} {measure.removeprefix('top1.')}"
    return _METRICS.get(name, f"{benchmark} {measure.replace('_', ' ')}")


def comparison_name(compared: Comparison) -> str:
    """Returns "student minus teacher: FGSM 4"; the metric is left out where it is accuracy."""
    name = f"{compared.first} minus {compared.second}"
    return name if compared.metric == "clean.top1" else f"{name}: {metric_name(compared.metric)}"


def _cells(table: Table, arm: str) -> list[str]:
    """Returns the cells of an arm's row behind its name."""
    rows = {row.seed: row for row in (*table.rows, *table.baselines) if row.arm == arm}
    first = table.values(arm, table.metrics[0])
    by_seed = [f"{first[seed]:.1f}" if seed in first else NONE for seed in table.seeds]
    validation = {seed: row.validation_top1 for seed, row in rows.items()}
    return [
        ", ".join(by_seed),
        *(_mean_sd(table.values(arm, metric)) for metric in table.metrics),
        _mean_sd(validation),
        f"{max(row.images_seen for row in rows.values()):,}",
        f"{sum(row.seconds for row in rows.values()) / len(rows):.0f}",
    ]


def _count_verdicts(table: Table) -> str:
    """Returns the number of comparisons with each verdict: 2 supported, 3 inconclusive."""
    differences = filter(None, map(table.difference, table.study.comparisons))
    found = [difference.verdict for difference in differences]
    return ", ".join(
        f"{found.count(verdict)} {verdict}" for verdict in statistics.VERDICTS if verdict in found
    )


def _provenance(table: Table) -> str:
    """Returns the command that reproduces a study, its duration, code and packages."""
    row = table.rows[0]
    given = row.changed.split("; ")[0]
    given = given.removeprefix(EVERY_STAGE) if given.startswith(EVERY_STAGE) else ""
    command = f"python -m noisy_student.ablate --study={row.study} --recipe={row.recipe}"
    command += f" --seeds={','.join(map(str, table.seeds))} {given}"
    code = ", ".join(sorted({row.code for row in table.rows}))
    return (
        f"```\n{command.strip()}\n```\n\nCompute: {duration(row.study_seconds)} on one thread, "
        f"including jobs shared with other studies. Code: {code}. Versions: {row.versions}."
    )


def _interval(found: statistics.Difference) -> str:
    if math.isnan(found.low):
        return f"{found.mean:+.1f}"
    return f"{found.mean:+.1f} ({interval((found.low, found.high), '+.1f')})"


def _mean_sd(values: Mapping[int, float]) -> str:
    mean, sd = statistics.mean_sd(values)
    if not values:
        return NONE
    return f"{mean:.1f}" if math.isnan(sd) else f"{mean:.1f} ({sd:.1f})"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
