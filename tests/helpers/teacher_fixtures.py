"""Fixtures: a saved teacher, and its images in each kind of source.

A `conftest.py` imports them.
"""

import numpy as np
import pytest

from data import record_schema
from data.sources import records
from tests.helpers.toy_batches import as_files, textured
from tests.helpers.toy_teacher import COUNT, NAMES, save_model


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "model.keras", seed=0)


@pytest.fixture
def source(request, tmp_path):
    """The same images in each of the places that examples may lie in."""
    in_memory = textured(COUNT)
    if request.param == "memory":
        return in_memory
    if request.param == "files":
        return as_files(in_memory, tmp_path / "images")
    one_hot = np.eye(5, dtype=np.float32)[0]
    encoded = [
        record_schema.serialize(in_memory.encoded(i), 0, 1.0, one_hot, in_memory.ids[i])
        for i in range(COUNT)
    ]
    record_schema.write_shards(encoded, tmp_path / "source", COUNT, 3)
    return records.read_unlabeled([str(tmp_path / "source")], NAMES)[0]
