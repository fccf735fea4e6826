"""Tiny models and ten test images."""

import dataclasses

import pytest

from data.robustness_sets import CIFAR10_CLASSES
from tests.helpers import tiny_evaluation as tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tiny.save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def model(models):
    return models["cifar10"]


@pytest.fixture(scope="module")
def examples():
    return dataclasses.replace(tiny.examples(10), class_names=CIFAR10_CLASSES)
