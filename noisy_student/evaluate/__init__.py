"""Evaluates saved models: accuracy, corruptions, perturbations, attacks, published benchmarks."""

from noisy_student.evaluate.runner import compare, run

__all__ = ["compare", "run"]
