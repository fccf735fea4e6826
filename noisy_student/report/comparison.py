"""Several runs side by side: one table as HTML and as Markdown, runs as columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from noisy_student.metrics import benchmarks, compare
from noisy_student.report import markup, page, tables
from noisy_student.report import text as plain_text

_VERDICTS = {"more": "more robust", "less": "less robust", "level": "level"}
_NOTE = (
    "All in percent, with 95% intervals from the number of test images in brackets. Teacher = 100"
    " is relative to the teacher of the same run. What another seed would change is not in the"
    " intervals: several runs that differ in nothing but the seed show it."
)
# A heading, and rows of a name and one cell a run.
Block = tuple[str, list[tuple[str, list[str]]]]


@dataclass(frozen=True)
class Comparison:
    """Runs to be set side by side.

    Attributes:
        names: of the runs, all different.
        runs: their results, in the form of results.json, in the same order.
        against_first: the last students of all runs but the first beside that of the first, from
            `summary.against`.
    """

    names: Sequence[str]
    runs: Sequence[Mapping[str, Any]]
    against_first: Sequence[Mapping[str, Any]]

    def html(self) -> str:
        """A self-contained page."""
        rows = []
        for heading, lines in self._blocks():
            rows.append([f"<b>{escape(heading)}</b>", *("" for _ in self.names)])
            rows += [[escape(name), *map(escape, cells)] for name, cells in lines]
        table = markup.table(["", *map(escape, self.names)], rows, "runs")
        parts = [f"<h1>{len(self.names)} runs side by side</h1>"]
        parts += [f'<p class="missing">{escape(text)}</p>' for text in self._differences()]
        note = f"<p>{escape(_NOTE)}</p>"
        return page.document(f"Comparison: {', '.join(self.names)}", [*parts, table, note])

    def markdown(self) -> str:
        """The same as Markdown."""
        rows = []
        for heading, lines in self._blocks():
            rows.append([f"**{heading}**", *("" for _ in self.names)])
            rows += [[name, *cells] for name, cells in lines]
        lines = [f"# {len(self.names)} runs side by side", ""]
        for text in self._differences():
            lines += [text, ""]
        lines += plain_text.markdown_table(["", *self.names], rows)
        return "\n".join([*lines, _NOTE, ""])

    def _figures(self) -> list[Mapping[str, Any]]:
        return [run["figures"] for run in self.runs]

    def _differences(self) -> list[str]:
        """A warning where runs do not answer the same question."""
        facts = [_conditions(figures) for figures in self._figures()]
        known = {
            what: [fact[what] for fact in facts if what in fact]
            for what in dict.fromkeys(key for fact in facts for key in fact)
        }
        unlike = [what for what, values in known.items() if any(v != values[0] for v in values)]
        if not unlike:
            return []
        return [
            f"These runs differ in: {', '.join(unlike)}. Where they do, figures compare within a"
            " run, not between runs."
        ]

    def _blocks(self) -> list[Block]:
        """The table: what the runs are, accuracy, every benchmark, verdicts and seconds."""
        blocks = [("Run", self._facts()), ("Top-1 on clean test images", self._accuracy())]
        scores = [_by_label(figures) for figures in self._figures()]
        keys = {key for run in scores for row in run.values() for key in row} - {"clean.top1"}
        for column in (*tables.own_columns(keys), *tables.published_columns(keys)):
            labels = dict.fromkeys(
                label for run in scores for label, row in run.items() if column.key in row
            )
            rows = [
                (
                    label,
                    [markup.number(run.get(label, {}).get(column.key), ".1f") for run in scores],
                )
                for label in labels
            ]
            blocks.append((f"{column.group}: {column.header}", rows))
        verdicts = [
            (figures["robustness"] or {}).get("verdicts", []) for figures in self._figures()
        ]
        blocks.append(("The last student against the teacher", _verdicts(verdicts)))
        heading = f"The last student against that of {self.names[0]}, image by image"
        blocks.append((heading, self._against_first()))
        seconds = [sum(run["provenance"]["seconds"].values()) or None for run in self.runs]
        time = [("all stages", [markup.number(value, ",.0f") for value in seconds])]
        return [block for block in [*blocks, ("Seconds", time)] if block[1]]

    def _facts(self) -> list[tuple[str, list[str]]]:
        def row(name: str, value: Callable[[Mapping[str, Any]], Any]) -> tuple[str, list[str]]:
            values = [value(figures) for figures in self._figures()]
            return name, [markup.NONE if v is None else str(v) for v in values]

        rows = [row("data set", lambda f: f["dataset"]), row("seed", lambda f: f["seed"])]
        for part in ("labeled", "unlabeled", "test"):
            rows.append(row(f"{part} images", lambda f, p=part: (f["split_sizes"] or {}).get(p)))
        return rows

    def _accuracy(self) -> list[tuple[str, list[str]]]:
        runs = [
            {model["label"]: model for model in figures["models"] if model["top1"] is not None}
            for figures in self._figures()
        ]
        rows = []
        for label in dict.fromkeys(label for models in runs for label in models):
            cells = [
                f"{models[label]['top1']:.1f} ({_span(models[label]['top1_interval'])})"
                if label in models
                else markup.NONE
                for models in runs
            ]
            rows.append((label, cells))
        gains = [figures["gain"] for figures in self._figures()]
        if any(gains):
            cells = [_points(gain) if gain else markup.NONE for gain in gains]
            rows.append(("last student minus teacher", cells))
        return rows

    def _against_first(self) -> list[tuple[str, list[str]]]:
        gains = [run["gain"] for run in self.against_first]
        cells = [_points(gain) if gain else markup.NONE for gain in gains]
        rows = [("Clean test images", [markup.NONE, *cells])] if any(gains) else []
        return rows + _verdicts([[], *(run["verdicts"] for run in self.against_first)])


def _verdicts(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[tuple[str, list[str]]]:
    """A row for every benchmark on which some run has a verdict."""
    by_benchmark = [{verdict["benchmark"]: verdict for verdict in run} for run in runs]
    rows = []
    for benchmark in benchmarks.BENCHMARKS:
        found = [verdicts.get(benchmark) for verdicts in by_benchmark]
        if any(found):
            cells = [
                f"{_VERDICTS[verdict['verdict']]}: {_points(verdict)}" if verdict else markup.NONE
                for verdict in found
            ]
            rows.append((benchmarks.TITLES[benchmark], cells))
    return rows


def _conditions(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What must be alike for figures of two runs to be of the same thing."""
    conditions: dict[str, Any] = {}
    if figures["dataset"] is not None:
        conditions["data set"] = figures["dataset"]
    if figures["split_sizes"]:
        conditions["numbers of images"] = sorted(figures["split_sizes"].items())
    for benchmark in benchmarks.BENCHMARKS:
        settings = [_settings(content) for content in figures[benchmark].values()]
        if settings:
            title = f"settings of {benchmarks.TITLES[benchmark]}"
            conditions[title] = settings[0]
    return conditions


def _settings(content: Mapping[str, Any]) -> list:
    """Of one evaluation: how many images, of which size, under what."""
    keys = (
        "num_examples",
        "image_size",
        "native_size",
        "epsilons",
        "steps",
        "step_size",
        "random_start",
        "restarts",
    )
    settings = [(key, content[key]) for key in keys if key in content]
    return [*settings, *compare.settings(content)]


def _by_label(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    labels = {model["name"]: model["label"] for model in figures["models"]}
    return {labels[name]: row for name, row in tables.of_models(figures).items()}


def _points(difference: Mapping[str, Any]) -> str:
    return f"{difference['points']:+.1f} ({_span(difference['interval'], '+.1f')})"


def _span(bounds: Sequence[float], form: str = ".1f") -> str:
    return " to ".join(format(value, form) for value in bounds)
