"""The console command `noisy-student`: every stage as a sub-command.

noisy-student run mnist5k --workdir=runs/mnist5k
noisy-student predict --model=runs/mnist5k/round2/student/model.keras photos/
noisy-student train --help
"""

import difflib
import os
import runpy
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import noisy_student
from noisy_student._output import lenient_output

DEFAULT_RECIPE = "mnist5k"
COMMANDS = {
    "run": (
        "noisy_student.iterate",
        "Runs a recipe: trains teacher and students, evaluates them, writes a report.",
    ),
    "train": ("noisy_student.train", "Trains a teacher, a student or a supervised baseline."),
    "label": ("noisy_student.pseudo_label", "Labels unlabeled images with a teacher."),
    "select": ("noisy_student.selection", "Filters and balances pseudo labels for a student."),
    "evaluate": (
        "noisy_student.evaluate",
        "Measures the accuracy and robustness of a saved model.",
    ),
    "report": ("noisy_student.report", "Writes the report of a run, or compares several runs."),
    "ablate": (
        "noisy_student.ablate",
        "Runs the studies that test the paper's claims, over several seeds.",
    ),
    "plan": ("noisy_student.plan", "Estimates the parameters, memory, steps and time of a run."),
    "predict": ("noisy_student.predict", "Classifies images with a saved model."),
    "export": (
        "noisy_student.export",
        "Exports a saved model to SavedModel, TFLite, ONNX or plain Keras.",
    ),
    "card": (
        "noisy_student.card",
        "Adds class names and preprocessing to a third-party Keras model.",
    ),
    "convert": ("efficientnet.convert", "Converts published weights to a .keras file."),
    "randaugment": ("data.randaugment", "Draws an image after each RandAugment operation."),
    "corruptions": ("data.corruptions", "Draws an image after each common corruption."),
    "perturbations": (
        "data.perturbations",
        "Draws frames of each perturbation sequence of an image.",
    ),
    "leakage": ("data.leakage", "Finds test images that are near duplicates of training images."),
}


def recipes_dir() -> Path:
    """Returns the folder of recipes: inside an installed package, or next to it in a checkout."""
    package = Path(noisy_student.__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / "recipes"


def recipe_file(name: str) -> Path:
    """Returns the flag file of a shipped recipe, or of a path that ends with ``.flags``.

    Raises:
        ValueError: No such recipe.
    """
    if name.endswith(".flags") and Path(name).is_file():
        return Path(name)
    path = recipes_dir() / f"{name}.flags"
    if not path.is_file():
        known = sorted(file.stem for file in recipes_dir().glob("*.flags"))
        raise ValueError(
            f"unknown recipe {name}{_nearest(name, known)}; recipes: {', '.join(known)}"
        )
    return path


def _nearest(name: str, known: Iterable[str]) -> str:
    """Returns a suggestion for a misspelled name, or nothing."""
    found = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {found[0]}?)" if found else ""


def usage() -> str:
    """Returns the list of sub-commands."""
    lines = [f"  {name:<15}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: noisy-student COMMAND [--flag=value ...]",
            f"       noisy-student run [RECIPE] [--flag=value ...]   (default: {DEFAULT_RECIPE})",
            "",
            *lines,
            "",
            "noisy-student COMMAND --help lists the flags of a command.",
        ]
    )


def main() -> None:
    """Runs the sub-command that the first argument names."""
    with lenient_output():
        _main()


def _main() -> None:
    name, *arguments = sys.argv[1:] or ["help"]
    if name in ("help", "--help", "-h"):
        print(usage())
        return
    if name not in COMMANDS:
        sys.exit(f"noisy-student: unknown command {name}{_nearest(name, COMMANDS)}\n\n{usage()}")
    if name == "run":
        recipe = [] if arguments and arguments[0].startswith("-") else arguments[:1]
        try:
            flags = f"--flagfile={recipe_file(recipe[0] if recipe else DEFAULT_RECIPE)}"
        except ValueError as error:
            sys.exit(f"noisy-student: {error}")
        arguments = [flags, *arguments[len(recipe) :]]
    os.environ["KERAS_BACKEND"] = "tensorflow"  # a shell may set another one for other work
    os.environ.setdefault("NOISY_STUDENT_COMMAND", shlex.join(["noisy-student", *sys.argv[1:]]))
    sys.argv[1:] = arguments
    runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
