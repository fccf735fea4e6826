"""Tables by setting and by epsilon."""

import pytest

from noisy_student.report import inputs, results, tables
from tests.helpers.run_folder import make_workdir
from tests.helpers.run_robustness import evaluate


def test_settings_that_a_model_has_not_are_left_open(tmp_path):
    folder = make_workdir(tmp_path)
    for model, errors in (
        ("round0_teacher", {"fog": {"1": 0.1, "2": 0.3}}),
        ("round2_student", {"snow": {"1": 0.2}, "fog": {"1": 0.1, "2": 0.2}}),
    ):
        evaluate(folder, "corruptions", model, num_examples=10, errors=errors, mean_error=20.0)
    figures = results.build(inputs.read(folder))["figures"]
    names, values = tables.setting_values(figures, "corruptions")
    assert names == ["snow", "fog"]
    assert values["round0_teacher"] == [None, pytest.approx(20)]
    assert values["round2_student"] == [pytest.approx(20), pytest.approx(15)]
    table = tables.settings(figures, "corruptions")
    assert table.rows == [["Snow", "-", "20.0"], ["Fog", "20.0", "15.0"]]


def test_epsilons_that_a_model_has_not_are_left_open():
    sweeps = {
        "a": {"epsilons": [0, 4], "top1": [90.0, 40.0]},
        "b": {"epsilons": [0, 2], "top1": [91.0, 60.0]},
    }
    sizes, accuracies = tables.epsilon_values({"fgsm": sweeps}, "fgsm")
    assert sizes == [0, 2, 4]
    assert accuracies == {"a": [90.0, None, 40.0], "b": [91.0, 60.0, None]}


def test_columns_without_any_value_are_left_out():
    rows = [["a", "-", "1", "-"], ["b", "-", "-", "2"]]
    table = tables.dense(tables.Table(["name", "x", "y", "z"], rows, ["", "g", "g", "h"]))
    assert table.headers == ["name", "y", "z"] and table.groups == ["", "g", "h"]
    assert table.rows == [["a", "1", "-"], ["b", "-", "2"]]


def test_the_worst_of_many_classes(tmp_path):
    names = [f"class {number}" for number in range(30)]
    folder = make_workdir(tmp_path, names)
    figures = results.build(inputs.read(folder))["figures"]
    table = tables.classes(figures)
    assert table.headers == ["class", "images", "Teacher", "Student 2", "most often mistaken for"]
    assert len(table.rows) == 10 and tables.confusion(figures) is None
    shares = [float(row[3]) for row in table.rows]
    student = figures["by_class"]["round2_student"]
    pairs = zip(student["num_correct"], student["num_examples"], strict=True)
    expected = sorted(round(100 * correct / count, 1) for correct, count in pairs)[:10]
    assert shares == expected


def test_seconds_of_compilation_stand_beside_those_of_their_stage():
    seconds = {"train round0_teacher": 208.0, "label round1": 12.0}
    assert tables.seconds({"seconds": seconds}).headers == ["stage", "seconds"]
    table = tables.seconds(
        {"seconds": seconds, "compile_seconds": {"train round0_teacher": 160.26}}
    )
    assert table.headers == ["stage", "seconds", "of which compilation"]
    assert table.rows == [
        ["train round0_teacher", "208.0", "160.3"],
        ["label round1", "12.0", "-"],
        ["total", "220.0", "160.3"],
    ]
