"""The jobs of studies: what is shared, in which order, under which names and commands."""

from collections import Counter
from pathlib import Path

import pytest

from noisy_student.ablate.claims import STUDIES, paper
from noisy_student.ablate.jobs import Chain, Graph, Job
from noisy_student.ablate.recipe import Recipe
from noisy_student.ablate.spec import Arm, Round, Scaled, Study


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return Recipe("mnist5k")


@pytest.fixture(scope="module")
def graph(recipe) -> Graph:
    return Graph(recipe, list(STUDIES.values()), [0, 1])


def chain_of(graph: Graph, study: str, arm: str, seed: int = 0) -> Chain:
    (chain,) = (c for c in graph.chains if (c.study.name, c.arm.name, c.seed) == (study, arm, seed))
    return chain


def final(graph: Graph, study: str, arm: str, seed: int = 0) -> Job:
    """Returns the training of the model that an arm evaluates."""
    return chain_of(graph, study, arm, seed).trainings[-1]


def one_arm(*arms: Arm) -> Study:
    return Study("s", "C.", "x", arms, ())


def test_flags_that_do_not_exist_or_are_invalid_name_the_arm(recipe):
    with pytest.raises(ValueError, match="study s, a: .*no_such"):
        Graph(recipe, [one_arm(Arm("a", (Round(student=("--no_such=1",)),)))], [0])
    with pytest.raises(ValueError, match="study s, a: .*min_confidence=2"):
        Graph(recipe, [one_arm(Arm("a", teacher=("--min_confidence=2",)))], [0])


def test_equal_jobs_are_one(graph):
    base = final(graph, "noise", "default")
    for study in ("teacher_size", "student_size", "unlabeled_amount", "soft_vs_hard", "filtering"):
        assert final(graph, study, "default") is base
    assert final(graph, "iterations", "round 1") is base
    assert final(graph, "joint_vs_finetune", "joint training") is base
    for arm in ("student 2", "supervised, equal total compute"):
        assert final(graph, "compute", arm) is final(graph, "robustness", arm)
    labels = Counter(job.label for job in graph.jobs.values() if job.seed == 0)
    assert labels["teacher"] == 4  # the recipe's, half and twice as wide, twice the steps
    # The recipe's teacher, noised, each other teacher; seven fractions, skewed, out of domain.
    assert labels["labels1"] == 1 + 1 + 3 + 7 + 1 + 1
    assert labels["labels2"] == labels["student2"] == 3  # from scratch, equal width, warm start
    assert labels["labels3"] == 2
    for study in ("compute", "robustness"):
        student = final(graph, "warm_start", "student 2, from scratch")
        assert student is final(graph, study, "student 2")
    warm = final(graph, "warm_start", "student 1, warm start")
    assert warm is final(graph, "from_scratch_vs_init", "from the teacher")
    assert labels["student3"] == 3
    # The teacher's once for both studies of robustness, and three with the Square attack.
    assert labels["more_tests"] == 5 + 3


def test_different_jobs_are_not_shared(graph):
    base, noised = chain_of(graph, "noise", "default"), chain_of(graph, "noise", "noised teacher")
    assert {job.label for job in set(base.jobs) & set(noised.jobs)} == {"teacher"}
    skewed = chain_of(graph, "balancing", "half width, balanced")
    assert {job.label for job in set(base.jobs) & set(skewed.jobs)} == {"teacher"}
    assert not set(base.jobs) & {job for c in graph.chains if c.seed == 1 for job in c.jobs}


def test_equal_in_effect_is_equal(recipe):
    """The recipe has --ratio=4, --dropout_rate=0.3 and --student_width=0.5,0.75."""
    same = Round(student=("--ratio=4", "--dropout_rate=0.30", Scaled("student_width", 1)))
    other = Round(student=("--ratio=4,5",))
    arms = (Arm("plain"), Arm("same", (same,)), Arm("other", (other,)))
    graph = Graph(recipe, [one_arm(*arms)], [0])
    assert final(graph, "s", "same") is final(graph, "s", "plain")
    assert final(graph, "s", "other") is not final(graph, "s", "plain")


def test_the_teacher_trained_on_without_pseudo_labels(graph):
    """Sees as many images as the students, labeled ones only, each training after the other."""
    chain = chain_of(graph, "warm_start", "supervised, warm start")
    teacher, student1, student2, first, second = chain.trainings
    assert [job.label for job in (teacher, first, second)] == [
        "teacher",
        "control_rounds1",
        "control_rounds2",
    ]
    for control, before, student in ((first, teacher, student1), (second, first, student2)):
        assert control.inputs == (("init_model", before, "model.keras"),)
        assert (control.budget.trainings, control.budget.kind) == ((student,), "student")
        assert control.training.model == student.training.model == teacher.training.model
        assert control.training.noise == student.training.noise
        assert control.training.ratio == 0
    assert chain.arm.is_baseline


