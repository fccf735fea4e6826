"""The report, made from a work directory whose numbers are written here by hand."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisy_student import report, summary

DIGITS = [str(digit) for digit in range(10)]


def write(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def digit_png(seed: int) -> str:
    """A picture of 32x32 pixels as base64, so that the page can be looked at."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (8, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def training(role: str, steps: int, labeled: int, unlabeled: int, accuracy: float, **other) -> dict:
    """A training log with a loss that falls and an accuracy that rises to `accuracy`."""
    history = []
    for step in range(50, steps + 1, 50):
        share = step / steps
        row = {
            "step": step,
            "loss": 0.4 + 1.9 * (1 - share) ** 2,
            "labeled_loss": 0.3 + 1.2 * (1 - share) ** 2 + 0.04 * np.sin(step),
            "unlabeled_loss": (0.45 + 0.8 * (1 - share) ** 2) if unlabeled else 0.0,
            "l2_loss": 0.0,
            "learning_rate": 0.003 * (1 + np.cos(np.pi * share)) / 2,
            "seconds": step / 10,
        }
        if step % 200 == 0 or step + 50 > steps:
            row["validation_top1"] = accuracy - 45 * (1 - share) ** 2
        history.append(row)
    return {
        "role": role, "model_name": "efficientnet-b0", "parameters": 500_000, "image_size": 32,
        "num_steps": steps, "images_seen": steps * (labeled + unlabeled),
        "labeled_batch_size": labeled, "unlabeled_batch_size": unlabeled, "seconds": steps / 10,
        "final_loss": history[-1]["loss"], "validation_top1": accuracy, "width": 0.5, "depth": 0.5,
        "history": history, **other,
    }  # fmt: skip


def selection(names: list[str], right: float) -> dict:
    """3400 predictions, of which 3100 are kept and 3600 written."""
    all_counts = [0, 0, 10, 40, 60, 70, 90, 130, 300, 2700]
    accuracy = [None, None, 0.3, 0.4, 0.45, 0.55, 0.7, 0.75, 0.9, right]
    bins = zip(all_counts, accuracy, strict=True)
    before = [340 + 12 * (-1) ** i * (i % 5) for i in range(len(names))]
    return {
        "num_records": 3400, "num_kept": 3100, "num_written": 3600, "num_duplicates": 500,
        "min_confidence": 0.6, "images_per_class": 360,
        "per_class": {
            "names": names, "before": before, "above_threshold": before, "distinct": before,
            "after": [360] * len(names), "accuracy": [right] * len(names),
        },
        "confidence_histogram": {
            "edges": [i / 10 for i in range(11)], "all": all_counts,
            "kept": [0] * 6 + [90, 130, 300, 2580],
        },
        "accuracy_all": right - 0.04, "accuracy_kept": right - 0.02, "accuracy_written": right,
        "empty_classes": [],
        "reliability": [
            {"low": i / 10, "high": (i + 1) / 10, "count": count, "accuracy": right,
             "confidence": i / 10 + 0.06}
            for i, (count, right) in enumerate(bins) if count
        ],
    }  # fmt: skip


