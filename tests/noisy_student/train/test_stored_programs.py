"""Programs that XLA keeps on disk. Only here are those of CPUs kept, which is off otherwise."""

import json

import pytest

from benchmarks import harness


@pytest.mark.slow
def test_a_training_of_another_seed_finds_the_program(tmp_path, monkeypatch):
    """In another process, after another number of functions; its loss is that of its seed."""

    def taken(seed: int, functions: int) -> tuple[float, list[tuple[str, int]]]:
        arguments = "-m", "tests.helpers.stored_program", str(seed), str(functions)
        found = json.loads(harness.run_python(*arguments).splitlines()[-1])
        files = [(path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir()]
        return found["loss"], files

    loss, _ = taken(4, 0)
    flags = f"--tf_xla_persistent_cache_directory={tmp_path}"
    monkeypatch.setenv("TF_XLA_FLAGS", f"{flags} --tf_xla_persistent_cache_device_types=CPU")
    other, stored = taken(3, 0)
    again, still = taken(4, 9)
    assert len(stored) == 1 and stored == still
    assert again == loss != other
