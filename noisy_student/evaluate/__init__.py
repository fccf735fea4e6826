"""Evaluates saved models: accuracy, corruptions, perturbations, attacks, published benchmarks."""

from noisy_student.evaluate.runner import check, compare, missing_packages, run

__all__ = ["check", "compare", "missing_packages", "run"]
