"""Trains a teacher, a student or a supervised baseline."""

from noisy_student.train.timing import dry_run
from noisy_student.train.trainer import Inputs, run

__all__ = ["Inputs", "dry_run", "run"]
