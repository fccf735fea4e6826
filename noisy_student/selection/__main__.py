"""The command ``python -m noisy_student.selection``."""

from noisy_student.selection import write

__doc__ = write.__doc__
write.command()
