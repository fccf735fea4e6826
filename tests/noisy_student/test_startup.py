"""Notices at TensorFlow's import, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def errors(code: str, *path: Path, **environment: str) -> str:
    """Returns what the code writes to standard error."""
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    kept |= {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))} | environment
    done = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True)
    return done.stderr


def test_the_import_of_tensorflow_is_quiet():
    assert errors("import noisy_student, tensorflow; tensorflow.constant(1)") == ""


def test_other_lines_are_passed_on_and_all_at_level_0(tmp_path):
    written = b"I0000 00 notice\nbroken library\n"
    fake = f"import os\nos.write(2, {written!r})\nraise ImportError('no')"
    (tmp_path / "tensorflow.py").write_text(fake)
    lines = errors("import noisy_student, tensorflow", tmp_path).splitlines()
    assert lines[0] == "broken library" and lines[-1] == "ImportError: no"
    assert "I0000 00 notice" not in lines
    loud = errors("import noisy_student, tensorflow", tmp_path, TF_CPP_MIN_LOG_LEVEL="0")
    assert "I0000 00 notice" in loud.splitlines()
