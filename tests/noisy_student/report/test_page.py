"""The report as a page: complete in itself, well formed, and safe for any class name."""

import base64
import io
import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisy_student import report
from tests.helpers.marks import slow_param
from tests.helpers.run_folder import DIGITS, Balance, make_workdir, page_of, write
from tests.helpers.run_robustness import add_own_robustness, add_published_robustness


@pytest.fixture
def workdir(tmp_path) -> Path:
    return make_workdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A complete run with its report; not to be changed."""
    folder = make_workdir(tmp_path_factory.mktemp("run"))
    report.run(folder)
    return folder


@pytest.mark.slow
def test_page_is_the_same_when_made_again(workdir):
    report.run(workdir)
    first = page_of(workdir)
    report.run(workdir)
    assert page_of(workdir) == first


def test_page_is_well_formed_and_loads_nothing(finished):
    html = page_of(finished)
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in parser.addresses)
    assert not re.search(r"https?:|@import|<script|<link|<iframe", html)
    assert not [url for url in re.findall(r"url\(([^)]*)", html) if not url.startswith("#")]
    assert html.count("<svg") == 1 + 4 + 2 * 3 + 1
    assert html.count("<img") == 16 + 16 + 6 * 6


def test_every_picture_has_an_alternative_text(finished):
    html = page_of(finished)
    charts = re.findall(r'<div role="img" aria-label="([^"]+)"><svg', html)
    assert len(charts) == html.count("<svg") and all(len(text) > 20 for text in charts)
    assert len(re.findall(r'<img[^>]* alt="[^"]+"', html)) == html.count("<img")


def test_references_inside_the_page_lead_somewhere(finished):
    html = page_of(finished)
    wanted = set(re.findall(r'(?:href="|url\()#([^")]+)', html))
    assert wanted and wanted <= set(re.findall(r'\bid="([^"]+)"', html))


def test_class_names_are_text_wherever_they_stand(tmp_path):
    names = ["<script>alert(1)</script>", 'a"b', "R&D", "$x_1$", "猫", *DIGITS[5:]]
    report.run(make_workdir(tmp_path, names))
    html = page_of(tmp_path)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "R&amp;D" in html and "R&D" not in html
    assert "$x_1$" in html and "猫" in html
    Balance().feed(html)


def test_many_classes_and_large_pictures(tmp_path):
    names = [f"class {number}" for number in range(1000)]

    def photo(seed: int) -> str:
        buffer = io.BytesIO()
        Image.new("RGB", (224, 224), (seed % 256, 90, 120)).save(buffer, "png")
        return base64.b64encode(buffer.getvalue()).decode()

    report.run(make_workdir(tmp_path, names, photo))
    html = page_of(tmp_path)
    assert "1000 classes, largest first" in html
    assert 'class="tiles photos"' in html and 'class="tiles"' not in html


def test_sample_sheets_are_those_of_the_last_round(workdir):
    report.run(workdir)
    section = page_of(workdir).split('<section id="samples">')[1].split("<section")[0]
    assert section.count("<figure") == 16 and section.count("2 times") == 16
    assert section.count("Most confident, dropped") == 2
    assert section.count('<span class="wrong">') == 12  # of four images one is of its class


def section(html: str, name: str) -> str:
    return html.split(f'<section id="{name}">')[1].split("<section")[0]


def test_confusion_matrix_and_accuracy_by_class(finished):
    shown = section(page_of(finished), "classes")
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', shown, re.DOTALL)
    cells = [(name, re.findall(r"<td[^>]*>([^<]*)</td>", row)) for name, row in rows]
    # of the class 3, images 53, 63, ..., 113 are wrong, and taken for 3 + 1 + 3 % 3
    assert cells[3] == ("3", ["100", "90.0", "93.0", "4 (7)"])
    assert cells[13] == ("3", ["·", "·", "·", "93", "7", "·", "·", "·", "·", "·"])
    assert "Student 2</h3>" in shown and "tall" not in shown


def test_a_run_without_counts_by_class_has_no_such_section(workdir):
    for path in workdir.glob("evaluation/*/clean.json"):
        content = json.loads(path.read_text())
        content.pop("by_class", None)
        write(path, content)
    report.run(workdir)
    assert 'id="classes"' not in page_of(workdir)
    assert "Accuracy by class" not in (workdir / "report/results.md").read_text()


def test_papers_numbers_stand_in_reports_on_its_data_sets_alone(workdir):
    settings = json.loads((workdir / "config.json").read_text())
    for changes, papers in (
        ({}, []),
        ({"dataset": "tfds:svhn_cropped"}, ["SVHN top-1, EfficientNet-B0"]),
        ({"dataset": "tfds:imagenet2012"}, ["ImageNet top-1"]),
        ({"dataset": "records", "class_names": ["n01440764", "n01443537"]}, ["ImageNet top-1"]),
    ):
        write(workdir / "config.json", settings | changes)
        report.run(workdir)
        html = page_of(workdir)
        assert ('<section id="paper">' in html) == bool(papers), changes
        assert all(f">{name}</th>" in html for name in papers), changes


def test_labels_that_are_not_known_are_not_spoken_of(workdir):
    report.run(workdir)
    assert "true labels that training never sees" in page_of(workdir)
    assert "its true class</b> if it" in page_of(workdir)
    unknown = {"accuracy_all": None, "accuracy_kept": None, "accuracy_written": None}
    for number in (1, 2):
        path = workdir / f"round{number}/selected/selection.json"
        write(path, json.loads(path.read_text()) | unknown | {"reliability": []})
    path = workdir / "round2/selected/samples.json"
    samples = json.loads(path.read_text())
    for sheet in samples["sheets"]:
        for image in sheet["images"]:
            image["true"] = None
    write(path, samples)
    report.run(workdir)
    html = page_of(workdir)
    assert "true labels" not in html and "true class" not in section(html, "samples")
    labels = section(html, "pseudo_labels")
    assert "<td>-</td>" not in labels and ">Accuracy<" not in labels


def test_provenance_shows_flags_that_differ_from_the_defaults(workdir):
    settings = json.loads((workdir / "config.json").read_text())
    settings["flags"] |= {"magnitude": 5.5, "num_layers": 2, "benchmarks": ["clean", "fgsm"]}
    write(workdir / "config.json", settings)
    report.run(workdir)
    shown = section(page_of(workdir), "provenance")
    flags = re.findall(r"^(?:<pre><code>)?(--\w+=[^<\n]*)", shown.split("<details>")[-1], re.M)
    flags += re.findall(r"<code>(--\w+=[^<\n]*)", shown.split("<details>")[-1])
    assert {"--magnitude=5.5", "--student_width=0.5,0.75"} <= set(flags)
    assert not [flag for flag in flags if flag.startswith(("--num_layers", "--benchmarks"))]


def test_empty_classes_are_named(workdir):
    path = workdir / "round2/selected/selection.json"
    write(path, json.loads(path.read_text()) | {"empty_classes": ["7", "<9>"]})
    report.run(workdir)
    assert "7, &lt;9&gt;." in page_of(workdir)


def test_a_noised_teacher_is_pointed_out(workdir):
    report.run(workdir)
    assert "Noised teacher" not in page_of(workdir)
    path = workdir / "round2/selected/selection.json"
    write(path, json.loads(path.read_text()) | {"noised_labels": True})
    report.run(workdir)
    assert "Noised teacher (round 2)" in page_of(workdir)
    assert "Noised teacher (round 2)" in (workdir / "report/results.md").read_text()


@pytest.fixture(scope="module")
def robust(tmp_path_factory) -> Path:
    """A run with every robustness benchmark; not to be changed."""
    folder = make_workdir(tmp_path_factory.mktemp("robust"))
    add_own_robustness(folder)
    add_published_robustness(folder)
    report.run(folder)
    return folder


def headings(html: str) -> list[str]:
    return [unescape(text) for text in re.findall(r"<h[23]>([^<]*)", html)]


def assert_nothing_is_empty(html: str) -> None:
    """Every heading has something under it, and the page is well formed."""
    assert not re.search(
        r"</h3>\s*(</section>|<h[23])|</h2>\s*</section>|<td></td>\s*<td></td>", html
    )
    parser = Balance()
    parser.feed(html)
    assert parser.open == []


def test_robustness_is_shown_by_benchmark(robust):
    html = page_of(robust)
    assert_nothing_is_empty(html)
    section = html[html.index('<section id="robustness">') :]
    section = section[: section.index('<section id="changes">')]
    assert headings(section) == [
        "Robustness",
        "On this run's test images",
        "On published benchmarks",
        "Corrupted test images",
        "ImageNet-C",
        "CIFAR-10-C",
        "Perturbed test images",
        "ImageNet-P",
        "CIFAR-10-P",
        "FGSM",
        "PGD",
        "Examples of robustness",
        "Corrupted images",
        "Frames of perturbation sequences",
    ]
    assert "on 7 of 9 benchmarks" in section
    assert ": frost, snow." in section and ": tilt." in section
    assert "10 steps of size 2.5 epsilon / 10" in section
    # the older charts, then bars, 1 + families for three sets, bars for three, two attacks
    assert html.count("<svg") == 11 + (6 + 6 + 4) + 3 + 2


def test_robust_gallery_shows_truth_then_before_in_red_then_after(robust):
    html = page_of(robust)
    tile = html[html.index('<figure title="test/1, JPEG compression 5, label 1">') :]
    lines = re.findall(r"<(?:small|span)[^>]*>.*?</(?:small|span)>", tile)[:4]
    assert lines == [
        "<small>JPEG compression 5</small>",
        "<span><b>1</b></span>",
        '<span class="wrong">5</span>',
        "<span>1</span>",
    ]


BENCHMARKS = [
    "corruptions",
    "perturbations",
    "pgd",
    "imagenet_a",
    "imagenet_c",
    "imagenet_p",
    "cifar10_c",
    "cifar10_p",
    "fgsm",
    "clean",
]


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_any_benchmark_may_stand_alone(robust, tmp_path, benchmark):
    for path in robust.glob(f"evaluation/*/{benchmark}.json"):
        copy = tmp_path / path.relative_to(robust)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    report.run(tmp_path)
    html = page_of(tmp_path)
    assert_nothing_is_empty(html)
    assert ('<section id="robustness">' in html) == (benchmark != "clean")
    assert ("Student 2 is more robust" in html) == (
        benchmark not in ("clean", "pgd", "perturbations")
    )


@pytest.mark.parametrize("seed", [0, slow_param(1), slow_param(2)])
def test_any_benchmark_may_be_absent_for_any_model(robust, tmp_path, seed):
    files = sorted(robust.glob("evaluation/*/*.json"))
    kept = np.random.default_rng(seed).random(len(files)) < 0.4
    for path, keep in zip(files, kept, strict=True):
        if keep:
            copy = tmp_path / path.relative_to(robust)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
    report.run(tmp_path)
    assert_nothing_is_empty(page_of(tmp_path))


def test_unlike_settings_are_pointed_out(robust, tmp_path):
    for name, dropped in (("round0_teacher", []), ("round1_student", ["fog"])):
        path = f"evaluation/{name}/corruptions.json"
        content = json.loads((robust / path).read_text())
        errors = {key: value for key, value in content["errors"].items() if key not in dropped}
        write(tmp_path / path, content | {"errors": errors})
    report.run(tmp_path)
    html = page_of(tmp_path)
    assert "measured on different settings" in html
    assert "averaged over 70 settings" in html


def test_run_without_robustness_has_no_section_on_it(finished):
    html = page_of(finished)
    assert "Corrupted" not in html and '<section id="robust_gallery">' not in html
    assert "On the only robustness benchmark, Student 2 is more robust" in html
