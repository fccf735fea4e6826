"""Named data sets as examples with stable ids, and their stored, seeded splits."""

from data.examples import Examples
from data.sources.load import Splits, load_examples, load_splits

__all__ = ["Examples", "Splits", "load_examples", "load_splits"]
