"""The studies: each tests something, and recipes allow their arms."""

import pytest

from noisy_student.ablate.claims import STUDIES, paper
from noisy_student.ablate.jobs import Graph
from noisy_student.ablate.recipe import Recipe


def test_the_studies():
    assert list(STUDIES) == [
        "noise",
        "iterations",
        "teacher_size",
        "student_size",
        "unlabeled_amount",
        "soft_vs_hard",
        "balancing",
        "filtering",
        "joint_vs_finetune",
        "ratio",
        "from_scratch_vs_init",
        "fixres",
        "robustness",
        "compute",
        "warm_start",
        "warm_robustness",
        "gradient_free",
    ]
    assert [study.name for study in STUDIES.values() if study.shares_baselines] == ["compute"]


def test_every_study_decides_something():
    for study in STUDIES.values():
        assert study.comparisons and study.claim.endswith((".", ")"))
        for comparison in study.comparisons:
            worse = ("error" in comparison.metric) or ("flip" in comparison.metric)
            assert comparison.sign == (-1 if worse else 1) or comparison.sign == 0


@pytest.mark.parametrize("name", ["mnist5k", "cifar10", "fashion_mnist", "svhn_offline"])
def test_every_arm_is_valid_on_the_recipes(name):
    """Every changed flag exists, has a valid value and fits the others; none changes nothing."""
    for chain in Graph(Recipe(name), list(STUDIES.values()), [0]).chains:
        assert (chain.changed == "") == (chain.arm.flags == ()) or name != "mnist5k", chain


def test_out_of_domain_images_need_a_known_data_set():
    folder = Recipe("folder", ["--labeled_dir=/nowhere"])
    with pytest.raises(ValueError, match="dataset=mnist5k, .*folder"):
        Graph(folder, [paper.SOFT_VS_HARD], [0])
