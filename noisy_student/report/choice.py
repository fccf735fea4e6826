"""Which model file of a run to use, chosen on validation images alone."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from noisy_student.metrics import intervals
from noisy_student.report.inputs import file_of


class Choice(TypedDict):
    """A model to use."""

    model: str
    file: str  # its file, relative to the work directory
    # True if it is the best of all on validation images; False if there are none, and it is the
    # last student.
    is_best: bool
    num_validation: int  # number of validation images
    validation_top1: float | None  # its accuracy on them, percent; None without them
    interval: list[float] | None  # 95% interval of that accuracy
    level: list[str]  # names of other models whose validation accuracy lies within the interval


def choose(
    models: Sequence[Mapping[str, Any]], trained: Sequence[str], num_validation: int
) -> Choice | None:
    """Chooses a model without a look at the test images.

    Args:
        models: of results.json, in the order of the report.
        trained: names of the models that this run trained.
        num_validation: number of validation images.

    Returns:
        The model of the highest validation accuracy; of equal ones the last, students before
        baselines. Without validation images, the last student, or the teacher where there is none.
        None if the run trained nothing.
    """
    candidates = [model for model in models if model["name"] in trained]
    if not candidates:
        return None
    chain = [model for model in candidates if model["role"] != "control"]
    known = [model for model in candidates if model["validation_top1"] is not None]
    if not num_validation or not known:
        last = (chain or candidates)[-1]
        return _choice(last, num_validation)
    in_order = [model for model in known if model["role"] == "control"]
    in_order += [model for model in known if model["role"] != "control"]
    highest = max(model["validation_top1"] for model in known)
    best = [model for model in in_order if model["validation_top1"] == highest][-1]
    low, high = intervals.accuracy_interval(highest, num_validation)
    level = [m["name"] for m in known if m is not best and m["validation_top1"] >= low]
    return _choice(best, num_validation) | {
        "is_best": True,
        "validation_top1": highest,
        "interval": [low, high],
        "level": level,
    }


def _choice(model: Mapping[str, Any], num_validation: int) -> Choice:
    return {
        "model": model["name"],
        "file": file_of(model["name"]),
        "is_best": False,
        "num_validation": num_validation,
        "validation_top1": None,
        "interval": None,
        "level": [],
    }
