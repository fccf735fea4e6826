"""Robustness of the run in `tests.helpers.run_folder`, written by hand as well.

    python -m tests.helpers.run_robustness FOLDER

makes a run to look at: python -m noisy_student.report --workdir=FOLDER
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from noisy_student import robustness
from tests.helpers.run_folder import DIGITS, digit_png, make_workdir, write

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
    """Returns flip probabilities of the ten perturbations; the teacher's are 0.02 to 0.065."""
    names = robustness.SMALL_PERTURBATIONS if small else robustness.PERTURBATIONS
    return {name: share * (0.02 + 0.005 * row) for row, name in enumerate(names)}


def mean_percent(errors: dict[str, dict[str, float]]) -> float:
    return 100 * float(np.mean([list(rates.values()) for rates in errors.values()]))


def evaluate(folder: Path, benchmark: str, model: str, **content) -> None:
    """Writes a result as the evaluation does."""
    content = {"benchmark": benchmark, "model": model, "request": {}, "seconds": 2.5} | content
    write(folder / f"evaluation/{model}/{benchmark}.json", content)


def add_own_robustness(folder: Path, png: Callable[[int], str] = digit_png) -> None:
    """Adds benchmarks on the run's own test images: corruptions, perturbations, PGD, gallery."""
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


if __name__ == "__main__":
    made = make_workdir(Path(sys.argv[1]))
    add_own_robustness(made)
    add_published_robustness(made)
