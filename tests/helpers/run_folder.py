"""A finished run whose numbers are written here by hand, for the tests of the report.

    python -m tests.helpers.run_folder FOLDER

makes one to look at: python -m noisy_student.report --workdir=FOLDER
"""

import base64
import io
import json
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from noisy_student import robustness
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


# A model's errors are the teacher's in every setting times this, and its flips times the square.
ROBUSTNESS = {
    "round0_teacher": 1.0,
    "round1_student": 0.9,
    "round2_student": 0.8,
    "control_student": 1.0,
    "control_chain": 0.95,
}
MADE = "made from clean images, nearest native size 32"
EPSILONS = [0, 1, 2, 4, 8, 16]


def corruption_errors(share: float = 1.0) -> dict[str, dict[str, float]]:
    """15 corruptions x 5 severities; the teacher's errors are 0.06 to 0.60."""
    return {
        name: {
            str(level): share * (0.05 + 0.01 * row + 0.08 * (level - 1) + 0.01 * level)
            for level in range(1, 6)
        }
        for row, name in enumerate(robustness.CORRUPTIONS)
    }


def flip_probabilities(share: float = 1.0, small: bool = True) -> dict[str, float]:
    """Of the ten perturbations; the teacher's are 0.02 to 0.065."""
    names = robustness.SMALL_PERTURBATIONS if small else robustness.PERTURBATIONS
    return {name: share * (0.02 + 0.005 * row) for row, name in enumerate(names)}


def mean_percent(errors: dict[str, dict[str, float]]) -> float:
    return 100 * float(np.mean([list(rates.values()) for rates in errors.values()]))


def evaluate(folder: Path, benchmark: str, model: str, **content) -> None:
    """Writes a result as the evaluation does."""
    content = {"benchmark": benchmark, "model": model, "request": {}, "seconds": 2.5} | content
    write(folder / f"evaluation/{model}/{benchmark}.json", content)


def add_own_robustness(folder: Path, png: Callable[[int], str] = digit_png) -> None:
    """What is made of the run's own test images: corruptions, perturbations, PGD, a gallery."""
    size = {"num_examples": 1000, "image_size": 32, "native_size": 32, "provenance": MADE}
    for model, share in ROBUSTNESS.items():
        errors = corruption_errors(share)
        evaluate(
            folder,
            "corruptions",
            model,
            **size,
            clean_error=0.1 * share,
            errors=errors,
            mean_error=mean_percent(errors),
        )
        flips = flip_probabilities(share**2)
        distances = {name: 20 * flip for name, flip in flips.items()}
        evaluate(
            folder,
            "perturbations",
            model,
            **size,
            flip_probability=flips,
            top5_distance=distances,
            mean_top5_distance=sum(distances.values()) / 10,
            mean_flip_probability=100 * sum(flips.values()) / 10,
        )
        top1 = [90.0, *(90 - share * 8 * size for size in EPSILONS[1:-1]), 2.5]
        evaluate(
            folder,
            "pgd",
            model,
            num_examples=500,
            epsilons=EPSILONS,
            top1=top1,
            steps=10,
            step_size=None,
            random_start=True,
            restarts=1,
        )
    settings = ["fog 3", "jpeg_compression 5", "snow frame 7"]
    images = [
        {
            "benchmark": "perturbations" if setting.startswith("snow") else "corruptions",
            "setting": setting,
            "id": f"test/{i}",
            "true": DIGITS[i % 10],
            "before": DIGITS[(i + 4) % 10],
            "after": DIGITS[i % 10],
            "png_base64": png(500 + i),
        }
        for i, setting in enumerate(4 * settings)
    ]
    gallery = {"before": "round0_teacher", "after": "round2_student", "images": images}
    write(folder / "evaluation/robust_gallery.json", gallery)


def add_published_robustness(folder: Path) -> None:
    """Stored benchmark data, complete and not: ImageNet-A, -C and -P, CIFAR-10-C and -P."""
    for model, share in ROBUSTNESS.items():
        errors = corruption_errors(share)
        stored = {"num_examples": 5000, "provenance": "stored benchmark data", "missing": []}
        mean = {"mean_error": mean_percent(errors), "clean_error": 0.1 * share, "errors": errors}
        evaluate(
            folder,
            "imagenet_c",
            model,
            **stored,
            image_size=224,
            native_size=224,
            **mean,
            mce=60 * share,
            relative_mce=75 * share,
        )
        few = {name: errors[name] for name in ("fog", "contrast")}
        lacking = {"errors": few, "mean_error": mean_percent(few), "missing": ["frost", "snow"]}
        evaluate(folder, "cifar10_c", model, **(stored | mean | lacking))
        flips = flip_probabilities(share, small=False)
        evaluate(
            folder,
            "imagenet_p",
            model,
            **stored,
            flip_probability=flips,
            mfr=55 * share,
            mean_flip_probability=100 * sum(flips.values()) / 10,
        )
        evaluate(
            folder,
            "cifar10_p",
            model,
            **(stored | {"missing": ["tilt"]}),
            flip_probability={"snow": 0.1 * share, "scale": 0.2 * share},
            mean_flip_probability=15 * share,
        )
        evaluate(
            folder,
            "imagenet_a",
            model,
            num_examples=7500,
            num_classes=200,
            top1=100 - 70 * share,
            top1_all_classes=100 - 80 * share,
        )


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


if __name__ == "__main__":
    made = make_workdir(Path(sys.argv[1]))
    add_own_robustness(made)
    add_published_robustness(made)
