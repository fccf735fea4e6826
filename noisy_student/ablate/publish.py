"""Tables of studies inside Markdown pages, made from the CSV files that lie beside.

A table stands between ``<!-- study:NAME:RECIPE -->`` and ``<!-- end -->`` and comes from
``RECIPE/NAME.csv``. Where there is no such file, what is between the marks stays as it is. All
verdicts of a recipe stand between ``<!-- verdicts:RECIPE -->`` and ``<!-- end -->``, the accuracy
under an attack at each step size behind ``<!-- fgsm:NAME:RECIPE -->`` or ``pgd``.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from noisy_student.ablate import chart, results
from noisy_student.ablate.claims import STUDIES
from noisy_student.ablate.spec import Study
from noisy_student.ablate.tables import Table, overview
from noisy_student.artifacts.files import atomic_write

_BLOCK = re.compile(
    r"(<!-- (?P<what>study|fgsm|pgd):(?P<study>[\w-]+):(?P<recipe>[\w.-]+) -->\n)"
    r".*?(?P<end><!-- end -->)",
    re.DOTALL,
)
_VERDICTS = re.compile(r"(<!-- verdicts:(?P<recipe>[\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(folder: Path, recipe: str, name: str) -> Table | None:
    """A study's table from ``folder/RECIPE/NAME.csv``; None where that is not there.

    Raises:
        ValueError: a study that is not known, or a damaged file.
    """
    if name not in STUDIES:
        raise ValueError(f"study {name}: must be of {', '.join(STUDIES)}.")
    path = folder / recipe / f"{name}.csv"
    return table_beside(path, STUDIES[name]) if path.exists() else None


def table_beside(path: Path, study: Study) -> Table:
    """The table of a CSV file, with the controls of the study "compute" in the same folder.

    Raises:
        ValueError: a damaged file.
    """
    beside = path.with_name("compute.csv")
    controls = results.read(beside, STUDIES["compute"]) if beside.exists() else []
    return Table(study, results.read(path, study), controls)


def updated(text: str, folder: Path) -> str:
    """A page with its tables made anew."""

    def block(match: re.Match) -> str:
        made = table(folder, match["recipe"], match["study"])
        if made is None:
            return match[0]
        text = made.markdown() if match["what"] == "study" else made.attack(match["what"])
        return f"{match[1]}\n{text}\n\n{match['end']}"

    def verdicts(match: re.Match) -> str:
        tables = [table(folder, match["recipe"], name) for name in STUDIES]
        found = [made for made in tables if made]
        return f"{match[1]}\n{overview(found)}\n\n{match[3]}" if found else match[0]

    return _VERDICTS.sub(verdicts, _BLOCK.sub(block, text))


def studies_in(text: str) -> set[tuple[str, str]]:
    """(recipe, study) of every table of a page."""
    found = (match for match in _BLOCK.finditer(text) if match["what"] == "study")
    return {(match["recipe"], match["study"]) for match in found}


def measured(folder: Path) -> Iterator[tuple[str, str]]:
    """(recipe, study) of every CSV file of a folder, sorted."""
    for path in sorted(folder.glob("*/*.csv")):
        yield path.parent.name, path.stem


def rewrite(folder: Path, pages: list[Path]) -> list[Path]:
    """Makes all figures, beside the CSV files, and the tables of the pages anew.

    Returns:
        What was written: figures, and those pages that changed.

    Raises:
        ValueError: a folder or page that is not there, or as `table`.
    """
    for path in (folder, *pages):
        if not path.exists():
            raise ValueError(f"--results={folder} --pages: there is no {path}.")
    written = []
    for recipe, name in measured(folder):
        if made := table(folder, recipe, name):
            written.append(folder / recipe / f"{name}.png")
            chart.write(made, written[-1])
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if (new := updated(text, folder)) != text:
            with atomic_write(page) as temporary:
                temporary.write_text(new, encoding="utf-8")
            written.append(page)
    return written
