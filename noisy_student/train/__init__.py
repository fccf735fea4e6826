"""Trains a teacher, a student or a supervised baseline."""

from noisy_student.train.build import disk_bytes, name_of, outline
from noisy_student.train.timing import dry_run
from noisy_student.train.trainer import Inputs, check, check_start, run

__all__ = ["Inputs", "check", "check_start", "disk_bytes", "dry_run", "name_of", "outline", "run"]
