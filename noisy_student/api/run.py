"""Whole runs from Python: `fit` runs them, `Run` gives access to their results."""

import functools
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from noisy_student import cli, config, iterate, networks, report
from noisy_student.api import process
from noisy_student.api.classifier import Classifier, Predictions, load
from noisy_student.api.images import Data, StrPath
from noisy_student.artifacts.files import read_json
from noisy_student.config import flags as command_flags
from noisy_student.config import option, schema
from noisy_student.report import charts, phrases, scores, tables
from noisy_student.report.inputs import file_of
from noisy_student.train import callbacks as observers

_STUDENTS = ("student", "fixres")
Network = str | networks.ModelFunction


def fit(
    data: Data | None = None,
    recipe: str | None = "folder",
    workdir: StrPath | None = None,
    *,
    teacher: Network | None = None,
    student: Network | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **flags: Any,
) -> "Run":
    """Trains a teacher and students, evaluates them and writes the report.

    Does the same as ``noisy-student run RECIPE --flag=value ...``, with the same files, and resumes
    an interrupted call or command. Finished stages are not run again.

    Args:
        data: The images; None: those of the recipe.
        recipe: Name of a recipe or path of a ``.flags`` file; None: use only `flags`.
        workdir: Directory of the run; None: the recipe's.
        teacher: Network of the first teacher, instead of ``teacher_name``: a name, or a function of
            the number of classes and the image size that returns a Keras model for RGB 0..255.
        student: Network of the students, instead of ``student_name``.
        callbacks: Keras callbacks, which observe the trainings: `set_model` with the averaged
            network, `on_train_begin` and `on_train_end` for each training, `on_epoch_end` at each
            validation (``validate_every`` steps) with loss, accuracy, val_accuracy and
            learning_rate, `on_train_batch_end` after each device call (``steps_per_execution``
            steps) with the loss and accuracy of its steps. Finished stages call no callbacks.
        **flags: Any option of a run by name, such as ``rounds=2, magnitude=5``; takes precedence
            over the recipe. ``dry_run=True`` only prints what would be done.

    Returns:
        The run.

    Raises:
        ValueError: An option, image or file is invalid or does not match finished stages. Raised
            before anything is trained.
        KeyboardInterrupt: Ctrl-C. The training is saved first; the same call continues it.
        SystemExit: SIGTERM, with code 75, after the training is saved.
    """
    observers.check(callbacks)
    given = {"teacher_name": teacher, "student_name": student}
    flags |= {name: _name(network) for name, network in given.items() if network is not None}
    settings = _settings(data, recipe, workdir, flags)
    place, source = settings.options["workdir"], data.source if data else None
    call = _call(data, recipe, workdir, flags)
    with process.errors_for_callers(), process.kept():
        if settings.options["dry_run"]:
            iterate.dry_run(settings, place, source)
        else:
            iterate.run(settings, place, call, source, callbacks)
    return Run(place)