def test_flags_beside_the_recipe_are_recorded():
    recipe = Recipe("mnist5k", ["--teacher_steps=7", "--data_dir=/data"])
    chains = Graph(recipe, [paper.FROM_SCRATCH], [0]).chains
    recorded = [chain.changed.split("; ")[0] for chain in chains]
    assert recorded == 4 * ["every stage: --teacher_steps=7"]


def test_jobs_come_after_their_parents(graph):
    seen = set()
    for job in graph.jobs.values():
        assert all(parent in seen for parent in job.parents)
        seen.add(job)


def test_names_are_unique_short_and_readable(graph):
    assert all(len(job.name.split("/")[1]) <= 100 for job in graph.jobs.values())
    assert len({job.name for job in graph.jobs.values()}) == len(graph.jobs)
    job = final(graph, "noise", "no augmentation", 1)
    assert job.name.startswith("seed1/student1-augment=none-")
    assert job.name.rpartition("-")[2] == job.digest


def test_names_stay_the_same(graph):
    """So that later versions of the code find existing results."""
    names = {
        ("noise", "default"): "seed0/student1-7e5eac04",
        ("compute", "supervised, equal total compute"): "seed0/control_chain-763e8cae",
        ("joint_vs_finetune", "fine-tuned at 1/10 of the learning rate"): (
            "seed0/tuned-labeled_weight=0.0-learning_rate=0.0003-94e155ea"
        ),
    }
    for (study, arm), name in names.items():
        assert final(graph, study, arm).name == name


def test_multiples_of_the_recipes_values(graph):
    def training(study, arm):
        return final(graph, study, arm).training

    assert training("student_size", "double-width student").model.width == 1.0
    assert training("student_size", "half-width student").model.width == 0.25
    assert training("compute", "teacher, twice the steps").steps == 3000
    assert training("iterations", "round 3, twice the ratio").ratio == 8
    assert training("fixres", "trained and tested low").model.image_size == 24
    fixres = training("fixres", "trained low, fine-tuned full")
    assert fixres.model.image_size == 32 and fixres.role == "fixres"
    assert fixres.optimizer.learning_rate == pytest.approx(0.0003)
    scratch = training("from_scratch_vs_init", "from scratch")
    assert (scratch.model.width, scratch.model.depth) == (0.25, 0.3)  # the teacher's


def test_commands(recipe, graph, tmp_path):
    student = final(graph, "from_scratch_vs_init", "from the teacher", 1)
    command = student.command(tmp_path, recipe)
    assert command[1:3] == ["-m", "noisy_student.train"] and "--seed=1" in command
    teacher = next(parent for parent in student.parents if parent.label == "teacher")
    assert f"--init_model={tmp_path / teacher.name}/model.keras" in command
    assert f"--splits_file={tmp_path}/seed1/splits.json" in command
    skewed = final(graph, "balancing", "half width, balanced").command(tmp_path, recipe)
    assert "--unlabeled_skew=10.0" in skewed
    assert any(part.startswith(f"--splits_file={tmp_path}/seed0/splits-") for part in skewed)


def test_an_online_teacher_is_an_input_of_its_student():
    recipe = Recipe("mnist5k", ["--teacher_mode=online"])
    chain = Graph(recipe, [one_arm(Arm("a"))], [0]).chains[0]
    command = chain.trainings[-1].command(Path("/root"), recipe)
    assert f"--teacher_model=/root/{chain.trainings[0].name}/model.keras" in command


def test_supervised_trainings_see_the_images_of_their_budget(recipe, graph, tmp_path):
    chain = final(graph, "compute", "supervised, equal total compute")
    assert [job.label for job in chain.budget.trainings] == ["teacher", "student1", "student2"]
    tuned = final(graph, "joint_vs_finetune", "fine-tuned at 1/10 of the learning rate")
    counted = (*chain.budget.trainings, *tuned.budget.trainings)
    for number, job in enumerate(counted, start=1):
        folder = tmp_path / job.name
        folder.mkdir(parents=True)
        log = f'{{"images_seen": {1000 * number}, "num_steps": 7, "labeled_batch_size": 16}}'
        (folder / "train.json").write_text(log)
    assert "--control_images=6000" in chain.command(tmp_path, recipe)
    assert "--control_images=112" in tuned.command(tmp_path, recipe)
