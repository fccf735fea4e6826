"""Reports on models that are of no run."""

import re

import pytest

from noisy_student import report
from noisy_student.report import inputs, results, side_by_side
from tests.helpers.run_folder import add_model, page_of
from tests.helpers.run_robustness import corruption_errors, evaluate, mean_percent


@pytest.fixture
def workdir(tmp_path):
    """Three models; the last by alphabet is the worst."""
    for name, count in (("Big", 100), ("mid", 150), ("small", 300)):
        add_model(tmp_path, name, name, range(count))
    return tmp_path


def figures_of(workdir):
    return results.build(inputs.read(workdir))["figures"]


def test_the_best_model_is_compared_with_all_others(workdir):
    compared = figures_of(workdir)["side_by_side"]
    assert (compared["num_models"], compared["num_examples"]) == (3, 1000)
    found = [(each["before"], each["after"], each["points"]) for each in compared["differences"]]
    assert found == [("mid", "Big", 5.0), ("small", "Big", 20.0)]
    assert all(each["paired"] and each["interval"][0] > 0 for each in compared["differences"])


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ([range(100), range(150)], "a is best, 5.0 points ahead of b"),
        ([range(100), range(50, 152)], "a is 0.2 points ahead of b, but not significantly"),
        ([range(100), range(100)], "a and b are equally accurate"),
        ([range(100)], "a: 90.0% top-1"),
    ],
)
def test_headline(tmp_path, wrong, expected):
    for name, images in zip("ab", wrong, strict=False):
        add_model(tmp_path, name, name, images)
    assert side_by_side.headline(figures_of(tmp_path)) == expected


def test_title(workdir):
    assert side_by_side.title(figures_of(workdir)["side_by_side"]) == (
        "Comparison of 3 models on 1,000 images"
    )
    add_model(workdir, "other", "other", range(10), num_examples=500)
    assert side_by_side.title(figures_of(workdir)["side_by_side"]) == "Comparison of 4 models"


def test_page_has_no_holes_and_no_words_of_the_method(workdir):
    for name, share in (("Big", 0.7), ("mid", 1.0)):
        errors = corruption_errors(share)
        size = {"num_examples": 1000, "image_size": 32, "native_size": 32, "clean_error": 0.1}
        mean = mean_percent(errors)
        evaluate(workdir, "corruptions", name, **size, errors=errors, mean_error=mean)
    report.run(workdir)
    html = page_of(workdir)
    body = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    assert "<title>Comparison of 3 models on 1,000 images</title>" in body
    assert "<h1>Big is best, 5.0 points ahead of mid</h1>" in body
    assert "Not in this run" not in body
    assert not re.search("teacher|student|by round|Seconds:|Batch:|config.json", body, re.I)
    assert re.findall(r'<section id="(\w+)">', body) == [
        "accuracy",
        "classes",
        "robustness",
        "provenance",
    ]
    assert "Images by true and predicted class: Big</h3>" in body
    assert "Big is more robust than mid" in body


def test_written_markdown(workdir):
    report.run(workdir)
    lines = (workdir / "report/results.md").read_text().splitlines()
    assert lines[:3] == [
        "# Comparison of 3 models on 1,000 images",
        "",
        "**Big is best, 5.0 points ahead of mid**",
    ]
    assert "| class | images | mid | Big | most often mistaken for |" in lines
