"""Evaluates saved models: accuracy, corruptions, perturbations, attacks, published benchmarks.

Called, ``ns.evaluate(model, data, ...)``, it is `noisy_student.api.evaluate`.
"""

from noisy_student import _called
from noisy_student.evaluate.comparison import compare
from noisy_student.evaluate.runner import check, missing_packages, run

__all__ = ["check", "compare", "missing_packages", "run"]

_called.make_callable(__name__)
