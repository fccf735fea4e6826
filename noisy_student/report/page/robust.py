"""How robust the models are: the verdicts, models x benchmarks, and each benchmark by itself."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from noisy_student.metrics import benchmarks, compare
from noisy_student.report import charts, markup, phrases, results, tables

# Groups of the fifteen corruptions, as Hendrycks and Dietterich show them.
_FAMILIES = {
    "Noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "Blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "Weather": ("snow", "frost", "fog", "brightness"),
    "Digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
_ATTACKS = {
    "fgsm": "Every pixel moves by epsilon along the sign of the loss's gradient.",
    "pgd": "Many small steps along that sign, none of which leaves epsilon around the image.",
}


def section(measured: Mapping[str, Any]) -> str:
    """Everything about robustness; empty where nothing was measured."""
    if not any(measured[benchmark] for benchmark in benchmarks.BENCHMARKS):
        return ""
    palette = charts.colors(measured["models"])
    parts = [
        _verdicts(measured),
        _own_table(measured, palette),
        _published_table(measured, palette),
    ]
    for benchmark in benchmarks.CORRUPTED:
        parts.append(_corruptions(measured, benchmark, palette))
    for benchmark in benchmarks.PERTURBED:
        parts.append(_perturbations(measured, benchmark, palette))
    for attack in benchmarks.ATTACKS:
        parts.append(_attack(measured, attack, palette))
    return markup.section("How robust the models are", *parts)


def _verdicts(measured: Mapping[str, Any]) -> str:
    """Whether the last student is more robust than the teacher, in plain sentences."""
    sentences = [escape(text) for text in results.robustness_in_words(measured)]
    if not sentences:
        return ""
    items = "".join(f"<li>{text}</li>" for text in sentences[1:])
    note = (
        "No model was trained on corrupted, perturbed or adversarial images. The intervals reflect"
        " the number of test images. They are paired: the models are compared image by image."
    )
    return f'<p class="answer"><b>{sentences[0]}</b></p><ul>{items}</ul><p>{note}</p>'


def _own_table(measured: Mapping[str, Any], palette: Mapping[str, str]) -> str:
    """Models x what was made of the run's own test images."""
    rows = tables.of_models(measured)
    columns = tables.own_columns(key for row in rows.values() for key in row)
    if {column.key for column in columns} <= {"clean.top1"}:
        return ""
    names = {model["name"]: _name(model, palette) for model in measured["models"]}
    body = [_row(names[name], row, columns) for name, row in rows.items()]
    return _scores("On this run's test images", body, columns) + _note(measured, columns)


def _published_table(measured: Mapping[str, Any], palette: Mapping[str, str]) -> str:
    """Models x published benchmarks, and the paper's own rows."""
    names = {model["name"]: _name(model, palette) for model in measured["models"]}
    published = {
        name: row
        for name, row in tables.of_models(measured).items()
        if tables.published_columns(row)
    }
    rows = [*published.values(), *tables.PAPER.values()]
    columns = tables.published_columns(key for row in rows for key in row)
    body = [_row(names[name], row, columns) for name, row in published.items()]
    body += [_row(f"<i>{escape(name)}</i>", row, columns) for name, row in tables.PAPER.items()]
    note = (
        "<p>In italics the paper's models, for orientation: mCE and mFR at 299 pixels (at 224 they"
        " are 30.0 and 14.2); PGD of 10 steps and epsilon 16. Figures of other images, networks"
        " and sizes compare in direction only.</p>"
    )
    return _scores("On published benchmarks", body, columns) + _note(measured, columns) + note


def _scores(title: str, body: Iterable[Sequence[str]], columns: Sequence[tables.Column]) -> str:
    headers = ["Model", *(escape(column.header) for column in columns)]
    groups = ["", *(escape(column.group) for column in columns)]
    return f"<h3>{title}</h3>{markup.table(headers, body, 'narrow', groups)}"


