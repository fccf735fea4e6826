"""The command ``python -m noisy_student.report``."""

from noisy_student.report import writer

writer.command()
