"""The command ``python -m data.randaugment``."""

from data.randaugment import policy

__doc__ = policy.__doc__
policy.command()
