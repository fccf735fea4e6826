"""The tables of studies, and the jobs that come of them."""

from collections import Counter

import pytest

from noisy_student import ablate
from noisy_student.ablate import claims
from noisy_student.ablate.jobs import Graph
from noisy_student.ablate.recipe import Recipe
from noisy_student.ablate.spec import Arm, Comparison, Round, Study, Supervised, Times
from noisy_student.config import flags

ALL = list(claims.STUDIES.values())


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe("mnist5k")


@pytest.fixture(scope="module")
def graph(recipe) -> Graph:
    return Graph(recipe, ALL, [0, 1])


def final(graph: Graph, study: str, arm: str, seed: int = 0):
    """The training that makes the model which an arm evaluates."""
    found = [c for c in graph.chains if (c.study.name, c.arm.name, c.seed) == (study, arm, seed)]
    assert len(found) == 1
    return found[0].trainings[-1]


def test_the_issues_studies_are_there():
    assert list(claims.STUDIES) == [
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
    ]
    assert ablate.studies_named(["all"]) == ALL
    assert ablate.studies_named(["ratio", "noise", "ratio"]) == [claims.RATIO, claims.NOISE]
    with pytest.raises(ValueError, match="--study=noises: must be all, or of noise, iterations"):
        ablate.studies_named(["noise", "noises"])
    with pytest.raises(ValueError, match="--study="):
        ablate.studies_named([])


def test_every_study_decides_something():
    for study in ALL:
        assert study.comparisons and study.claim.endswith((".", ")."))
        for comparison in study.comparisons:
            worse = ("error" in comparison.metric) or ("flip" in comparison.metric)
            assert comparison.sign == (-1 if worse else 1) or comparison.sign == 0


@pytest.mark.parametrize("name", ["mnist5k", "cifar10", "fashion_mnist", "svhn"])
def test_every_arm_is_valid_on_the_recipes(name):
    """Every changed flag exists, has a valid value and fits the others; none changes nothing."""
    graph = Graph(Recipe(name), ALL, [0])
    for chain in graph.chains:
        plain = chain.arm.flags() == ()
        assert (chain.changed == "") == plain or name != "mnist5k", chain


def test_images_of_something_else_need_a_known_data_set(recipe):
    folder = Recipe("folder", ["--labeled_dir=/nowhere"])
    with pytest.raises(ValueError, match="known for --dataset=mnist5k, .* not for folder"):
        Graph(folder, [claims.SOFT_VS_HARD], [0])


def test_a_flag_that_is_not_defined_is_refused(recipe):
    study = Study("s", "C.", "x", (Arm("a", (Round(student=("--no_such=1",)),)),), ())
    with pytest.raises(ValueError, match="study s, a: recipe mnist5k: Unknown .* 'no_such'"):
        Graph(recipe, [study], [0])
    study = Study("s", "C.", "x", (Arm("a", teacher=("--min_confidence=2",)),), ())
    with pytest.raises(ValueError, match="study s, a: recipe mnist5k: .*min_confidence=2"):
        Graph(recipe, [study], [0])


def test_bad_tables_are_refused():
    arm = Arm("a")
    with pytest.raises(ValueError, match="two arms have one name"):
        Study("s", "C.", "x", (arm, arm), ())
    with pytest.raises(ValueError, match="compares 'b', which is none of its arms: a"):
        Study("s", "C.", "x", (arm,), (Comparison("a", "b"),))
    with pytest.raises(ValueError, match="images = 'many'"):
        Supervised("many")