def _row(name: str, values: Mapping[str, float], columns: Sequence[tables.Column]) -> list[str]:
    return [name, *(column.of(values) for column in columns)]


def _note(measured: Mapping[str, Any], columns: Sequence[tables.Column]) -> str:
    """What the columns mean, in full."""
    notes = ["In percent; of errors and flips less is better."]
    if any("distance" in column.header for column in columns):
        notes.append(
            "The top-5 distance, by how many ranks the five best classes move from frame to frame, "
            "is divided by no baseline: 0 is never, 15 is all of them every time."
        )
    names = {
        content["relative_to_teacher"]["name"]: None
        for column in columns
        if column.header == tables.RELATIVE
        for content in measured[column.key.partition(".")[0]].values()
        if content["relative_to_teacher"]
    }
    if names:
        notes.append(f"The column {tables.RELATIVE} is the {'; the '.join(names)}.")
    return f"<p>{escape(' '.join(notes))}</p>"


def _corruptions(measured: Mapping[str, Any], benchmark: str, palette: Mapping[str, str]) -> str:
    """Bars by corruption, and curves over severity: all corruptions, then family by family."""
    contents = measured[benchmark]
    if not contents:
        return ""
    parts = [_heading(measured, benchmark, palette)]
    shared = compare.shared_errors(contents)
    if any(shared.values()):
        bars = _corruption_bars(shared, palette, measured)
        curves = _severity_curves(shared, palette)
        parts.append(f'<div class="beside">{bars}<div>{curves}</div></div>')
    names, rows = tables.by_setting(measured, benchmark)
    table = _numbers(measured, benchmark, names, rows)
    parts.append(markup.details("Error by corruption, percent", table))
    return "".join(parts)


def _corruption_bars(
    shared: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]],
    palette: Mapping[str, str],
    measured: Mapping[str, Any],
) -> str:
    """Teacher and students; the controls stand in the curves and tables."""
    models = _without_controls(shared, measured)
    names = list(next(iter(models.values())))
    values = {
        model: [100 * sum(rate for _, rate in rates[name]) / len(rates[name]) for name in names]
        for model, rates in models.items()
    }
    chart = charts.bars(names, values, palette, "error, mean over severities")
    return markup.figure("Error by corruption, teacher and students", chart)


def _severity_curves(
    shared: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], palette: Mapping[str, str]
) -> str:
    """Error over severity, of all corruptions and of each family, on one scale."""
    names = tuple(next(iter(shared.values())))
    families = {
        family: present
        for family, members in _FAMILIES.items()
        if (present := tuple(name for name in members if name in names))
    }
    curves = {family: _curves(shared, members) for family, members in families.items()}
    overall = _curves(shared, names)
    highest = max(
        percent
        for models in (overall, *curves.values())
        for curve in models.values()
        for percent in curve.values()
    )
    small = [
        markup.figure(family, charts.severities(models, palette, highest, is_small=True))
        for family, models in curves.items()
    ]
    whole = markup.figure("All by severity", charts.severities(overall, palette, highest))
    return whole + markup.grid(small, "pairs")


def _curves(
    shared: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], names: Sequence[str]
) -> dict[str, dict[int, float]]:
    """Model -> severity -> percent, averaged over those of ``names`` that have the severity."""
    curves = {}
    for model, errors in shared.items():
        by_severity: dict[int, list[float]] = {}
        for name in names:
            for severity, rate in errors[name]:
                by_severity.setdefault(severity, []).append(100 * rate)
        curves[model] = {
            severity: sum(rates) / len(rates) for severity, rates in sorted(by_severity.items())
        }
    return curves