def make_workdir(folder: Path, names: list[str] = DIGITS, png=digit_png) -> Path:
    """A finished run: 90.0 -> 92.5 -> 93.6, controls 89.5 and 94.0."""
    config = {
        "command": "bash run.sh mnist5k --seed=1", "seed": 1, "dataset": "mnist5k",
        "flags": {"rounds": 2, "seed": 1, "student_width": ["0.5", "0.75"], "data_dir": None},
        "versions": {"python": "3.11.7", "tensorflow": "2.21.0", "keras": "3.15.1"},
        "class_names": names, "device": "2 CPU cores",
        "split_sizes": {"labeled": 100, "validation": 500, "unlabeled": 3400, "test": 1000},
    }  # fmt: skip
    write(folder / "config.json", config)
    wide = {"width": 0.75, "parameters": 1_100_000}
    models = {
        "round0/teacher": (90.0, training("teacher", 1300, 48, 0, 90.4)),
        "round1/student": (92.5, training("student", 800, 16, 64, 92.6)),
        "round2/student": (93.6, training("student", 800, 16, 64, 94.2, **wide)),
        "control_student": (89.5, training("control", 1300, 48, 0, 89.0, **wide)),
        "control_chain": (94.0, training("control", 4000, 48, 0, 93.8, **wide)),
    }
    for number, (place, (top1, log)) in enumerate(models.items()):
        name = place.replace("/", "_")
        write(folder / place / "train.json", log)
        clean = {"benchmark": "clean", "model": name, "num_examples": 1000, "top1": top1}
        write(folder / f"evaluation/{name}/clean.json", clean | {"top5": 99.4, "seconds": 1.5})
        sweep = [top1 - (4 + 0.4 * (5 - number)) * size for size in (0, 1, 2, 4, 8, 16)]
        fgsm = {"benchmark": "fgsm", "epsilons": [0, 1, 2, 4, 8, 16], "num_examples": 1000}
        fgsm |= {"top1": [max(3.0, top1) for top1 in sweep], "seconds": 4.25}
        write(folder / f"evaluation/{name}/fgsm.json", fgsm)
    for number, right in ((1, 0.97), (2, 0.985)):
        for stage in ("pseudo_labels", "selected"):
            write(folder / f"round{number}/{stage}/done.json", {"seconds": 2.0})
        write(folder / f"round{number}/selected/selection.json", selection(names, right))
    changes = [
        {"id": f"mnist5k/{i:05d}", "kind": "broken" if i >= 12 else "fixed", "true": names[i % 10],
         "before": names[(i + 1) % 10 if i < 12 else i % 10], "before_confidence": 0.5,
         "after": names[(i + 3) % 10 if i >= 12 else i % 10], "after_confidence": 0.97,
         "png_base64": png(i)}
        for i in range(16)
    ]  # fmt: skip
    gallery = {"before": "round0_teacher", "after": "round2_student", "images": changes}
    write(folder / "evaluation/gallery.json", gallery | {"count_fixed": 52, "count_broken": 16})
    noise = {
        "clean": [png(i) for i in range(6)],
        "noisy": [[png(100 * i + view) for view in range(1, 6)] for i in range(6)],
    }
    write(folder / "evaluation/noise.json", noise)
    return folder


