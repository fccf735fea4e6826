"""Marks for tests that take long: `bash run.sh test` runs one case of each kind."""

from typing import Any

import pytest


def slow_param(*values: Any) -> Any:
    """Returns a case of a parametrized test that `bash run.sh test -m slow` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


# For tests with the fixture `either`, which takes records from memory or as a stream.
STREAMED = pytest.mark.parametrize("either", ["streamed", slow_param("in memory")], indirect=True)
