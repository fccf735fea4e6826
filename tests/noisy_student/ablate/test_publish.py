"""Pages of studies and tables in other pages, and the repository's own."""

from pathlib import Path

import pytest

from noisy_student.ablate import publish, results, tables
from noisy_student.ablate.claims import STUDIES
from tests.helpers.study_rows import BASELINE, TOP1, study_rows

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "docs" / "results"


@pytest.fixture
def folder(tmp_path) -> Path:
    rows = study_rows("from_scratch_vs_init", TOP1)
    values = {"teacher": (1.0, 2.0, 3.0), "student 2": (2.0, 3.0, 4.0)}
    compute = study_rows("compute", values | {BASELINE: (91.0, 93.0, 95.0)})
    folder = tmp_path / "results" / "mnist5k"
    publish.write_text(folder / "from_scratch_vs_init.csv", results.to_csv(rows))
    publish.write_text(folder / "compute.csv", results.to_csv(compute))
    return tmp_path / "results"


PAGE = """# Page
<!-- claims -->
outdated
<!-- end -->
between
<!-- gains: mnist5k/compute -->
outdated
<!-- end -->
after
"""


def test_pages_and_charts_are_written(folder, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    written = publish.publish(folder, [page], STUDIES)
    assert sorted(str(path.relative_to(tmp_path)) for path in written) == [
        "page.md",
        *(f"results/mnist5k/{name}" for name in ("compute.md", "compute.png")),
        *(f"results/mnist5k/from_scratch_vs_init.{kind}" for kind in ("md", "png")),
    ]
    text = page.read_text()
    assert "outdated" not in text and "\nbetween\n" in text and text.endswith("\nafter\n")
    assert "](results/mnist5k/from_scratch_vs_init.md)" in text
    assert "| `mnist5k` | student 2 | 3.0 | 2.0 |" in text
    # The baseline of the study that shares them stands in the other's table.
    assert f"| *{BASELINE}* |" in (folder / "mnist5k/from_scratch_vs_init.md").read_text()
    assert "*teacher*" not in (folder / "mnist5k/from_scratch_vs_init.md").read_text()
    assert page not in publish.publish(folder, [page], STUDIES)  # nothing left to change


def test_what_does_not_exist_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r"other\.md"):
        publish.publish(folder, [tmp_path / "other.md"], STUDIES)
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("mnist5k/compute", "mnist5k/noise"))
    with pytest.raises(ValueError, match=r"mnist5k/noise\.csv"):
        publish.updated(page, folder, STUDIES)
    page.write_text(PAGE.replace("mnist5k/compute", "mnist5k/nose"))
    with pytest.raises(ValueError, match="nose is not a study; studies: noise, "):
        publish.updated(page, folder, STUDIES)


@pytest.mark.parametrize("name", ["README.md", "docs/RESULTS.md"])
def test_the_repositorys_pages_agree_with_its_results(name):
    """If not, run python -m noisy_student.ablate --publish=docs/results."""
    page = ROOT / name
    assert publish.updated(page, RESULTS, STUDIES) == page.read_text(encoding="utf-8")


def test_the_repositorys_study_pages_agree_with_its_results():
    """If not, run python -m noisy_student.ablate --publish=docs/results."""
    found = publish.read_tables(RESULTS, STUDIES)
    for (recipe, study), table in found.items():
        page = (RESULTS / recipe / f"{study}.md").read_text(encoding="utf-8")
        assert page == tables.page(table, f"{study}.png")
        assert (RESULTS / recipe / f"{study}.png").exists()
    assert len(found) == len(list(RESULTS.glob("*/*.md"))) == len(list(RESULTS.glob("*/*.png")))
