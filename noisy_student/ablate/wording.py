"""Durations, metrics and comparisons as people write them."""

from noisy_student.ablate.spec import Comparison


def duration(seconds: float | None) -> str:
    """A duration for people; None: not known."""
    if seconds is None:
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"


def metric(name: str) -> str:
    """A metric as the header of a column: clean.top1 -> top-1, fgsm.top1.4 -> FGSM 4."""
    benchmark, _, rest = name.partition(".")
    if rest.startswith("top1."):
        return f"{benchmark.upper()} {rest.removeprefix('top1.')}"
    known = {
        "clean.top1": "top-1",
        "corruptions.mean_error": "error, corrupted",
        "perturbations.mean_flip_probability": "flips, perturbed",
    }
    return known.get(name, f"{benchmark} {rest.replace('_', ' ')}")


def comparison(compared: Comparison) -> str:
    """Two arms and, unless it is the accuracy, the metric: student - teacher: FGSM 4."""
    name = f"{compared.first} - {compared.second}"
    return name if compared.metric == "clean.top1" else f"{name}: {metric(compared.metric)}"