class Run:
    """A run in a work directory, made by `fit` or by a command.

    Displays its results in a notebook.

    Attributes:
        workdir: Its directory.
    """

    def __init__(self, workdir: StrPath):
        """Opens a run; its files are read when needed.

        Args:
            workdir: Directory of the run.
        """
        self.workdir = Path(workdir)

    @functools.cached_property
    def results(self) -> dict[str, Any]:
        """Results on the test images, accuracies in percent.

        - "best": name of the student with the highest validation accuracy (test images are not
          used); the later one on a tie, the last one without validation images. In a run without
          students, the teacher.
        - "top1": top-1 accuracy of that model; None if not measured.
        - "models": name -> "label", "file", "parameters", "validation_top1", "top1",
          "top1_interval" (95%) and "robustness", such as {"corruptions.mean_error": 21.3,
          "fgsm.top1.8": 40.5}. In the order of the report, including supervised baselines.
        - "gain": top-1 of the last student minus that of the teacher, with "points" and
          "interval"; None without students.
        """
        figures = self._report["figures"]
        numbers = scores.model_numbers(figures)
        models = {
            model["name"]: {
                "label": model["label"],
                "file": str(self.workdir / file_of(model["name"])),
                **{key: model[key] for key in ("parameters", "validation_top1", "top1")},
                "top1_interval": model["top1_interval"],
                "robustness": {
                    key: value
                    for key, value in numbers[model["name"]].items()
                    if not key.startswith("clean.")
                },
            }
            for model in figures["models"]
        }
        best = _best(figures["models"])
        top1 = models[best]["top1"]
        return {"best": best, "top1": top1, "models": models, "gain": figures["gain"]}

    @property
    def student(self) -> keras.Model:
        """The best student, see `results`: images [B, S, S, 3], RGB 0..255 -> logits [B, C]."""
        return self.classifier.model

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The best student with its classes and preprocessing."""
        return load(self.results["models"][self.results["best"]]["file"])

    def predict(self, images: Any, batch_size: int = 32) -> Predictions:
        """Classifies images with the best student, see `Classifier.predict`."""
        return self.classifier.predict(images, batch_size)

    @property
    def report(self) -> Path:
        """Path of the report page, ``report/report.html``."""
        return self.workdir / "report" / "report.html"

    @property
    def _report(self) -> dict[str, Any]:
        path = self.workdir / "report" / "results.json"
        if not path.exists():
            raise ValueError(f"{self.workdir} has no results yet: {path} is missing.")
        return read_json(path, dict[str, Any])

    def __repr__(self) -> str:
        try:
            return f"Run({str(self.workdir)!r})\n{report.table(self._report)}"
        except ValueError:
            return f"Run({str(self.workdir)!r})"

    def _repr_html_(self) -> str:
        """Returns headline, accuracy chart and table for a notebook."""
        try:
            content = self._report
        except ValueError as error:
            return f"<p>{html.escape(str(error))}</p>"
        table, figures = tables.accuracy(content), content["figures"]
        rows = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
            for row in table.rows
        )
        heads = "".join(f"<th>{html.escape(header)}</th>" for header in table.headers)
        has_chart = any(model["top1"] is not None for model in figures["models"])
        chart = charts.accuracy(figures["models"]) if has_chart else ""
        return (
            f"<h3>{html.escape(phrases.headline(figures))}</h3>"
            f'<div style="max-width: 480px; background: white">{chart}</div>'
            f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
            f"<p>Report: {html.escape(str(self.report))}</p>"
        )


def _best(models: Sequence[Mapping[str, Any]]) -> str:
    """Returns the name of the model to use, see `Run.results`."""
    students = [model for model in models if model["role"] in _STUDENTS] or models[:1]
    if not students:
        raise ValueError("the run has no trained model yet.")
    known = [model for model in students if model["validation_top1"] is not None]
    return max(reversed(known or students[-1:]), key=lambda m: m["validation_top1"] or 0.0)["name"]


def _name(network: Network) -> str:
    """Returns the name of a network; a function gets a name in this process."""
    return networks.register(network) if callable(network) else network


def _settings(
    data: Data | None, recipe: str | None, workdir: StrPath | None, given: Mapping[str, Any]
) -> config.Config:
    """Merges the options of the recipe, the data and the call; later ones take precedence.

    Raises:
        ValueError: An option is unknown or not allowed, or there is no such recipe.
    """
    if data is not None and not isinstance(data, Data):
        raise ValueError(f"data is a {type(data).__name__}: ns.Data.from_... makes what fit takes.")
    known = option.named(schema.RUN)
    for name in given:
        if name not in known:
            raise option.unknown(name, known)
    arguments = [f"--flagfile={cli.recipe_file(recipe)}"] if recipe else []
    options = dict(command_flags.parse(arguments).given)
    options |= data.options if data else {}
    if workdir is not None:
        options["workdir"] = os.fspath(workdir)
    return config.Config(**(options | dict(given)))


def _call(
    data: Data | None, recipe: str | None, workdir: StrPath | None, given: Mapping[str, Any]
) -> str:
    """Returns the call of `fit` as Python code, for the report."""
    named = {"recipe": recipe, "workdir": workdir and os.fspath(workdir), **given}
    arguments = [repr(data)] if data else []
    arguments += [f"{name}={value!r}" for name, value in named.items() if value is not None]
    return f"ns.fit({', '.join(arguments)})"
