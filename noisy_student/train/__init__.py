"""Trains a teacher, a student or a supervised baseline."""

from noisy_student.train.loop import dry_run, run

__all__ = ["dry_run", "run"]
