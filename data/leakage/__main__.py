"""The command ``python -m data.leakage``."""

from data.leakage import search

__doc__ = search.__doc__
search.command()
