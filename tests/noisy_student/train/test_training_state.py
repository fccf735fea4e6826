import pytest
import tensorflow as tf

from noisy_student.train.training_state import TrainingState


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    value = tf.Variable(0.0)
    state = TrainingState(tmp_path, value=value)
    assert state.restore() is None
    for step in (1, 2):
        value.assign(float(step))
        state.save(step)
    value.assign(9.0)
    assert state.restore().endswith("ckpt-2")
    assert value.numpy() == 2.0
    (damaged,) = (tmp_path / "checkpoints").glob("ckpt-2.data*")
    damaged.write_bytes(damaged.read_bytes()[:-8])
    value.assign(9.0)
    assert state.restore().endswith("ckpt-1")
    assert value.numpy() == 1.0
    for file in (tmp_path / "checkpoints").glob("ckpt-1.data*"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the checkpoints in .* can be read: delete"):
        state.restore()
    state.remove()
    assert not (tmp_path / "checkpoints").exists()
