"""Comparison of several runs: one table with runs as columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisy_student.metrics import compare
from noisy_student.metrics.benchmarks import BENCHMARKS, TITLES
from noisy_student.metrics.formatting import NONE, interval, number
from noisy_student.metrics.verdicts import Verdict
from noisy_student.report import scores
from noisy_student.report.inputs import default_flags
from noisy_student.report.text import markdown_table, markdown_text

NOTE = (
    "All in percent, with 95% intervals in parentheses that reflect the number of test images."
    ' "Teacher = 100" is relative to the teacher of the same run. The intervals do not include'
    " variation between seeds: to measure it, compare runs that differ only in the seed."
)
_VERDICTS = {
    "more": "more robust",
    "less": "less robust",
    "level": "no significant difference",
    "mixed": "leader changes with epsilon",
    "clean": "as on clean images",
}
_CONDITIONS = (
    "num_examples",
    "image_size",
    "native_size",
    "epsilons",
    "steps",
    "step_size",
    "random_start",
    "restarts",
)
Row = tuple[str, list[str]]  # a name, and one cell for each run
Block = tuple[str, list[Row]]  # a heading and its rows


@dataclass(frozen=True)
class Comparison:
    """Runs to set side by side."""

    names: Sequence[str]  # of the runs, all different
    runs: Sequence[Mapping[str, Any]]  # contents of results.json, in the same order
    # The last student of every run but the first, compared with that of the first
    # (`results.compare_students`).
    against_first: Sequence[Mapping[str, Any]]

    @property
    def title(self) -> str:
        """Title of the page."""
        return f"Comparison of {len(self.names)} runs"

    def markdown(self) -> str:
        """Returns the comparison as Markdown."""
        cells: list[list[str]] = []
        for heading, rows in self.blocks():
            cells.append([f"**{heading}**", *("" for _ in self.names)])
            cells += [[name, *row] for name, row in rows]
        lines = [f"# {self.title}", ""]
        if warning := self.warning():
            lines += [markdown_text(warning), ""]
        return "\n".join([*lines, *markdown_table(["", *self.names], cells), "", NOTE, ""])

    def warning(self) -> str:
        """Names the conditions that differ between the runs; "" if there are none."""
        conditions = [_conditions(figures) for figures in self._figures()]
        differing = []
        for name in dict.fromkeys(name for known in conditions for name in known):
            values = [known[name] for known in conditions if name in known]
            if any(value != values[0] for value in values):
                differing.append(name)
        if not differing:
            return ""
        return (
            f"These runs differ in: {', '.join(differing)}. Compare affected numbers only within a"
            " run, not between runs."
        )

    def blocks(self) -> list[Block]:
        """Returns the rows: conditions, accuracy, every benchmark, verdicts and seconds."""
        verdicts = [
            (figures["robustness"] or {}).get("verdicts", []) for figures in self._figures()
        ]
        seconds = [sum(run["provenance"]["seconds"].values()) or None for run in self.runs]
        blocks = [
            ("Run", self._facts()),
            ("Flags that differ", self._flags()),
            ("Top-1 on clean test images", self._accuracy()),
            *self._scores(),
            ("Last student compared with its teacher", _verdict_rows(verdicts)),
            (
                f"Last student compared with that of {self.names[0]}, image by image",
                self._against_first(),
            ),
            ("Seconds", [("all stages", [number(value, ",.0f") for value in seconds])]),
        ]
        return [(heading, rows) for heading, rows in blocks if rows]

    def _figures(self) -> list[Mapping[str, Any]]:
        return [run["figures"] for run in self.runs]

    def _facts(self) -> list[Row]:
        def row(name: str, value: Callable[[Mapping[str, Any]], Any]) -> Row:
            values = map(value, self._figures())
            return name, [NONE if fact is None else str(fact) for fact in values]

        def size(part: str) -> Callable[[Mapping[str, Any]], Any]:
            return lambda figures: (figures["split_sizes"] or {}).get(part)

        return [
            row("data set", lambda figures: figures["dataset"]),
            row("seed", lambda figures: figures["seed"]),
            *(row(f"{part} images", size(part)) for part in ("labeled", "unlabeled", "test")),
        ]

    def _flags(self) -> list[Row]:
        """Returns a row for each flag whose values differ, apart from the work directory.

        A flag that a run does not record, since it is newer, has its default. Runs without a
        ``config.json`` have no flags.
        """
        defaults = default_flags()
        recorded = [run["provenance"]["flags"] for run in self.runs]
        runs = [{**defaults, **flags, "workdir": None} if flags else None for flags in recorded]
        known = [flags for flags in runs if flags]
        names = sorted({name for flags in known for name in flags})
        return [
            (f"--{name}", [NONE if not flags else _shown(flags.get(name)) for flags in runs])
            for name in names
            if any(flags.get(name) != known[0].get(name) for flags in known)
        ]

    def _accuracy(self) -> list[Row]:
        runs = [
            {
                model["label"]: f"{model['top1']:.1f} ({interval(model['top1_interval'])})"
                for model in figures["models"]
                if model["top1"] is not None
            }
            for figures in self._figures()
        ]
        labels = dict.fromkeys(label for cells in runs for label in cells)
        rows = [(label, [cells.get(label, NONE) for cells in runs]) for label in labels]
        gains = [figures["gain"] for figures in self._figures()]
        if any(gains):
            rows.append(("last student minus teacher", list(map(_points, gains))))
        return rows

    def _scores(self) -> list[Block]:
        """Returns a block for each measure of robustness, with models as rows."""
        runs = [
            {
                model["label"]: scores.model_numbers(figures)[model["name"]]
                for model in figures["models"]
            }
            for figures in self._figures()
        ]
        keys = {key for run in runs for row in run.values() for key in row} - {"clean.top1"}
        blocks = []
        for column in (*scores.own_columns(keys), *scores.published_columns(keys)):
            labels = dict.fromkeys(
                label for run in runs for label, row in run.items() if column.key in row
            )
            rows = [
                (label, [number(run.get(label, {}).get(column.key), ".1f") for run in runs])
                for label in labels
            ]
            blocks.append((f"{column.group}: {column.header}", rows))
        return blocks

    def _against_first(self) -> list[Row]:
        gains = [run["gain"] for run in self.against_first]
        rows = [("Clean test images", [NONE, *map(_points, gains)])] if any(gains) else []
        return rows + _verdict_rows([[], *(run["verdicts"] for run in self.against_first)])


def _verdict_rows(runs: Sequence[Sequence[Verdict]]) -> list[Row]:
    """Returns a row for every benchmark on which any run has a verdict."""
    by_benchmark = [{verdict["benchmark"]: verdict for verdict in run} for run in runs]
    rows = []
    for benchmark in BENCHMARKS:
        found = [verdicts.get(benchmark) for verdicts in by_benchmark]
        if any(found):
            cells = [
                f"{_VERDICTS[verdict['verdict']]}: {_points(verdict)}" if verdict else NONE
                for verdict in found
            ]
            rows.append((TITLES[benchmark], cells))
    return rows


def _conditions(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what must be equal for numbers of two runs to be comparable."""
    conditions: dict[str, Any] = {}
    if figures["dataset"] is not None:
        conditions["data set"] = figures["dataset"]
    if figures["split_sizes"]:
        conditions["numbers of images"] = sorted(figures["split_sizes"].items())
    for benchmark in BENCHMARKS:
        for content in list(figures[benchmark].values())[:1]:
            known = [(key, content[key]) for key in _CONDITIONS if key in content]
            conditions[f"settings of {TITLES[benchmark]}"] = [*known, *compare.settings(content)]
    return conditions


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "unset"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _points(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return NONE
    return f"{difference['points']:+.1f} ({interval(difference['interval'], '+.1f')})"
