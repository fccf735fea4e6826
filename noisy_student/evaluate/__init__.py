"""Evaluates saved models: accuracy, corruptions, perturbations, attacks, stored benchmarks."""

from noisy_student.evaluate.benchmark import compared, in_words, run

__all__ = ["compared", "in_words", "run"]