def test_equal_jobs_are_one(graph):
    base = final(graph, "noise", "as the recipe")
    for study in ("teacher_size", "student_size", "unlabeled_amount", "soft_vs_hard", "filtering"):
        assert final(graph, study, "as the recipe") is base
    assert final(graph, "iterations", "round 1") is base
    assert final(graph, "joint_vs_finetune", "together") is base
    assert final(graph, "compute", "student 2") is final(graph, "robustness", "student 2")
    assert final(graph, "compute", "control, images of the chain") is final(
        graph, "robustness", "control, images of the chain"
    )
    labels = Counter(job.label for job in graph.jobs.values() if job.seed == 0)
    assert labels["teacher"] == 4  # the recipe's, half and twice as wide, twice the steps
    # Of the recipe's teacher, noised, of each other teacher; four parts, skewed, other images.
    assert labels["labels1"] == 1 + 1 + 3 + 4 + 1 + 1
    assert labels["labels2"] == labels["student2"] == 2  # the recipe's, starting from teachers
    assert labels["labels3"] == 1
    for study in ("compute", "robustness"):
        assert final(graph, "warm_start", "student 2, each from random weights") is final(
            graph, study, "student 2"
        )
    assert final(graph, "warm_start", "student 1, from the teacher") is final(
        graph, "from_scratch_vs_init", "from the teacher"
    )
    assert labels["student3"] == 2
    assert labels["more_tests"] == 5  # the teacher's once for both studies of robustness


def test_a_teacher_trained_on_without_pseudo_labels(graph):
    """As many images as the students, each from the weights before, on labeled images alone."""
    (chain,) = (
        c
        for c in graph.chains
        if (c.study.name, c.arm.name, c.seed) == ("warm_start", "control, from the teacher on", 0)
    )
    teacher, student1, student2, first, second = chain.trainings
    assert (teacher.label, first.label, second.label) == (
        "teacher",
        "control_rounds1",
        "control_rounds2",
    )
    for control, before, student in ((first, teacher, student1), (second, first, student2)):
        assert control.inputs == (("init_model", before, "model.keras"),)
        assert (control.counted, control.counts) == ((student,), "student")
        assert control.training.model == student.training.model == teacher.training.model
        assert control.training.noise == student.training.noise
        assert control.training.ratio == 0
    assert chain.arm.is_control


def test_flags_beside_the_recipe_are_recorded():
    recipe = Recipe("mnist5k", ["--teacher_steps=7", "--data_dir=/data"])
    chains = Graph(recipe, [claims.FROM_SCRATCH], [0]).chains
    assert [chain.changed.split("; ")[0] for chain in chains] == 2 * [
        "every stage: --teacher_steps=7"
    ]


def test_equal_in_effect_is_equal(recipe):
    """The recipe has --ratio=4, --dropout_rate=0.3 and --student_width=0.5,0.75."""
    same = Round(student=("--ratio=4", "--dropout_rate=0.30", Times("student_width", 1)))
    other = Round(student=("--ratio=4,5",))
    arms = (Arm("plain"), Arm("same", (same,)), Arm("other", (other,)))
    graph = Graph(recipe, [Study("s", "C.", "x", arms, ())], [0])
    assert final(graph, "s", "same") is final(graph, "s", "plain")
    assert final(graph, "s", "other") is not final(graph, "s", "plain")


def test_what_differs_is_not_shared(graph):
    chains = {(c.study.name, c.arm.name): c for c in graph.chains if c.seed == 0}
    base, noised = chains["noise", "as the recipe"], chains["noise", "noised teacher"]
    shared = set(base.jobs) & set(noised.jobs)
    assert {job.label for job in shared} == {"teacher"}
    skewed = chains["balancing", "half as wide, balanced"]
    assert {job.label for job in set(base.jobs) & set(skewed.jobs)} == {"teacher"}
    assert not set(base.jobs) & {job for c in graph.chains if c.seed == 1 for job in c.jobs}


def test_jobs_come_after_those_they_build_on(graph):
    seen = set()
    for job in graph.jobs.values():
        assert all(parent in seen for parent in job.parents)
        seen.add(job)


def test_names_are_unique_short_and_readable(graph):
    assert all(len(job.name.split("/")[1]) <= 100 for job in graph.jobs.values())
    assert len({job.name for job in graph.jobs.values()}) == len(graph.jobs)
    name = final(graph, "noise", "no augmentation", 1).name
    assert name.startswith("seed1/student1-augment=none-")
    assert name.rpartition("-")[2] == final(graph, "noise", "no augmentation", 1).digest


