"""Evaluates saved models: accuracy, corruptions, perturbations, attacks, published benchmarks."""

from noisy_student.evaluate.runner import check, compare, run

__all__ = ["check", "compare", "run"]
