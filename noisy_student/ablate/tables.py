"""A study's rows as Markdown: the arms, the differences that decide, how it was made."""

import math
from collections.abc import Sequence
from typing import Any

from noisy_student.ablate import statistics, wording
from noisy_student.ablate.claims import STUDIES
from noisy_student.ablate.results import Row
from noisy_student.ablate.spec import GIVEN, Comparison, Study
from noisy_student.report.markup import NONE

_VERDICTS = ["difference in points", "mean (95% interval)", "claimed", "verdict"]
CONTROLS = tuple(arm.name for arm in STUDIES["compute"].arms if arm.is_control)


class Table:
    """What a study found.

    Attributes:
        study: its arms and comparisons.
        rows: its rows.
        controls: rows of the study "compute" on the same recipe; of them those of its supervised
            controls on the same seeds stand beside, unless it is that study.
    """

    def __init__(self, study: Study, rows: Sequence[Row], controls: Sequence[Row] = ()):
        self.study, self.rows = study, rows
        seeds = {row.seed for row in rows}
        self.seeds = tuple(sorted(seeds))
        own = {arm.name for arm in study.arms}
        self.controls = [
            row
            for row in controls
            if row.arm in CONTROLS and row.arm not in own and row.seed in seeds
        ]

    @property
    def arms(self) -> list[str]:
        """The arms that have a figure, in the order of the study."""
        found = {row.arm for row in self.rows}
        return [arm.name for arm in self.study.arms if arm.name in found]

    @property
    def shown_controls(self) -> list[str]:
        """The controls that stand beside."""
        found = {row.arm for row in self.controls}
        return [name for name in CONTROLS if name in found]

    def values(self, arm: str, metric: str) -> dict[int, float]:
        """Seed -> value."""
        return {
            row.seed: row.value
            for row in (*self.rows, *self.controls)
            if row.arm == arm and row.metric == metric
        }

    def difference(self, comparison: Comparison) -> statistics.Difference | None:
        """What a comparison came to; None where no seed has both arms."""
        first, second = (
            self.values(arm, comparison.metric) for arm in (comparison.first, comparison.second)
        )
        return statistics.paired(first, second, comparison.sign)

    def markdown(self) -> str:
        """Claim, tables and facts, without a heading."""
        claim = f"{self.study.claim} ({self.study.source[0].upper()}{self.study.source[1:]}.)"
        return "\n".join([claim, "", *self._arms(), *self._differences(), self._facts()])

    def attack(self, benchmark: str) -> str:
        """Mean top-1 of every arm at every step size of an attack, "fgsm" or "pgd", as Markdown.

        Raises:
            ValueError: the rows have no such attack.
        """
        start = f"{benchmark}.top1."
        sizes = {
            row.metric.removeprefix(start) for row in self.rows if row.metric.startswith(start)
        }
        if not sizes:
            raise ValueError(f"study {self.study.name} has no {start}*: --benchmarks={benchmark}.")
        metrics = [f"{start}{size}" for size in sorted(sizes, key=float)]
        headers = [f"mean top-1, {benchmark.upper()} at", *(m.removeprefix(start) for m in metrics)]
        rows = [
            [arm, *(f"{statistics.mean_sd(self.values(arm, m))[0]:.1f}" for m in metrics)]
            for arm in self.arms
        ]
        return "\n".join(markdown_table(headers, rows))

    def summary(self) -> dict[str, Any]:
        """The same for programs."""
        arms = {
            arm: {
                metric: _summary(values)
                for metric in self._metrics()
                if (values := self.values(arm, metric))
            }
            for arm in (*self.arms, *self.shown_controls)
        }
        comparisons = []
        for comparison in self.study.comparisons:
            found = self.difference(comparison)
            if found:
                facts = {"first": comparison.first, "second": comparison.second}
                facts |= {"metric": comparison.metric, "claimed_sign": comparison.sign}
                facts |= {
                    "mean": found.mean,
                    "sd": _or_none(found.sd),
                    "interval": [_or_none(found.low), _or_none(found.high)],
                    "seeds": list(found.seeds),
                    "verdict": found.verdict,
                }
                comparisons.append(facts)
        return {
            "study": self.study.name,
            "claim": self.study.claim,
            "source": self.study.source,
            "recipe": self.rows[0].recipe,
            "seeds": list(self.seeds),
            "arms": arms,
            "comparisons": comparisons,
            "seconds": self.rows[0].study_seconds,
        }

    def _metrics(self) -> list[str]:
        """Those that there are, of what the study shows."""
        found = {row.metric for row in self.rows}
        return [metric for metric in self.study.metrics if metric in found]

    def _arms(self) -> list[str]:
        metrics = self._metrics()
        seeds = ", ".join(map(str, self.seeds))
        headers = [
            "arm",
            f"seeds {seeds}",
            *map(wording.metric, metrics),
            "validation",
            "images",
            "s",
        ]
        rows = [self._arm(arm, arm, metrics) for arm in self.arms]
        rows += [self._arm(arm, f"*{arm}*", metrics) for arm in self.shown_controls]
        return [*markdown_table(headers, rows), ""]

    def _arm(self, arm: str, shown: str, metrics: Sequence[str]) -> list[str]:
        rows = {row.seed: row for row in (*self.rows, *self.controls) if row.arm == arm}
        first = self.values(arm, metrics[0])
        by_seed = ", ".join(f"{first[s]:.1f}" if s in first else NONE for s in self.seeds)
        cells = [_mean_sd(self.values(arm, metric)) for metric in metrics]
        validation = _mean_sd({seed: row.validation_top1 for seed, row in rows.items()})
        images = f"{max(row.images_seen for row in rows.values()):,}".replace(",", " ")
        seconds = sum(row.seconds for row in rows.values()) / len(rows)
        return [shown, by_seed, *cells, validation, images, f"{seconds:.0f}"]

    def verdicts(self) -> list[list[str]]:
        """A row for every comparison: what, mean with interval, what is claimed, verdict."""
        rows = []
        for comparison in self.study.comparisons:
            found = self.difference(comparison)
            claimed = {1: "above 0", 0: "none", -1: "below 0"}[comparison.sign]
            if found:
                cells = [_interval(found), claimed, f"**{found.verdict}**"]
            else:
                cells = [NONE, claimed, "not measured"]
            rows.append([wording.comparison(comparison), *cells])
        return rows

    def _differences(self) -> list[str]:
        name, *others = _VERDICTS
        headers = [name, f"seeds {', '.join(map(str, self.seeds))}", *others]
        rows = [
            [name, self._by_seed(comparison), *others]
            for comparison, (name, *others) in zip(
                self.study.comparisons, self.verdicts(), strict=True
            )
        ]
        return [*markdown_table(headers, rows), ""]

    def _by_seed(self, comparison: Comparison) -> str:
        first, second = (
            self.values(arm, comparison.metric) for arm in (comparison.first, comparison.second)
        )
        return ", ".join(
            f"{first[seed] - second[seed]:+.1f}" if seed in first and seed in second else NONE
            for seed in self.seeds
        )

    def _facts(self) -> str:
        row = self.rows[0]
        code = ", ".join(sorted({row.code for row in self.rows}))
        seeds = ",".join(map(str, self.seeds))
        return (
            f"`python -m noisy_student.ablate --study={self.study.name} --recipe={row.recipe} "
            f"--seeds={seeds}{_given(row)}`; {wording.duration(row.study_seconds)} of computing on "
            f"one thread, shared jobs included; code {code}; {row.versions}."
        )