def test_names_stay_the_same(graph):
    """So that results which are there are found again by later versions of the code."""
    assert final(graph, "noise", "as the recipe").name == "seed0/student1-7e5eac04"
    assert (
        final(graph, "compute", "control, images of the chain").name
        == "seed0/control_chain-763e8cae"
    )


def test_multiples_of_the_recipes_values(graph):
    def training(study, arm):
        return final(graph, study, arm).training

    assert training("student_size", "student twice as wide").model.width == 1.0
    assert training("student_size", "student half as wide").model.width == 0.25
    assert training("compute", "teacher, twice the steps").steps == 3000
    assert training("iterations", "round 3, twice the ratio").ratio == 8
    assert training("fixres", "trained and tested small").model.image_size == 24
    fixres = training("fixres", "trained small, fine-tuned and tested at full size")
    assert fixres.model.image_size == 32 and fixres.role == "fixres"
    assert fixres.optimizer.learning_rate == pytest.approx(0.0003)
    scratch = training("from_scratch_vs_init", "from scratch")
    assert (scratch.model.width, scratch.model.depth) == (0.25, 0.3)  # the teacher's


def test_a_multiple_of_what_a_recipe_leaves_open():
    recipe = Recipe("folder", ["--labeled_dir=/nowhere"])
    assert recipe.read((Times("teacher_width", 0.5),)).flags == ("--teacher_width=0.5",)
    assert recipe.read((Times("image_size", 0.75),)).flags == ("--image_size=168",)
    assert recipe.read((Times("teacher_steps", 2),)).flags == ("--train_ratio=2.0",)
    assert recipe.read((Times("learning_rate", 0.5),)).flags == ("--learning_rate_per_256=0.008",)
    with pytest.raises(ValueError, match="the recipe folder sets no --warmup_steps"):
        recipe.read((Times("warmup_steps", 2),))


def test_commands(recipe, graph, tmp_path):
    student = final(graph, "from_scratch_vs_init", "from the teacher", 1)
    command = student.command(tmp_path, recipe)
    assert command[1:3] == ["-m", "noisy_student.train"] and "--seed=1" in command
    teacher = next(parent for parent in student.parents if parent.label == "teacher")
    assert f"--init_model={tmp_path / teacher.name}/model.keras" in command
    assert f"--splits_file={tmp_path}/seed1/splits.json" in command
    skewed = final(graph, "balancing", "half as wide, balanced").command(tmp_path, recipe)
    assert "--unlabeled_skew=10.0" in skewed
    assert any(part.startswith(f"--splits_file={tmp_path}/seed0/splits-") for part in skewed)


def test_controls_see_what_the_chain_saw(recipe, graph, tmp_path):
    chain = final(graph, "compute", "control, images of the chain")
    assert [job.label for job in chain.counted] == ["teacher", "student1", "student2"]
    tuned = final(graph, "joint_vs_finetune", "pseudo labels, then labels at 1/10 of the rate")
    for number, job in enumerate((*chain.counted, *tuned.counted), start=1):
        folder = tmp_path / job.name
        folder.mkdir(parents=True)
        log = f'{{"images_seen": {1000 * number}, "num_steps": 7, "labeled_batch_size": 16}}'
        (folder / "train.json").write_text(log)
    assert "--control_images=6000" in chain.command(tmp_path, recipe)
    assert "--control_images=112" in tuned.command(tmp_path, recipe)


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(ValueError, match="--recipe=mnist: must be of cifar10, .*mnist5k"):
        Recipe("mnist")


def test_the_flags_of_this_process_stay_as_they_are(recipe):
    before = flags.values()
    recipe.read(("--role=student", "--ratio=9"))
    assert flags.values() == before


def test_flags_given_beside_the_recipe_belong_to_it():
    recipe = Recipe("mnist5k", ["--teacher_steps=7"])
    assert recipe.settings.teacher.steps == 7
    assert recipe.request()["flags"]["teacher_steps"] == 7
    assert "workdir" not in recipe.request()["flags"]
    assert recipe.read((Times("teacher_steps", 2),)).flags == ("--teacher_steps=14",)
