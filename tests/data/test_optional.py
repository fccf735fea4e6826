"""Packages that an extra of the installation brings."""

import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from data import optional

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def missing(monkeypatch):
    """An optional package that is not installed."""
    monkeypatch.setitem(optional.EXTRAS, "no_such_package", "robustness")
    return "no_such_package"


def test_a_missing_package_is_named_with_its_extra(missing):
    for use in (optional.require, optional.check):
        with pytest.raises(ValueError, match=r"no_such_package.*noisy-student\[robustness\]"):
            use(missing)


def test_a_lazy_module_is_imported_at_first_use(missing, monkeypatch):
    lazy = optional.LazyModule(missing)
    with pytest.raises(ValueError, match="no_such_package"):
        lazy.open("file")
    monkeypatch.setitem(optional.EXTRAS, "wave", "none")
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    wave = optional.LazyModule("wave")
    assert "wave" not in sys.modules
    assert wave.open is sys.modules["wave"].open


def test_every_extra_exists_and_every_optional_package_is_installed_here():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(optional.EXTRAS.values()) <= set(project["optional-dependencies"])
    assert [name for name in optional.EXTRAS if find_spec(name) is None] == []
