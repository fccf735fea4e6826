"""Runs `noisy-student` as ``python -m noisy_student``."""

from noisy_student.cli import main

main()
