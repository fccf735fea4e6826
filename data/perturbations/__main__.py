"""The command ``python -m data.perturbations``."""

from data.perturbations import sequences

__doc__ = sequences.__doc__
sequences.command()
