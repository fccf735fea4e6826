"""The command ``python -m data.corruptions``."""

from data.corruptions import registry

__doc__ = registry.__doc__
registry.command()
