"""The command ``python -m noisy_student.report``."""

from noisy_student.report import writer

__doc__ = writer.__doc__
writer.command()