def _perturbations(measured: Mapping[str, Any], benchmark: str, palette: Mapping[str, str]) -> str:
    """Bars by perturbation beside their numbers."""
    if not measured[benchmark]:
        return ""
    names, rows = tables.by_setting(measured, benchmark)
    by_model = dict(zip(measured[benchmark], zip(*rows, strict=True), strict=True))
    values = _without_controls(by_model, measured)
    chart = markup.figure(
        "How often the answer changes, teacher and students",
        charts.bars(names, values, palette, "flip probability"),
    )
    table = _numbers(measured, benchmark, names, rows)
    note = "<p>Flip probability, percent.</p>"
    beside = f'<div class="beside">{chart}<div>{table}{note}</div></div>'
    return _heading(measured, benchmark, palette) + beside


def _attack(measured: Mapping[str, Any], attack: str, palette: Mapping[str, str]) -> str:
    """Accuracy over epsilon beside its numbers."""
    if not measured[attack]:
        return ""
    sizes, accuracies = tables.by_epsilon(measured, attack)
    rows = [
        [_name(model, palette), *(markup.number(v, ".1f") for v in accuracies[model["name"]])]
        for model in measured["models"]
        if model["name"] in accuracies
    ]
    labels = {model["name"]: model["label"] for model in measured["models"]}
    count = max(sweep["num_examples"] for sweep in measured[attack].values())
    note = f"{_ATTACKS[attack]} {count:,} images; at 0 the image is as it was."
    if attack == "pgd":
        note += f" {phrases.describe_pgd(measured[attack], labels)}"
    chart = markup.figure(
        f"Top-1 under {benchmarks.TITLES[attack]}", charts.attack(sizes, accuracies, palette)
    )
    table = markup.table(["Model", *(f"{size:g}" for size in sizes)], rows)
    beside = f'<div class="beside">{chart}<div>{table}<p>{escape(note)}</p></div></div>'
    return f"<h3>{benchmarks.TITLES[attack]}</h3>{beside}"


def _heading(measured: Mapping[str, Any], benchmark: str, palette: Mapping[str, str]) -> str:
    """Title, what the images are, what is missing, and a legend of the models."""
    contents = measured[benchmark]
    facts: dict[str, None] = {}
    missing: dict[str, None] = {}
    for content in contents.values():
        fact = f"{content['num_examples']:,} images"
        if content.get("image_size"):
            fact += f" at {content['image_size']} pixels"
        if content.get("native_size") not in (None, content.get("image_size")):
            fact += f", parameters as published for {content['native_size']}"
        if content.get("provenance"):
            fact += f"; {content['provenance']}"
        facts[fact] = None
        missing |= dict.fromkeys(map(str, content.get("missing") or ()))
    if len({repr(compare.settings(content)) for content in contents.values()}) > 1:
        facts["Not all models have the same settings: means over them do not compare"] = None
    text = f"<p>{escape('. '.join(facts))}.</p>"
    if missing:
        text += f'<p class="missing">Not there: {escape(", ".join(missing))}.</p>'
    shown = [model for model in measured["models"] if model["name"] in contents]
    title = benchmarks.TITLES[benchmark]
    return f"<h3>{title}</h3>{text}{markup.models(shown, palette)}"


def _numbers(
    measured: Mapping[str, Any],
    benchmark: str,
    names: Sequence[str],
    rows: Sequence[Sequence[float | None]],
) -> str:
    """The numbers behind the bars, models as columns."""
    labels = {model["name"]: escape(model["label"]) for model in measured["models"]}
    headers = ["", *(labels[name] for name in measured[benchmark])]
    body = [
        [escape(charts.in_words(name)), *(markup.number(value, ".1f") for value in row)]
        for name, row in zip(names, rows, strict=True)
    ]
    return markup.table(headers, body, "narrow")


def _without_controls(values: Mapping[str, Any], measured: Mapping[str, Any]) -> Mapping[str, Any]:
    """Teacher and students where there are any, else all."""
    controls = {model["name"] for model in measured["models"] if model["role"] == "control"}
    chain = {name: value for name, value in values.items() if name not in controls}
    return chain or values


def _name(model: Mapping[str, Any], palette: Mapping[str, str]) -> str:
    return f"{markup.swatch(palette[model['name']])}{escape(model['label'])}"