@pytest.fixture
def workdir(tmp_path) -> Path:
    return make_workdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A complete run with its report; not to be changed."""
    folder = make_workdir(tmp_path_factory.mktemp("run"))
    report.run(folder)
    return folder


def results_of(workdir: Path) -> dict:
    return json.loads((workdir / "report/results.json").read_text())


def page_of(workdir: Path) -> str:
    return (workdir / "report/report.html").read_text(encoding="utf-8")


def test_accuracies_with_intervals_computed_by_hand(finished):
    models = results_of(finished)["figures"]["models"]
    assert [model["label"] for model in models] == [
        "Teacher",
        "Student 1",
        "Student 2",
        "Control, equal images",
        "Control, whole chain",
    ]
    teacher = models[0]
    assert (teacher["top1"], teacher["top5"], teacher["validation_top1"]) == (90.0, 99.4, 90.4)
    assert (teacher["parameters"], teacher["images_seen"]) == (500_000, 62_400)
    assert teacher["standard_error"] == 0.9487  # sqrt(90 * 10 / 1000)
    # z = 1.96, n = 1000: center (0.9 + z^2/2n) / (1 + z^2/n) = 0.89847, half width 0.01862
    assert teacher["top1_interval"] == pytest.approx([87.985, 91.709], abs=0.001)


def test_interval_stays_within_0_and_100():
    assert summary.interval(100.0, 10) == pytest.approx((72.25, 100.0), abs=0.01)  # 1/(1 + z^2/n)
    assert summary.interval(0.0, 10) == pytest.approx((0.0, 27.75), abs=0.01)


def test_gain_is_paired_by_the_images_that_changed(finished):
    gain = results_of(finished)["figures"]["gain"]
    assert (gain["before"], gain["after"]) == ("round0_teacher", "round2_student")
    assert gain["points"] == 3.6
    # 100 / 1000 * sqrt(52 + 16 - (52 - 16)^2 / 1000) = 0.1 * sqrt(66.704)
    assert gain["paired"] and gain["standard_error"] == 0.8167
    assert gain["interval"] == pytest.approx([3.6 - 1.6008, 3.6 + 1.6008], abs=0.0002)


def test_gain_is_unpaired_without_counts_of_these_two_models(workdir):
    (workdir / "evaluation/gallery.json").unlink()
    gain = report.run(workdir)["figures"]["gain"]
    # sqrt(90 * 10 / 1000 + 93.6 * 6.4 / 1000)
    assert not gain["paired"] and gain["standard_error"] == 1.2244


def test_student_is_compared_with_every_control(finished):
    equal, chain = results_of(finished)["figures"]["over_controls"]
    assert (equal["before"], equal["points"]) == ("control_student", 4.1)
    assert equal["standard_error"] == 1.2405  # sqrt(89.5 * 10.5 / 1000 + 93.6 * 6.4 / 1000)
    assert (chain["before"], chain["points"]) == ("control_chain", -0.4)
    assert "ahead (equal images), level within the interval (whole chain)" in page_of(finished)


def test_missing_control_is_admitted(workdir):
    for name in ("control_student", "control_chain"):
        shutil.rmtree(workdir / name)
        shutil.rmtree(workdir / "evaluation" / name)
    assert report.run(workdir)["figures"]["missing"] == []
    assert "No supervised control was run" in page_of(workdir)


def test_calibration_error_computed_by_hand(workdir):
    path = workdir / "round1/selected/selection.json"
    content = json.loads(path.read_text())
    content["reliability"] = [
        {"low": 0.0, "high": 0.5, "count": 100, "accuracy": 0.6, "confidence": 0.4},
        {"low": 0.5, "high": 1.0, "count": 300, "accuracy": 0.7, "confidence": 0.8},
    ]
    write(path, content)
    first, second = report.run(workdir)["figures"]["pseudo_labels"]
    assert first["calibration_error"] == 0.125  # (100 * 0.2 + 300 * 0.1) / 400
    assert (first["round"], first["num_written"], second["round"]) == (1, 3600, 2)


def test_unknown_truth_leaves_the_reliability_out(workdir):
    for number in (1, 2):
        path = workdir / f"round{number}/selected/selection.json"
        unknown = {"accuracy_all": None, "accuracy_kept": None, "accuracy_written": None}
        write(path, json.loads(path.read_text()) | unknown | {"reliability": []})
    results = report.run(workdir)
    assert results["figures"]["pseudo_labels"][0]["calibration_error"] is None
    assert "Accuracy by confidence" not in page_of(workdir)


@pytest.mark.parametrize(
    ("points", "interval", "expected"),
    [
        (3.6, (2.0, 5.2), "The student beats its teacher by 3.6 points"),
        (0.5, (-0.4, 1.4), "The student is 0.5 points ahead, within the error of the test"),
        (0.0, (-0.9, 0.9), "The student does not beat its teacher"),
        (-0.5, (-1.4, 0.4), "The student does not beat its teacher"),
        (-2.0, (-3.0, -1.0), "The student falls 2.0 points behind its teacher"),
    ],
)
def test_headline_claims_no_more_than_the_interval(points, interval, expected):
    assert summary.headline({"gain": {"points": points, "interval": interval}}) == expected


def test_seconds_are_listed_in_the_order_of_the_method(finished):
    results = report.run(finished)
    seconds = results["provenance"]["seconds"]
    assert list(seconds)[:7] == [
        "train round0_teacher",
        "label round1",
        "select round1",
        "train round1_student",
        "label round2",
        "select round2",
        "train round2_student",
    ]
    assert seconds["train round0_teacher"] == 130.0
    assert seconds["evaluate round2_student fgsm"] == 4.25


def test_figures_do_not_depend_on_how_long_it_took(tmp_path):
    first, second = make_workdir(tmp_path / "a"), make_workdir(tmp_path / "b")
    for path in [*second.glob("round*/*/train.json"), *second.glob("evaluation/*/clean.json")]:
        write(path, json.loads(path.read_text()) | {"seconds": 1234.5})
    results = report.run(first), report.run(second)
    assert results[0]["figures"] == results[1]["figures"]
    assert results[0]["provenance"]["seconds"] != results[1]["provenance"]["seconds"]
    stored = json.loads((first / "report/results.json").read_text())
    assert stored == json.loads(json.dumps(results[0]))


def test_page_is_the_same_when_made_again(workdir):
    report.run(workdir)
    first = page_of(workdir)
    report.run(workdir)
    assert page_of(workdir) == first


FILES = [
    "config.json",
    "round0/teacher/train.json",
    "round2/student/train.json",
    "round1/selected/selection.json",
    "evaluation/round0_teacher/clean.json",
    "evaluation/round2_student/clean.json",
    "evaluation/round1_student/fgsm.json",
    "evaluation/control_chain/clean.json",
    "evaluation/gallery.json",
    "evaluation/noise.json",
]


@pytest.mark.parametrize("path", FILES)
def test_a_missing_file_is_named_and_the_rest_shown(workdir, path):
    (workdir / path).unlink()
    results = report.run(workdir)
    assert results["figures"]["missing"] == [path]
    assert f"<code>{path}</code>" in page_of(workdir)
    assert path in report.table(results)
    assert "Student 1" in page_of(workdir)


def test_a_run_that_has_just_begun(tmp_path):
    results = report.run(tmp_path)
    assert results["figures"]["models"] == [] and results["figures"]["gain"] is None
    assert "round0/teacher/train.json" in results["figures"]["missing"]
    assert page_of(tmp_path).count("Not in this run") == 7


def test_rounds_that_are_still_to_come_are_missing(workdir):
    shutil.rmtree(workdir / "round2")
    assert "round2/student/train.json" in report.run(workdir)["figures"]["missing"]


def test_damaged_file_and_wrong_directory_are_refused(workdir):
    path = workdir / "round1/student/train.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        report.run(workdir)
    with pytest.raises(ValueError, match="nowhere is not a directory"):
        report.run(workdir / "nowhere")


def test_table_for_the_terminal(finished):
    lines = report.table(results_of(finished)).splitlines()
    assert lines[0].split() == (
        "model top-1 95% interval top-5 validation parameters images s".split()
    )
    assert lines[2].split() == "Teacher 90.0 88.0 to 91.7 99.4 90.4 500,000 62,400 130".split()
    assert lines[8] == (
        "Teacher 90.0% -> Student 2 93.6%: +3.6 points (95% interval +2.0 to +5.2)."
    )


def test_markdown_page(finished):
    text = (finished / "report/results.md").read_text(encoding="utf-8")
    assert text.startswith("# The student beats its teacher by 3.6 points\n")
    assert "| Student 2 | 93.6 | 91.9 to 95.0 | 99.4 | 94.2 | 1,100,000 | 64,000 | 80 |" in text
    assert "| Student 2 | 93.6 | 88.4 | 83.2 | 72.8 | 52.0 | 10.4 |" in text
    assert "| 1 | 3,400 | 93.0% | 3,100 | 95.0% | 3,600 | 97.0% | 0.014 |" in text
    assert "    bash run.sh mnist5k --seed=1\n" in text


class Balance(HTMLParser):
    """Collects tags that are opened and not closed, and every address."""

    VOID = {"meta", "img", "br", "path", "use"}

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attributes):
        names = ("src", "href", "xlink:href", "srcset", "data", "action")
        self.addresses += [value for name, value in attributes if name in names]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_page_is_well_formed_and_loads_nothing(finished):
    html = page_of(finished)
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in parser.addresses)
    assert not re.search(r"https?:|@import|<script|<link|<iframe", html)
    assert not [url for url in re.findall(r"url\(([^)]*)", html) if not url.startswith("#")]
    assert html.count("<svg") == 1 + 4 + 2 * 3 + 1
    assert html.count("<img") == 16 + 6 * 6


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
    assert "the 1000 classes" in html
    assert 'class="tiles photos"' in html and 'class="tiles"' not in html


def test_empty_classes_are_named(workdir):
    path = workdir / "round2/selected/selection.json"
    write(path, json.loads(path.read_text()) | {"empty_classes": ["7", "<9>"]})
    report.run(workdir)
    assert "Classes without any pseudo label: 7, &lt;9&gt;." in page_of(workdir)


def test_command(workdir):
    command = [sys.executable, "-m", "noisy_student.report", f"--workdir={workdir}"]
    root = Path(report.__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"report: {workdir}/report/report.html\n")
    assert "Student 2" in done.stdout