def _given(row: Row) -> str:
    """The flags that were given beside the recipe, with a space before them."""
    first = row.changed.split("; ")[0]
    return f" {first.removeprefix(GIVEN)}" if first.startswith(GIVEN) else ""


def _interval(found: statistics.Difference) -> str:
    if math.isnan(found.low):
        return f"{found.mean:+.1f}"
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


def _mean_sd(values: dict[int, float]) -> str:
    if not values:
        return NONE
    mean, sd = statistics.mean_sd(values)
    return f"{mean:.1f}" if math.isnan(sd) else f"{mean:.1f} ({sd:.1f})"


def _summary(values: dict[int, float]) -> dict[str, Any]:
    mean, sd = statistics.mean_sd(values)
    return {"mean": mean, "sd": _or_none(sd), "by_seed": {str(s): v for s, v in values.items()}}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def overview(tables: Sequence[Table]) -> str:
    """Every comparison of several studies of a recipe, and what each took, as one Markdown table.

    Args:
        tables: those of the studies that were run.
    """
    rows = []
    for table in tables:
        seconds = wording.duration(table.rows[0].study_seconds)
        first = [table.study.name, f"{len(table.seeds)}", seconds]
        for row in table.verdicts():
            rows.append([*first, *row])
            first = ["", "", ""]
    return "\n".join(markdown_table(["study", "seeds", "computing", *_VERDICTS], rows))


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Its lines."""
    lines = [headers, ["---" for _ in headers], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
