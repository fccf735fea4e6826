"""Trains a teacher, a student or a supervised baseline."""

from noisy_student.train.build import disk_bytes, outline
from noisy_student.train.learner import name_of
from noisy_student.train.timing import describe
from noisy_student.train.trainer import Inputs, check, check_start, run

__all__ = ["Inputs", "check", "check_start", "describe", "disk_bytes", "name_of", "outline", "run"]
