"""A finished run whose numbers are written here by hand, for the tests of the report.

`tests.helpers.run_robustness` adds robustness, and makes one to look at.
"""

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from noisy_student.artifacts.files import read_json
from noisy_student.metrics import by_class, per_image

# Test images that the models get wrong: the last student 52 fewer, and 16 others.
WRONG = {"round0_teacher": range(100), "round2_student": range(52, 116)}
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
        "role": role,
        "round": 0,
        "model_name": "efficientnet-b0",
        "parameters": 500_000,
        "image_size": 32,
        "num_steps": steps,
        "images_seen": steps * (labeled + unlabeled),
        "labeled_batch_size": labeled,
        "unlabeled_batch_size": unlabeled,
        "seconds": steps / 10,
        "final_loss": history[-1]["loss"],
        "validation_top1": accuracy,
        "best_validation_top1": accuracy,
        "width": 0.5,
        "depth": 0.5,
        "history": history,
        **other,
    }


def selection(names: list[str], right: float) -> dict:
    """3400 predictions, of which 3100 are kept and 3600 written."""
    all_counts = [0, 0, 10, 40, 60, 70, 90, 130, 300, 2700]
    accuracy = [None, None, 0.3, 0.4, 0.45, 0.55, 0.7, 0.75, 0.9, right]
    bins = zip(all_counts, accuracy, strict=True)
    before = [340 + 12 * (-1) ** i * (i % 5) for i in range(len(names))]
    return {
        "num_records": 3400,
        "num_kept": 3100,
        "num_written": 3600,
        "num_duplicates": 500,
        "min_confidence": 0.6,
        "images_per_class": 360,
        "per_class": {
            "names": names,
            "before": before,
            "above_threshold": before,
            "distinct": before,
            "after": [360] * len(names),
            "accuracy": [right] * len(names),
        },
        "confidence_histogram": {
            "edges": [i / 10 for i in range(11)],
            "all": all_counts,
            "kept": [0] * 6 + [90, 130, 300, 2580],
        },
        "accuracy_all": right - 0.04,
        "accuracy_kept": right - 0.02,
        "accuracy_written": right,
        "empty_classes": [],
        "reliability": [
            {
                "low": i / 10,
                "high": (i + 1) / 10,
                "count": count,
                "accuracy": right,
                "confidence": i / 10 + 0.06,
            }
            for i, (count, right) in enumerate(bins)
            if count
        ],
    }


def make_workdir(folder: Path, names: list[str] = DIGITS, png=digit_png) -> Path:
    """A finished run: 90.0 -> 92.5 -> 93.6, controls 89.5 and 94.0."""
    config = {
        "command": "bash run.sh mnist5k --seed=1",
        "seed": 1,
        "dataset": "mnist5k",
        "flags": {"rounds": 2, "seed": 1, "student_width": ["0.5", "0.75"], "data_dir": None},
        "versions": {"python": "3.11.7", "tensorflow": "2.21.0", "keras": "3.15.1"},
        "class_names": names,
        "device": "2 CPU cores",
        "split_sizes": {"labeled": 100, "validation": 500, "unlabeled": 3400, "test": 1000},
        "split_info": {},
    }
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
        clean["request"] = {}
        if name in WRONG:
            wrong = np.isin(np.arange(1000), WRONG[name])
            clean |= {"by_image": {"top1": per_image.record(map(str, range(1000)), wrong)}}
            labels = np.arange(1000) % len(names)
            guesses = np.where(wrong, (labels + 1 + labels % 3) % len(names), labels)
            clean |= {"by_class": by_class.count(labels, guesses, names)}
        write(
            folder / f"evaluation/{name}/clean.json",
            clean | {"top5": 99.4, "calibration_error": 2.5, "seconds": 1.5},
        )
        sweep = [top1 - (4 + 0.4 * (5 - number)) * size for size in (0, 1, 2, 4, 8, 16)]
        fgsm = {
            "model": name,
            "request": {},
            "benchmark": "fgsm",
            "epsilons": [0, 1, 2, 4, 8, 16],
            "num_examples": 1000,
        }
        fgsm |= {"top1": [max(3.0, top1) for top1 in sweep], "seconds": 4.25}
        write(folder / f"evaluation/{name}/fgsm.json", fgsm)
    for number, right in ((1, 0.97), (2, 0.985)):
        for stage in ("pseudo_labels", "selected"):
            write(folder / f"round{number}/{stage}/done.json", {"seconds": 2.0})
        write(folder / f"round{number}/selected/selection.json", selection(names, right))
    sheets = [
        {
            "class": name,
            "kind": kind,
            "images": [
                {
                    "id": f"u/{i}",
                    "confidence": 0.9,
                    "copies": 2,
                    "true": names[i],
                    "png_base64": png(900 + i),
                }
                for i in range(4)
            ],
        }
        for name in names[:2]
        for kind in ("surest kept", "surest dropped")
    ]
    write(folder / "round2/selected/samples.json", {"num_classes": len(names), "sheets": sheets})
    changes = [
        {
            "id": f"mnist5k/{i:05d}",
            "kind": "broken" if i >= 12 else "fixed",
            "true": names[i % 10],
            "before": names[(i + 1) % 10 if i < 12 else i % 10],
            "before_confidence": 0.5,
            "after": names[(i + 3) % 10 if i >= 12 else i % 10],
            "after_confidence": 0.97,
            "png_base64": png(i),
        }
        for i in range(16)
    ]
    gallery = {"before": "round0_teacher", "after": "round2_student", "images": changes}
    write(folder / "evaluation/gallery.json", gallery | {"count_fixed": 52, "count_broken": 16})
    noise = {
        "clean": [png(i) for i in range(6)],
        "noisy": [[png(100 * i + view) for view in range(1, 6)] for i in range(6)],
    }
    write(folder / "evaluation/noise.json", noise)
    return folder


def add_model(workdir: Path, place: str, name: str, wrong: range, **other) -> None:
    """Writes the accuracy of a model that is of no run, on 1000 test images."""
    missed, labels = np.isin(np.arange(1000), wrong), np.arange(1000) % 4
    content = {"benchmark": "clean", "model": name, "request": {"weights": name}, "seconds": 1.0}
    content |= {"num_examples": 1000, "top1": 100 - len(wrong) / 10, "top5": 100.0}
    content |= {"by_image": {"top1": per_image.record(map(str, range(1000)), missed)}}
    guesses = np.where(missed, (labels + 1) % 4, labels)
    content |= {"by_class": by_class.count(labels, guesses, list("abcd"))}
    write(workdir / f"evaluation/{place}/clean.json", content | other)


def results_of(workdir: Path) -> dict:
    return read_json(workdir / "report/results.json")


def page_of(workdir: Path) -> str:
    return (workdir / "report/report.html").read_text(encoding="utf-8")


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
