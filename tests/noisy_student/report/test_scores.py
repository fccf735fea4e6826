"""Scores of models as columns and as CSV."""

import csv
import io

import pytest

from noisy_student.report import inputs, results, scores, text
from tests.helpers.run_folder import make_workdir
from tests.helpers.run_robustness import add_own_robustness, add_published_robustness, evaluate


@pytest.fixture(scope="module")
def figures(tmp_path_factory) -> dict:
    folder = make_workdir(tmp_path_factory.mktemp("run"))
    add_own_robustness(folder)
    add_published_robustness(folder)
    return results.build(inputs.read(folder))["figures"]


def test_csv_holds_every_setting_of_every_model(figures):
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(text.to_csv(figures)))}
    assert list(rows)[:3] == ["round0_teacher", "round1_student", "round2_student"]
    student = rows["round2_student"]
    # row 9 of the corruptions, severity 3: 0.8 * (0.05 + 0.09 + 0.16 + 0.03)
    assert float(student["corruptions.error.fog.3"]) == pytest.approx(26.4)
    assert float(student["corruptions.relative_to_teacher"]) == 80
    assert float(student["perturbations.relative_to_teacher"]) == 64
    assert float(student["perturbations.flip_probability.spatter"]) == pytest.approx(2.56)
    assert float(student["perturbations.top5_distance.spatter"]) == pytest.approx(0.512)
    # 20 * 0.64 * the mean of 0.02 + 0.005 * row over rows 0 to 9
    assert float(student["perturbations.mean_top5_distance"]) == pytest.approx(0.544)
    assert float(student["imagenet_c.mce"]) == 48
    assert float(student["imagenet_c.relative_mce"]) == 60
    assert float(student["imagenet_a.top1"]) == 44
    assert float(student["pgd.top1.8"]) == pytest.approx(38.8)
    assert student["clean.top1"] == "93.6"
    assert len([key for key in student if key.startswith("corruptions.error.")]) == 75


def test_csv_leaves_empty_what_a_model_has_not(tmp_path):
    folder = make_workdir(tmp_path)
    evaluate(
        folder,
        "imagenet_a",
        "round2_student",
        num_examples=10,
        num_classes=200,
        top1=40.0,
        top1_all_classes=30.0,
    )
    written = text.to_csv(results.build(inputs.read(folder))["figures"])
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(written))}
    assert rows["round2_student"]["imagenet_a.top1"] == "40"
    assert rows["round0_teacher"]["imagenet_a.top1"] == ""


def test_absent_classes_are_noted_below_the_table(tmp_path):
    folder = make_workdir(tmp_path)
    found = {"num_examples": 10, "top1": 40.0, "top5": 70.0, "top1_all_classes": 30.0}
    for name, present in (("imagenet_a", 50), ("imagenet_r", 200)):
        counts = {"num_classes": present, "num_published_classes": 200}
        evaluate(folder, name, "round2_student", **found, **counts)
    figures = results.build(inputs.read(folder))["figures"]
    table, columns = scores.published_scores(figures)
    at = 1 + [column.key for column in columns].index("imagenet_a.top5")
    assert (table.headers[at], table.rows[0][at]) == ("top-5", "70.0")
    notes = " ".join(scores.column_notes(figures, columns))
    assert "50 of 200" in notes and "200 of 200" not in notes


def test_a_remake_of_imagenet_c_has_a_column_of_its_own(tmp_path):
    folder = make_workdir(tmp_path)
    found = {"num_examples": 10, "errors": {"fog": {"1": 0.5}}, "mean_error": 50.0}
    name = "imagenet2012_corrupted"
    evaluate(folder, name, "round2_student", **found, missing=[], relative_to_alexnet=61.0)
    figures = results.build(inputs.read(folder))["figures"]
    table, columns = scores.published_scores(figures)
    assert [row[0] for row in table.rows] == ["Student 2"]  # the paper has no such column
    at = [column.key for column in columns].index(f"{name}.relative_to_alexnet")
    assert table.rows[0][1 + at] == "61.0"
    assert "imagenet_c.mce" not in {column.key for column in columns}


def test_made_and_stored_data_share_no_column(figures):
    rows = scores.model_numbers(figures)
    keys = {key for row in [*rows.values(), *scores.PAPER.values()] for key in row}
    own = {column.key for column in scores.own_columns(keys)}
    published = {column.key for column in scores.published_columns(keys)}
    assert not own & published
    stored = ("imagenet", "cifar10")
    assert not [key for key in own if key.startswith(stored)]
    assert all(key.startswith(stored) for key in published)
    assert {"corruptions.mean_error", "perturbations.relative_to_teacher"} <= own
    assert "perturbations.mean_top5_distance" in own
    assert {
        "imagenet_c.mce",
        "imagenet_c.relative_mce",
        "cifar10_c.relative_to_teacher",
    } <= published


def test_columns_only_of_what_is_there():
    keys = ["clean.top1", "fgsm.top1.0", "fgsm.top1.16", "fgsm.top1.2", "fgsm.top1.0.5"]
    columns = scores.own_columns(keys)
    assert [(column.group, column.header) for column in columns] == [
        ("Clean images", "top-1"),
        ("FGSM", "top-1 at 16"),
    ]
    assert scores.published_columns(keys) == []


def test_the_papers_rows_stand_below_the_models(figures):
    table, _ = scores.published_scores(figures)
    rows = {row[0]: row for row in table.rows}
    at = table.headers.index("mCE")
    assert rows["EfficientNet-L2, Noisy Student (paper)"][at] == "28.3"
    assert rows["Student 2"][at] == "48.0"
    columns = zip(*(row[1:] for row in list(rows.values())[:5]), strict=True)
    assert not [column for column in columns if set(column) == {"-"}]


def test_cifar_has_no_rows_of_the_paper(tmp_path):
    folder = make_workdir(tmp_path)
    flips = {"flip_probability": {"snow": 0.1}, "mean_flip_probability": 10.0}
    evaluate(folder, "cifar10_p", "round2_student", num_examples=10, missing=[], **flips)
    table, _ = scores.published_scores(results.build(inputs.read(folder))["figures"])
    assert [row[0] for row in table.rows] == ["Student 2"]
