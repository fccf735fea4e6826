"""Writes the pages and charts of studies, and tables into Markdown pages with a marked place.

A results folder holds ``RECIPE/STUDY.csv``; page (``.md``) and chart (``.png``) of a study are
next to it. Other pages mark a generated table by one of three comments, and its end by a fourth:

    <!-- claims -->                             every headline of every study and recipe
    <!-- gains: RECIPE/STUDY RECIPE/STUDY -->   student, teacher and best supervised baseline
    <!-- recipes -->                            every recipe, from the heads of the flag files
    <!-- end -->
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from noisy_student.ablate import chart, family, recipe_heads, results, tables
from noisy_student.ablate.recipe import FOLDER
from noisy_student.ablate.spec import Study
from noisy_student.ablate.tables import Table
from noisy_student.artifacts.files import atomic_write

_BLOCK = re.compile(
    r"(<!-- (claims|power|recipes|gains: [^\n>]+) -->\n).*?(<!-- end -->)", re.DOTALL
)


def read_table(path: Path, studies: Mapping[str, Study]) -> Table:
    """Reads ``STUDY.csv``, and the supervised baselines of other studies that share them.

    Raises:
        ValueError: the study is unknown, or a file is missing or damaged.
    """
    if path.stem not in studies:
        raise ValueError(f"{path}: {path.stem} is not a study; studies: {', '.join(studies)}")
    if not path.exists():
        raise ValueError(f"{path} does not exist: run noisy_student.ablate --study={path.stem}")
    baselines = [
        row
        for study in studies.values()
        if study.shares_baselines and (beside := path.with_name(f"{study.name}.csv")).exists()
        for row in results.read(beside, study)
        if row.arm in study.baselines
    ]
    study = studies[path.stem]
    return Table(study, results.read(path, study), baselines)


def read_tables(folder: Path, studies: Mapping[str, Study]) -> dict[tuple[str, str], Table]:
    """Returns (recipe, study) -> results of all files, recipes with the most studies first."""
    recipes = [path for path in folder.iterdir() if path.is_dir()]
    recipes.sort(key=lambda path: (-len(list(path.glob("*.csv"))), path.name))
    return {
        (recipe.name, path.stem): read_table(path, studies)
        for recipe in recipes
        for path in sorted(recipe.glob("*.csv"))
    }


def updated(page: Path, folder: Path, studies: Mapping[str, Study]) -> str:
    """Returns the text of a page with its marked tables generated from a results folder."""

    def block(match: re.Match[str]) -> str:
        kind, _, names = match[2].partition(": ")
        if kind == "claims":
            link = folder.resolve().relative_to(page.parent.resolve()).as_posix()
            found = read_tables(folder, studies)
            table = tables.claims(list(studies.values()), found, link)
            table += f"\n\n{family.corrected(found.values())}"
        elif kind == "power":
            table = family.power(read_tables(folder, studies).values())
        elif kind == "recipes":
            table = recipe_heads.table(FOLDER)
        else:
            paths = [folder / f"{name}.csv" for name in names.split()]
            table = tables.gains([read_table(path, studies) for path in paths])
        return f"{match[1]}\n{table}\n\n{match[3]}"

    return _BLOCK.sub(block, page.read_text(encoding="utf-8"))


def write_study(table: Table, folder: Path) -> list[Path]:
    """Writes page and chart of a study as ``folder/STUDY.md`` and ``.png``; returns the paths."""
    page, picture = (folder / f"{table.study.name}.{suffix}" for suffix in ("md", "png"))
    chart.write(table, picture)
    write_text(page, tables.page(table, picture.name))
    return [page, picture]


def publish(folder: Path, pages: Sequence[Path], studies: Mapping[str, Study]) -> list[Path]:
    """Writes page and chart of every study of a results folder, and the tables of other pages.

    Returns:
        The files written; of `pages` only those that changed.

    Raises:
        ValueError: the folder or a page does not exist, or as `read_table`.
    """
    for path in (folder, *pages):
        if not path.exists():
            raise ValueError(f"--publish={folder} --pages: {path} does not exist")
    written = []
    for (recipe, _), table in read_tables(folder, studies).items():
        written += write_study(table, folder / recipe)
    for page in pages:
        text = updated(page, folder, studies)
        if text != page.read_text(encoding="utf-8"):
            write_text(page, text)
            written.append(page)
    return written


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
