import pytest

from tests.helpers import toy_predictions
from tests.helpers.teacher_fixtures import model_path, source

__all__ = ["columns", "examples", "model_path", "source"]


@pytest.fixture
def examples():
    return toy_predictions.examples()


@pytest.fixture
def columns(examples):
    return toy_predictions.columns(examples)
