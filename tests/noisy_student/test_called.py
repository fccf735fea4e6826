"""The public names: imported when they are used, and stages that are packages and functions."""

import inspect
import subprocess
import sys

import pytest

import noisy_student as ns
from tests.helpers.small_runs import ROOT


def test_the_import_needs_no_tensorflow():
    code = (
        "import sys, noisy_student as ns; assert 'fit' in dir(ns); "
        "print({'tensorflow', 'keras', 'numpy', 'noisy_student.api'} & {*sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


def test_public_names_are_those_of_the_api():
    from noisy_student import api

    for name in ("Data", "Run", "fit", "load", "select"):
        assert getattr(ns, name) is getattr(api, name)
    assert set(ns.__all__) <= set(dir(ns)) and set(ns.__all__) <= set(api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fits'"):
        ns.fits  # noqa: B018


@pytest.mark.parametrize("name", ["evaluate", "pseudo_label"])
def test_stages_are_packages_and_functions(name):
    from noisy_student import api

    package = getattr(ns, name)
    assert package is sys.modules[f"noisy_student.{name}"] and callable(package.run)
    assert inspect.signature(package) == inspect.signature(getattr(api, name))
    with pytest.raises(ValueError, match="the classes and the preprocessing"):
        package(object(), [])
