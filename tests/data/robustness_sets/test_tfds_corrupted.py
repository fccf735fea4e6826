import numpy as np
import pytest

from data.robustness_sets import tfds_corrupted
from tests.helpers import tfds_layout

CLASSES = ("n00000001", "n00000002", "n00000003")


@pytest.fixture
def data_dir(tmp_path):
    root = tmp_path / "my_corrupted"
    for config, values in {"fog_3": [1, 2, 3, 4], "fog_1": [5, 6], "spatter_2": [7]}.items():
        images = [np.full((8, 8, 3), value, np.uint8) for value in values]
        labels = [i % 3 for i in range(len(values))]
        tfds_layout.write(root, config, "validation", images, labels, CLASSES, shape=(8, 8, 3))
    (root / "rain_1").mkdir()
    return str(tmp_path)


def test_what_is_prepared_is_found_and_read(data_dir):
    found = tfds_corrupted.imagenet_c("my_corrupted", data_dir)
    assert found.settings == (("fog", 1), ("fog", 3), ("spatter", 2))
    assert len(found.missing) == 73 and ("fog", 2) in found.missing
    assert found.unknown == (f"{data_dir}/my_corrupted/rain_1",)
    assert [found.count(*setting) for setting in found.settings] == [2, 4, 1]
    examples = found.examples("fog", 3, class_names=tuple(reversed(CLASSES)))
    assert examples.labels.tolist() == [2, 1, 0, 2]  # by name, not by the set's own order
    assert examples.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert examples.ids[0] == "my_corrupted/fog_3/validation/00000"


def test_what_is_wrong_is_named(data_dir):
    found = tfds_corrupted.imagenet_c("my_corrupted", data_dir)
    with pytest.raises(ValueError, match="'snow' of severity 1 .*: fog 1, fog 3"):
        found.examples("snow", 1, CLASSES)
    with pytest.raises(ValueError, match="tfds:my_corrupted/fog_1 .* 'n00000001'"):
        found.examples("fog", 1, CLASSES[1:])
    with pytest.raises(ValueError, match="nowhere has no prepared configuration .*fog_3"):
        tfds_corrupted.imagenet_c("nowhere", data_dir)
