"""The command ``python -m noisy_student.pseudo_label``."""

from noisy_student.pseudo_label import label

__doc__ = label.__doc__
label.command()
